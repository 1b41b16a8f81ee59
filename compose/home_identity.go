package compose

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/atomicfile"
)

// identity is the file home.id, in a home and in each folder outside of it that
// belongs to it. A path says nothing about whose a folder is: homes are renamed,
// copied, deleted and made again.
type identity struct {
	ID string `json:"id"` // 32 hexadecimal digits, random; empty for a home that has none yet

	// In a home:
	Databases  string `json:"databases,omitempty"`  // the folder of PostgreSQL, once databases were made there
	Containers string `json:"containers,omitempty"` // the project under which an engine keeps its containers and volumes

	// In a folder that belongs to a home:
	Home string `json:"home,omitempty"` // where the home was when it was last started
}

func identityPath(dir string) string { return filepath.Join(dir, "home.id") }

var identityText = regexp.MustCompile(`^[0-9a-f]{32}$`)

// readIdentity returns what dir/home.id says. A file that is missing or cannot
// be read counts as none: other traces decide then.
func readIdentity(dir string) identity {
	var i identity
	b, err := os.ReadFile(identityPath(dir))
	if err != nil || json.Unmarshal(b, &i) != nil || !identityText.MatchString(i.ID) {
		return identity{}
	}
	return i
}

func (i identity) write(dir string) error {
	if readIdentity(dir) == i && privateFile(identityPath(dir)) == nil {
		return nil
	}
	b, err := json.Marshal(i)
	if err != nil {
		return err
	}
	return atomicfile.Write(identityPath(dir), append(b, '\n'), 0o600)
}

// short is what names a folder after the home.
func (i identity) short() string { return i.ID[:12] }

// ensureIdentity gives a home its ID if it has none: the one in the folder of
// its databases if that names this home, else a new one. Two processes that do
// so at once get the same.
func ensureIdentity(home string) (identity, error) {
	if own := readIdentity(home); own.ID != "" {
		return own, nil
	}
	id := identity{ID: newID()}
	if root, err := postgresRoot(home); err == nil {
		if d := databasesOf(home, root); d.deed.ID != "" && d.deed.Home == home && d.lived() {
			id = identity{ID: d.deed.ID, Databases: root}
		}
	}
	b, err := json.Marshal(id)
	if err != nil {
		return id, err
	}
	if damaged(identityPath(home)) {
		return id, atomicfile.Write(identityPath(home), append(b, '\n'), 0o600)
	}
	if err := atomicfile.Create(identityPath(home), append(b, '\n'), 0o600); err != nil && !errors.Is(err, fs.ErrExist) {
		return id, err
	}
	return readIdentity(home), nil
}

func newID() string {
	raw := make([]byte, 16)
	_, _ = rand.Read(raw) // never fails
	return hex.EncodeToString(raw)
}

// damaged reports whether there is an identity file that says nothing.
func damaged(file string) bool {
	_, err := os.Lstat(file)
	return err == nil && readIdentity(filepath.Dir(file)).ID == ""
}

// isHome reports whether path is a home with that ID, and another folder than
// home: then home is a copy of it.
func isHome(path, id, home string) bool {
	return path != "" && !sameFolder(path, home) && readIdentity(path).ID == id
}

// databases is what is known about the databases of a home and their folder.
type databases struct {
	home, root string
	own, deed  identity // of the home, of the folder
	made       bool     // there are databases in the folder
}

func databasesOf(home, root string) databases {
	d := databases{home: home, root: root, own: readIdentity(home), deed: readIdentity(root)}
	_, err := os.Stat(filepath.Join(root, "data", "PG_VERSION"))
	d.made = err == nil
	return d
}

