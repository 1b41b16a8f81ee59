package compose

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	embeddedpostgres "github.com/fergusstrange/embedded-postgres"

	"github.com/mlops-integration/mlops"
)

// fetchedVersion is what is fetched where no PostgreSQL is installed.
const fetchedVersion = embeddedpostgres.V16

func fetchedFolder(root string) string { return filepath.Join(root, "pg-"+string(fetchedVersion)) }

// postgresCandidates lists folders in which PostgreSQL's programs may be.
// MLOPS_POSTGRES_BIN names one, and no other is looked at; "fetch" means the
// ones that setup fetches.
func postgresCandidates(root string) []string {
	fetched := filepath.Join(fetchedFolder(root), "bin")
	switch only := os.Getenv(postgresProgram); only {
	case "":
	case "fetch":
		return []string{fetched}
	default:
		return []string{only}
	}
	var out []string
	if p, err := exec.LookPath("postgres"); err == nil {
		if real, err := filepath.EvalSymlinks(p); err == nil {
			p = real // initdb and share are found beside the real file
		}
		out = append(out, filepath.Dir(p))
	}
	for _, pattern := range []string{
		"/usr/lib/postgresql/*/bin",
		"/usr/pgsql-*/bin",
		"/opt/homebrew/opt/postgresql@*/bin", "/opt/homebrew/opt/postgresql/bin",
		"/usr/local/opt/postgresql@*/bin", "/usr/local/opt/postgresql/bin",
		"/Applications/Postgres.app/Contents/Versions/*/bin",
	} {
		found, _ := filepath.Glob(pattern)
		out = append(out, found...)
	}
	out = append(out, fetched)
	slices.Sort(out)
	return slices.Compact(out)
}

// versionOf asks the programs in bin for their major version, as the user who
// is going to run them.
func (p postgres) versionOf(ctx context.Context, bin string) (int, error) {
	if _, err := os.Stat(filepath.Join(bin, "initdb")); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "postgres"), "--version")
	cmd.Dir = "/"
	cmd.Env = []string{"LC_ALL=C"}
	if p.uid != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(p.uid), Gid: uint32(p.gid)}}
	}
	out, err := cmd.Output()
	if err != nil {
		return 0, err
	}
	return parsePostgresVersion(string(out))
}

// parsePostgresVersion reads "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)".
func parsePostgresVersion(text string) (int, error) {
	_, rest, ok := strings.Cut(text, "(PostgreSQL) ")
	digits := rest
	if i := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' }); i >= 0 {
		digits = rest[:i]
	}
	n, err := strconv.Atoi(digits)
	if !ok || err != nil {
		return 0, fmt.Errorf("%q is no version of PostgreSQL", strings.TrimSpace(text))
	}
	return n, nil
}

// ensurePostgres makes sure that there are programs of PostgreSQL, and fetches
// them if there are none.
func (s *Stack) ensurePostgres(ctx context.Context) error {
	if err := makeHome(s.home); err != nil {
		return err
	}
	p, err := openPostgres(ctx, s.home)
	if !errors.Is(err, errNoPostgres) {
		return err
	}
	if only := os.Getenv(postgresProgram); only != "" && only != "fetch" {
		return &mlops.Error{Kind: mlops.ErrNotFound, Service: "compose", Op: "setup", Message: fmt.Sprintf("%s is %s, where there is no PostgreSQL of version %d or later that can run", postgresProgram, only, postgresLeast)}
	}
	s.tell(Event{Service: "postgres", State: StatePreparing, Message: "fetching PostgreSQL " + string(fetchedVersion)})
	if err := p.fetch(ctx); err != nil {
		return &mlops.Error{Kind: mlops.ErrUnavailable, Service: "compose", Op: "setup", Message: fmt.Sprintf("no PostgreSQL of version %d or later is installed, and it cannot be fetched (%v); install it, or use: mlopsctl start --light", postgresLeast, err), Cause: err}
	}
	_, err = openPostgres(ctx, s.home)
	return err
}

// fetch unpacks the programs below root. The library's only way to its
// programs is its Start; it is stopped right after unpacking, before it makes
// a data folder, by the name of one that cannot be.
func (p postgres) fetch(ctx context.Context) error {
	work, err := os.MkdirTemp(p.root, "fetch-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	unpacked := filepath.Join(work, "pg")
	db := embeddedpostgres.NewDatabase(embeddedpostgres.DefaultConfig().
		Version(fetchedVersion).
		Port(0).
		CachePath(filepath.Join(work, "cache")).
		RuntimePath(filepath.Join(work, "run")).
		BinariesPath(unpacked).
		DataPath(filepath.Join(work, "data") + string(filepath.Separator) + ".")) // os.RemoveAll refuses "…/."
	failed := make(chan error, 1)
	go func() { failed <- db.Start() }()
	select {
	case <-ctx.Done():
		<-failed // it cannot be interrupted, and it writes to our folder
		return ctx.Err()
	case err = <-failed:
	}
	if _, missing := os.Stat(filepath.Join(unpacked, "bin", "initdb")); missing != nil {
		if err == nil {
			err = missing
		}
		return err
	}
	if err := os.Chmod(unpacked, 0o755); err != nil {
		return err
	}
	to := fetchedFolder(p.root)
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	return os.Rename(unpacked, to)
}
