package compose

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/mlops-integration/mlops/internal/atomicfile"
	"github.com/mlops-integration/mlops/internal/stackfile"
)

const (
	postgresUser    = "mlops"
	postgresLeast   = 15 // the oldest major version that is used
	postgresFolder  = "MLOPS_POSTGRES_DIR"
	postgresProgram = "MLOPS_POSTGRES_BIN"
)

// postgresDatabases are made when they are missing.
var postgresDatabases = []string{"mlflow", "airflow"}

// postgresService is a real PostgreSQL. It listens on 127.0.0.1 only, with a
// password (scram-sha-256), and on no unix socket. As root it runs as a system
// user of its own, which owns the data.
func postgresService() service {
	return service{
		name:  "postgres",
		group: "postgres",
		ports: []port{{name: "sql", first: 5432}},
		prepare: func(ctx context.Context, s *site) error {
			pg, err := openPostgres(ctx, s.home)
			if err != nil {
				return err
			}
			return pg.initialize(ctx, s)
		},
		command: func(s *site) (command, error) {
			pg, err := openPostgres(context.Background(), s.home)
			if err != nil {
				return command{}, err
			}
			c := pg.command("postgres",
				"-D", pg.data(),
				"-c", "port="+strconv.Itoa(s.port("postgres", "sql")),
				"-c", "listen_addresses=127.0.0.1",
				"-c", "unix_socket_directories=",
				"-c", "password_encryption=scram-sha-256",
				"-c", "logging_collector=off", "-c", "log_destination=stderr",
				"-c", "max_connections=200",
			)
			return c, nil
		},
		ready:   postgresReady,
		settled: postgresSettled,
		endpoints: func(s *site) map[string]stackfile.Endpoint {
			return map[string]stackfile.Endpoint{stackfile.Postgres: {
				URL:      "postgresql://127.0.0.1:" + strconv.Itoa(s.port("postgres", "sql")),
				Username: postgresUser, SecretFile: s.secretFile("postgres"),
			}}
		},
		// A "fast" shutdown; at SIGTERM it would wait for its last client.
		// Source: https://www.postgresql.org/docs/16/server-shutdown.html
		stop:  syscall.SIGINT,
		grace: 30 * time.Second,
	}
}

// postgresDSN is the address of a database with user and password. It belongs
// into an environment or a file of mode 0600, never into arguments.
func postgresDSN(s *site, scheme, database string) (string, error) {
	pw, _, err := s.secret("postgres")
	if err != nil {
		return "", err
	}
	u := url.URL{
		Scheme: scheme,
		User:   url.UserPassword(postgresUser, string(pw)),
		Host:   "127.0.0.1:" + strconv.Itoa(s.port("postgres", "sql")),
		Path:   "/" + database,
	}
	return u.String(), nil
}

func postgresConnect(ctx context.Context, s *site, database string) (*pgx.Conn, error) {
	dsn, err := postgresDSN(s, "postgres", database)
	if err != nil {
		return nil, err
	}
	cfg, err := pgx.ParseConfig(dsn + "?sslmode=disable&connect_timeout=10")
	if err != nil {
		return nil, errors.New("the database address cannot be read") // err holds the password
	}
	return pgx.ConnectConfig(ctx, cfg)
}

// wrongPassword is PostgreSQL's code for it.
// Source: https://www.postgresql.org/docs/16/errcodes-appendix.html
const wrongPassword = "28P01"

