package compose

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/mlops-integration/mlops/internal/atomicfile"
)

// fault is what is wrong with a file of a home that is no database.
type fault struct {
	file    string
	missing bool
	empty   bool
	foreign bool // it belongs to another user
	loose   bool // others may read or write it
}

func (f fault) String() string {
	switch {
	case f.missing:
		return f.file + " is missing"
	case f.foreign:
		return f.file + " belongs to another user"
	case f.empty:
		return f.file + " is empty"
	}
	return f.file + " is open to other users"
}

// faults looks at each file of the home that has to be there, and at what lies
// beside them.
func (s *Stack) faults(st Status) []fault {
	var out []fault
	seen := map[string]bool{}
	look := func(file string, due bool) {
		if seen[file] {
			return
		}
		seen[file] = true
		f := fault{file: file}
		info, err := os.Lstat(file)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			f.missing = due
		case err != nil:
		default:
			f.empty = due && info.Mode().IsRegular() && info.Size() == 0 && filepath.Base(file) != filepath.Base(lockPath(s.home))
			f.foreign = !ownedByUs(info)
			f.loose = info.Mode().Perm()&0o077 != 0 && info.Mode()&fs.ModeSymlink == 0
		}
		if f != (fault{file: file}) {
			out = append(out, f)
		}
	}
	for _, file := range s.due(st) {
		look(file, true)
	}
	for _, pattern := range []string{"home.id", "stack.json", "run/*", "secrets/*", "data/postgres.folder", "data/mlflow/pgpass"} {
		found, _ := filepath.Glob(filepath.Join(s.home, pattern))
		for _, file := range found {
			look(file, false)
		}
	}
	return out
}

// due lists the files without which the stack, or one of its services, does not
// go on as it was. A folder that only a service's start makes shows that it has
// lived.
func (s *Stack) due(st Status) []string {
	in := func(name ...string) string { return filepath.Join(append([]string{s.home}, name...)...) }
	there := func(name ...string) bool { _, err := os.Stat(in(name...)); return err == nil }
	var out []string
	root, err := postgresRoot(s.home)
	d := databasesOf(s.home, root)
	d.made = d.made && err == nil
	if d.made {
		out = append(out, secretPath(s.home, "postgres"), postgresNote(s.home), statePath(s.home))
	}
	if d.deed.ID != "" && d.deed.Home == s.home {
		out = append(out, identityPath(s.home))
	}
	if d.made && d.own.Databases == root {
		out = append(out, identityPath(root))
	}
	if there("data", "mlflow", "artifacts") {
		out = append(out, secretPath(s.home, "mlflow"), secretPath(s.home, "mlflow-session"), in("data", "mlflow", "basic_auth.ini"), in("data", "mlflow", "tables"))
		if d.made && !st.Light {
			out = append(out, in("data", "mlflow", "pgpass"))
		}
	}
	if there("data", "airflow", "plugins") {
		for _, name := range []string{"airflow", "airflow-fernet", "airflow-jwt", "airflow-session"} {
			out = append(out, secretPath(s.home, name))
		}
		for _, name := range []string{"passwords.json", "database", "fernet", "tables"} {
			out = append(out, in("data", "airflow", name))
		}
	}
	if there("data", "evidently", "workspace") {
		out = append(out, secretPath(s.home, "evidently"))
	}
	if there("data", "ray-hook") {
		out = append(out, secretPath(s.home, "ray"))
	}
	if there("data", "s3") {
		out = append(out, secretPath(s.home, "s3"), secretPath(s.home, "s3.aws"))
	}
	if st.Supervisor.PID != 0 {
		out = append(out, statePath(s.home), lockPath(s.home))
		if p, err := socketPath(s.home); err == nil {
			out = append(out, p)
		}
	}
	return out
}

// checkHome looks whether the home can be written to at all.
func (s *Stack) checkHome(context.Context, Status) []Finding {
	err := unix.Access(s.home, unix.W_OK)
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	return []Finding{homeFinding(s.home, err)}
}

func homeFinding(home string, err error) Finding {
	elsewhere := "MLOPS_HOME=/another/folder mlopsctl setup"
	if errors.Is(err, unix.EROFS) {
		return Finding{"home", SeverityFail, home + " is on a file system that is mounted read-only", elsewhere}
	}
	return Finding{"home", SeverityFail, home + " cannot be written to: " + err.Error(), elsewhere}
}

// checkDatabases looks whether the databases belong to the home.
func (s *Stack) checkDatabases(context.Context, Status) []Finding {
	root, err := postgresRoot(s.home)
	if err != nil {
		return nil // checkPostgres says so
	}
	d := databasesOf(s.home, root)
	if _, err := d.judge(); err != nil {
		text, cure, _ := strings.Cut(strings.TrimPrefix(err.Error(), "compose: start: "), "; ")
		return []Finding{{"databases", SeverityFail, text, cure}}
	}
	if !d.made {
		return nil
	}
	return []Finding{{"databases", SeverityOK, "in " + root, ""}}
}

// checkFiles names each file that is missing, empty or open, and what the
// supervisor has put back since it runs.
func (s *Stack) checkFiles(_ context.Context, st Status) []Finding {
	var out []Finding
	for _, f := range s.faults(st) {
		state := SeverityWarn
		if filepath.Dir(f.file) == filepath.Join(s.home, "secrets") {
			state = SeverityFail // programs refuse it, or cannot log in
		}
		out = append(out, Finding{"file", state, f.String(), "mlopsctl doctor --fix"})
	}
	for _, text := range st.Supervisor.Mended {
		out = append(out, Finding{"mended", SeverityWarn, text, ""})
	}
	if len(out) == 0 {
		out = append(out, Finding{"files", SeverityOK, "all there, and ours alone", ""})
	}
	return out
}