// judge decides whether the home may start on the databases, or make them. It
// changes nothing. Its error matches [mlops.ErrConflict] and names both. aside
// reports that the databases are of a home that was deleted: this one has lived
// nothing yet, and may begin beside them.
func (d databases) judge() (aside bool, err error) {
	if !d.made {
		return false, d.judgeMissing()
	}
	secret := secretPath(d.home, "postgres")
	missing := "missing"
	if info, err := os.Stat(secret); err == nil {
		missing = ""
		if info.Size() == 0 {
			missing = "empty"
		}
	}
	fresh := !d.lived()
	within := inside(d.root, d.home) // they go where the home goes, also as copies
	switch {
	case !within && d.deed.ID != "" && isHome(d.deed.Home, d.deed.ID, d.home) && (d.own.ID == d.deed.ID || d.own.ID == "" && !fresh):
		return false, conflict("%s is a copy of %s, which owns the databases in %s; to use those: MLOPS_HOME=%s mlopsctl start; to give the copy databases of its own, empty ones: rm -r %s && mlopsctl start",
			d.home, d.deed.Home, d.root, quoted(d.deed.Home), quoted(identityPath(d.home), filepath.Join(d.home, "secrets"), filepath.Join(d.home, "data")))
	case d.deed.ID != "" && d.own.ID != "" && d.deed.ID != d.own.ID:
		if fresh && !isHome(d.deed.Home, d.deed.ID, d.home) {
			return true, nil
		}
		return false, conflict("%s (ID %s) and the databases in %s (of %s, ID %s) do not belong together; name the folder of the home's own databases in %s, or another, empty one",
			d.home, d.own.short(), d.root, d.deed.Home, d.deed.short(), postgresFolder)
	case fresh && !within && d.deed.ID == "":
		return true, nil
	case missing != "":
		return false, conflict("%s is %s, and with it the password of the databases in %s is gone; put it back, or run: mlopsctl doctor --fix", secret, missing, d.root)
	case d.deed.ID == "" && d.own.Databases != d.root && d.moved():
		return false, conflict("%s has no ID, and its path does not name the databases in %s: it was renamed or copied; if it is the home that they belong to, run: %s=%s mlopsctl start",
			d.home, d.root, postgresFolder, quoted(d.root))
	}
	return false, nil
}

// judgeMissing refuses to begin with empty databases where there were others.
func (d databases) judgeMissing() error {
	before := cmp.Or(d.own.Databases, notedRoot(d.home), d.root)
	if d.own.Databases == "" && !d.hadDatabases() {
		return nil
	}
	return conflict("%s had its databases in %s, and they are not there any more; put the folder back, or name where it is now: %s=/the/folder mlopsctl start; to begin with empty ones, delete %s, %s and %s",
		d.home, before, postgresFolder, identityPath(d.home), filepath.Join(d.home, "secrets"), filepath.Join(d.home, "data"))
}

// hadDatabases reports whether files of the home are known to be written only
// when PostgreSQL was there.
func (d databases) hadDatabases() bool {
	for _, name := range []string{"mlflow/pgpass", "airflow/database"} {
		if info, err := os.Stat(filepath.Join(d.home, "data", name)); err == nil && info.Size() > 0 {
			return true
		}
	}
	return false
}

// lived reports whether the home has anything of a service that uses databases.
func (d databases) lived() bool {
	if d.own.Databases != "" {
		return true
	}
	for _, pattern := range []string{"secrets/mlflow*", "secrets/airflow*", "secrets/postgres", "data/mlflow/*", "data/airflow/*"} {
		if found, _ := filepath.Glob(filepath.Join(d.home, pattern)); len(found) > 0 {
			return true
		}
	}
	return false
}

// moved reports whether the folder is named after neither the home's ID nor its
// path: before homes had IDs, they were known by their path.
func (d databases) moved() bool {
	if filepath.Dir(d.root) != sharedFolder || os.Getenv(postgresFolder) != "" {
		return false
	}
	return d.root != namedByPath(d.home) && d.root != namedByID(d.own)
}