// postgresFolderOf asks a server that takes our password for its data's folder.
func postgresFolderOf(ctx context.Context, s *site) (dir string, err error) {
	conn, err := postgresConnect(ctx, s, "postgres")
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok && pg.Code == wrongPassword {
		return "", refusal("PostgreSQL does not take the password in " + s.secretFile("postgres") + ": its databases were made with another; put that file back")
	}
	if err != nil {
		return "", err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var version int
	if err := conn.QueryRow(ctx, "select current_setting('server_version_num')::int, current_setting('data_directory')").Scan(&version, &dir); err != nil {
		return "", err
	}
	if version < postgresLeast*10000 {
		return "", fmt.Errorf("PostgreSQL %d answers, %d is the oldest that serves", version/10000, postgresLeast)
	}
	return dir, nil
}

// postgresReady takes only a server with our data.
func postgresReady(ctx context.Context, s *site) error {
	root, err := postgresRoot(s.home)
	if err != nil {
		return err
	}
	dir, err := postgresFolderOf(ctx, s)
	if err != nil {
		return err
	}
	if want := filepath.Join(root, "data"); !sameFolder(dir, want) {
		return fmt.Errorf("a PostgreSQL with the data of %s answers, not ours", dir)
	}
	return nil
}

func sameFolder(a, b string) bool {
	x, err1 := os.Stat(a)
	y, err2 := os.Stat(b)
	return err1 == nil && err2 == nil && os.SameFile(x, y)
}

func postgresSettled(ctx context.Context, s *site) error {
	conn, err := postgresConnect(ctx, s, "postgres")
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for _, name := range postgresDatabases {
		var there bool
		if err := conn.QueryRow(ctx, "select exists(select from pg_database where datname = $1)", name).Scan(&there); err != nil {
			return err
		}
		if there {
			continue
		}
		if _, err := conn.Exec(ctx, "create database "+pgx.Identifier{name}.Sanitize()); err != nil {
			return fmt.Errorf("create database %s: %w", name, err)
		}
	}
	root, err := postgresRoot(s.home)
	if err != nil {
		return err
	}
	return databasesOf(s.home, root).claim()
}

// postgres is an installation: programs, a folder, and the user it runs as.
type postgres struct {
	root     string // holds data, and the programs if they were fetched
	bin      string
	major    int
	uid, gid int // 0: as we are
}

func (p postgres) data() string { return filepath.Join(p.root, "data") }

func (p postgres) command(program string, args ...string) command {
	return command{
		path: filepath.Join(p.bin, program), args: args,
		env: []string{"HOME=" + p.root, "LC_ALL=C", "TMPDIR="}, dir: p.root, uid: p.uid, gid: p.gid,
	}
}

// openPostgres finds the folder and programs of PostgreSQL for a home.
func openPostgres(ctx context.Context, home string) (postgres, error) {
	p, err := postgresPlace(home)
	if err != nil {
		return p, err
	}
	want := p.dataMajor()
	for _, bin := range postgresCandidates(p.root) {
		major, err := p.versionOf(ctx, bin)
		if err != nil || major < postgresLeast || want != 0 && major != want {
			continue
		}
		if want != 0 || major > p.major {
			p.bin, p.major = bin, major
		}
		if want != 0 {
			break
		}
	}
	if p.bin == "" {
		if want != 0 {
			return p, fmt.Errorf("the data in %s is of PostgreSQL %d, whose programs are not here; install them, or set %s to their folder", p.data(), want, postgresProgram)
		}
		return p, errNoPostgres
	}
	return p, nil
}

var errNoPostgres = errors.New("no PostgreSQL of version 15 or later found; run: mlopsctl setup")

// postgresPlace makes the folder of PostgreSQL, unless the home has no right to
// what lies there. As root that is a folder which another user can reach,
// whatever the mode of the home.
func postgresPlace(home string) (postgres, error) {
	if _, err := ensureIdentity(home); err != nil {
		return postgres{}, err
	}
	root, err := postgresRoot(home)
	if err != nil {
		return postgres{}, err
	}
	if _, err := databasesOf(home, root).judge(); err != nil {
		return postgres{}, err
	}
	p := postgres{root: root}
	if os.Geteuid() == 0 {
		if p.uid, p.gid, err = postgresOwner(p.data()); err != nil {
			return p, err
		}
	}
	mode := os.FileMode(0o700)
	if p.uid != 0 {
		mode = 0o711
	}
	if err := os.MkdirAll(filepath.Dir(root), 0o755); err != nil {
		return p, err
	}
	if err := os.Mkdir(root, mode); err != nil && !errors.Is(err, os.ErrExist) {
		return p, err
	}
	if p.uid != 0 {
		if dir, ok := untraversable(root); ok {
			return p, fmt.Errorf("PostgreSQL does not run as root, and its user cannot enter %s; set %s to a folder that all users can reach", dir, postgresFolder)
		}
	}
	return p, atomicfile.Write(postgresNote(home), []byte(root), 0o600)
}

// untraversable names a folder above path, or path, that others cannot enter.
func untraversable(path string) (string, bool) {
	for d := path; ; d = filepath.Dir(d) {
		if info, err := os.Stat(d); err == nil && info.Mode().Perm()&0o001 == 0 {
			return d, true
		}
		if d == filepath.Dir(d) {
			return "", false
		}
	}
}

// initialize makes the data folder, once.
func (p postgres) initialize(ctx context.Context, s *site) error {
	if err := p.own(p.root); err != nil {
		return err
	}
	if err := p.setAside(s); err != nil {
		return err
	}
	if p.dataMajor() == 0 {
		pw, _, err := s.secret("postgres")
		if err != nil {
			return err
		}
		fmt.Fprintf(s.log, "initdb of PostgreSQL %d in %s\n", p.major, p.data())
		// A folder without PG_VERSION is what an interrupted initdb left.
		fresh := filepath.Join(p.root, "data.new")
		if err := os.RemoveAll(fresh); err != nil {
			return err
		}
		pwfile := filepath.Join(p.root, ".pw")
		if err := os.Remove(pwfile); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		f, err := os.OpenFile(pwfile, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		defer os.Remove(pwfile)
		_, err = f.WriteString(string(pw) + "\n")
		if err := errors.Join(err, f.Close(), p.own(pwfile)); err != nil {
			return err
		}
		if err := s.run(ctx, p.command("initdb", "-D", fresh, "-U", postgresUser, "-A", "scram-sha-256",
			"--pwfile", pwfile, "-E", "UTF8", "--locale=C")); err != nil {
			return err
		}
		if err := os.RemoveAll(p.data()); err != nil {
			return err
		}
		if err := os.Rename(fresh, p.data()); err != nil {
			return err
		}
	}
	hba := filepath.Join(p.data(), "pg_hba.conf")
	if err := os.WriteFile(hba, []byte("# written by mlopsctl at each start\nhost all all 127.0.0.1/32 scram-sha-256\n"), 0o600); err != nil {
		return err
	}
	return p.own(hba)
}

// setAside moves databases out of the way that a home which was deleted left in
// a folder that is named again. Nothing is deleted.
func (p postgres) setAside(s *site) error {
	aside, err := databasesOf(s.home, p.root).judge()
	if err != nil || !aside {
		return err
	}
	to := p.data() + ".of-a-deleted-home-" + time.Now().UTC().Format("20060102T150405.000")
	fmt.Fprintf(s.log, "the databases in %s are of a home that was deleted, and their password with it: moved to %s\n", p.data(), to)
	if err := os.Remove(identityPath(p.root)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.Rename(p.data(), to)
}

// own gives a file to the user that PostgreSQL runs as.
func (p postgres) own(path string) error {
	if p.uid == 0 {
		return nil
	}
	return os.Lchown(path, p.uid, p.gid)
}

// dataMajor is the version that made the data; 0 if there is none.
func (p postgres) dataMajor() int {
	b, err := os.ReadFile(filepath.Join(p.data(), "PG_VERSION"))
	if err != nil {
		return 0
	}
	n, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	return n
}