// Mend repairs what Doctor names and what can be repaired without a loss: modes
// and owners of files, secrets of which there is a copy or which the next start
// can give to their server, files that a start writes. It returns what it did,
// and with [SeverityFail] what it could not do. It starts, stops and deletes nothing.
func (s *Stack) Mend(ctx context.Context) ([]Finding, error) {
	r, err := s.carrier()
	if err != nil {
		return nil, err
	}
	return r.mend(ctx)
}

func (s processes) mend(ctx context.Context) ([]Finding, error) {
	st, err := s.Status(ctx)
	if err != nil {
		return nil, err
	}
	var out []Finding
	for _, f := range s.faults(st) {
		did, err := s.mendFile(ctx, f, st)
		switch {
		case err != nil:
			out = append(out, Finding{"file", SeverityFail, f.String() + "; not mended: " + err.Error(), ""})
		case did != "":
			out = append(out, Finding{"file", SeverityOK, f.String() + "; " + did, ""})
		}
	}
	return out, ctx.Err()
}

func (s *Stack) mendFile(ctx context.Context, f fault, st Status) (did string, err error) {
	if f.foreign {
		if os.Geteuid() != 0 {
			return "", fmt.Errorf("run: sudo chown %d %s", os.Geteuid(), quoted(f.file))
		}
		if err := os.Lchown(f.file, 0, 0); err != nil {
			return "", err
		}
		did = "it is ours again"
	}
	if f.loose {
		if err := os.Chmod(f.file, 0o600); err != nil {
			return "", err
		}
		did = joinNotes(did, "it has mode 0600 again")
	}
	if !f.missing && !f.empty {
		return did, nil
	}
	again, err := s.writeAgain(ctx, f, st)
	return joinNotes(did, again), err
}

// writeAgain gives a file that is missing or empty its content.
func (s *Stack) writeAgain(ctx context.Context, f fault, st Status) (did string, err error) {
	rec, err := readState(s.home)
	if err != nil {
		return "", err
	}
	here := s.siteOf(rec.Ports, rec.Light, io.Discard)
	root, err := postgresRoot(s.home)
	if err != nil {
		return "", err
	}
	d := databasesOf(s.home, root)
	const written = "it is written again"
	switch name := strings.TrimPrefix(f.file, s.home+"/"); name {
	case "home.id":
		_, err = ensureIdentity(s.home)
		return written, err
	case "data/postgres.folder":
		return written, writePrivate(f.file, root)
	case "data/mlflow/basic_auth.ini", "data/mlflow/pgpass":
		return written, mlflowFiles(here)
	case "data/airflow/passwords.json", "data/airflow/database", "data/airflow/fernet":
		return written, airflowFiles(here)
	case "secrets/s3.aws":
		return written, s3Prepare(ctx, here)
	case "data/mlflow/tables", "data/airflow/tables":
		if err := os.Remove(f.file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		return "the next start writes it", nil
	case "run/state.json":
		if st.State != StateStopped {
			return "", errors.New("run: mlopsctl stop")
		}
		return "it is written again; the ports it had are chosen again at the next start", rec.write(s.home)
	}
	if f.file == identityPath(root) {
		if err := postgresReady(ctx, here); err != nil {
			return "the next start writes it", nil // when the databases have taken the secret
		}
		return written, d.claim()
	}
	if filepath.Dir(f.file) == filepath.Join(s.home, "secrets") {
		return s.restoreSecret(filepath.Base(f.file), st)
	}
	return "", errors.New("run: mlopsctl restart")
}

// restoreSecret puts back a secret from a file that a start wrote for its
// server; one that its server is given at each start is made again.
func (s *Stack) restoreSecret(name string, st Status) (did string, err error) {
	file := secretPath(s.home, name)
	content, from := secretCopy(s.home, name)
	if content == "" {
		if trace := livedWith(s.home, name); trace != "" {
			return "", fmt.Errorf("there is no copy of it; put it back from a backup (%s shows that a server has it)", trace)
		}
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		did = "it is made again"
		runs := slices.ContainsFunc(st.Services, func(v ServiceStatus) bool {
			return v.State != StateStopped && strings.HasPrefix(name, strings.SplitN(v.Name, "-", 2)[0])
		})
		if runs {
			did += "; run: mlopsctl restart " + strings.SplitN(name, "-", 2)[0]
		}
		return did, makeSecret(s.home, name)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return "", err
	}
	return "it is restored from " + from, atomicfile.Write(file, []byte(content), 0o600)
}

// secretCopy finds a secret in the file that a start wrote for its server.
func secretCopy(home, name string) (content, from string) {
	read := func(names ...string) string {
		from = filepath.Join(append([]string{home, "data"}, names...)...)
		if info, err := os.Stat(from); err != nil || !ownedByUs(info) {
			return ""
		}
		b, _ := os.ReadFile(from)
		return string(b)
	}
	switch name {
	case "postgres":
		line := strings.TrimSpace(read("mlflow", "pgpass"))
		content = line[strings.LastIndex(line, ":")+1:] // made of a URL's characters, nothing is escaped
	case "mlflow":
		for line := range strings.Lines(read("mlflow", "basic_auth.ini")) {
			if v, ok := strings.CutPrefix(line, "admin_password = "); ok {
				content = strings.ReplaceAll(strings.TrimSpace(v), "%%", "%")
			}
		}
	case "airflow":
		var users map[string]string
		if json.Unmarshal([]byte(read("airflow", "passwords.json")), &users) == nil {
			content = users["admin"]
		}
	}
	return content, from
}