// claim notes on both sides that the databases belong to the home. Their server
// took the home's password before.
func (d databases) claim() error {
	own, err := ensureIdentity(d.home)
	if err != nil {
		return err
	}
	own.Databases = d.root
	return errors.Join(
		identity{ID: own.ID, Home: d.home}.write(d.root),
		own.write(d.home),
		writePrivate(postgresNote(d.home), d.root),
	)
}

func conflict(format string, args ...any) error {
	return &mlops.Error{Kind: mlops.ErrConflict, Service: "compose", Op: "start", Message: fmt.Sprintf(format, args...)}
}

func inside(path, dir string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, "../")
}

// sharedFolder is where databases of root's homes lie: another user, who runs
// PostgreSQL, has to get there whatever the mode of the home.
const sharedFolder = "/var/lib/mlops"

// postgresNote keeps which folder was chosen: the data must not move because
// a variable is set in one shell and not in another.
func postgresNote(home string) string { return filepath.Join(home, "data", "postgres.folder") }

func notedRoot(home string) string {
	b, _ := os.ReadFile(postgresNote(home))
	return strings.TrimSpace(string(b))
}

// postgresRoot is the folder of PostgreSQL for a home: the one that
// MLOPS_POSTGRES_DIR names, else the one where its databases are, wherever the
// home lies now, else where they are to be made. It changes nothing.
func postgresRoot(home string) (string, error) {
	own := readIdentity(home)
	note := notedRoot(home)
	asked := os.Getenv(postgresFolder)
	if asked != "" && isTwin(home) { // the folder itself is its original's
		asked = filepath.Join(asked, filepath.Base(namedByPath(home)))
	}
	if before := cmp.Or(note, own.Databases); asked != "" && before != "" && before != asked && databasesOf(home, before).made {
		return "", fmt.Errorf("the databases are in %s, but %s is %s; unset it, or move the folder and delete %s", before, postgresFolder, asked, postgresNote(home))
	}
	if asked != "" {
		return filepath.Abs(asked)
	}
	within := filepath.Join(home, "data", "postgres")
	known := []string{within, own.Databases, note}
	if os.Geteuid() == 0 {
		if own.ID != "" {
			known = append(known, namedByID(own))
		}
		if databasesOf(home, "").lived() {
			known = append(known, namedByPath(home))
		}
	}
	for _, root := range known {
		d := databasesOf(home, root)
		ours := root == note || root == own.Databases || d.deed.ID == "" || d.deed.ID == own.ID || own.ID == "" && d.deed.Home == home
		if root != "" && d.made && ours {
			return root, nil
		}
	}
	if root := searchDatabases(own, home); root != "" {
		return root, nil
	}
	if _, err := os.Stat(note); note != "" && err == nil {
		return note, nil
	}
	switch {
	case os.Geteuid() != 0:
		return within, nil
	case own.ID != "":
		return namedByID(own), nil
	}
	return namedByPath(home), nil
}

// namedByID is the folder of databases that root's home has outside of it.
func namedByID(own identity) string {
	if own.ID == "" {
		return ""
	}
	return filepath.Join(sharedFolder, own.short())
}

// namedByPath is the folder that a home's path gave its databases before homes
// had IDs.
func namedByPath(home string) string {
	return filepath.Join(sharedFolder, pathSum(home)[:12])
}

// searchDatabases looks for the folder of databases with a home's ID, or, for a
// home that lost its own, for the only one that names the home.
func searchDatabases(own identity, home string) string {
	found, _ := filepath.Glob(filepath.Join(sharedFolder, "*"))
	found = slices.DeleteFunc(found, func(dir string) bool {
		deed := readIdentity(dir)
		return deed.ID == "" || deed.ID != own.ID && (own.ID != "" || deed.Home != home)
	})
	if own.ID == "" && (len(found) != 1 || !databasesOf(home, "").lived()) || len(found) == 0 {
		return ""
	}
	return found[0]
}

// pathSum is the hash of a path, in hexadecimal digits.
func pathSum(path string) string {
	sum := sha256.Sum256([]byte(path))
	return hex.EncodeToString(sum[:])
}
