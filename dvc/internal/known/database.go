package known

import (
	"cmp"
	"context"
	"crypto/md5"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"math/big"
	"net/url"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/mlops-integration/mlops/dvc/internal/object"

	_ "modernc.org/sqlite"
)

// DB is the database in which dvc remembers hashes of this repository:
// rows of (absolute path, JSON) in a table of Python's diskcache. With its rows
// read and written here, dvc does not hash again what we hashed, and we do not
// what dvc hashed.
//
// Source: dvc/repo/__init__.py (site_cache_dir), dvc_data/hashfile/state.py and
// cache.py, diskcache/core.py.
type DB struct{ db *sql.DB }

// dvcRow is the JSON of a row.
type dvcRow struct {
	Version  int               `json:"version"`
	Checksum string            `json:"checksum"`
	Size     int64             `json:"size"`
	Hash     map[string]string `json:"hash_info"`
}

// checksum is what dvc compares a file's stat with. It lacks the ctime, and its
// MTime is a float with steps of about 240 ns.
func (s Stamp) checksum() string {
	return tokenize(fmt.Sprintf("([%d, %s, %d],)", s.Ino, pyFloat(s.MTime), s.Size))
}

// tokenize is the number that an md5 in hex is. Source: fsspec/utils.py.
func tokenize(text string) string {
	sum := md5.Sum([]byte(text))
	return new(big.Int).SetBytes(sum[:]).String()
}

// pyFloat prints a time in ns as Python prints st_mtime, a float in seconds.
func pyFloat(ns int64) string {
	sec := ns / 1e9
	if ns%1e9 < 0 {
		sec--
	}
	// The conversion keeps a compiler from fusing the two roundings into one.
	s := strconv.FormatFloat(float64(sec)+float64(1e-9*float64(ns-sec*1e9)), 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

// pyString prints a text as Python's repr does. ok is false for what Python
// would print as escapes, which paths hardly have.
func pyString(s string) (repr string, ok bool) {
	if !utf8.ValidString(s) || strings.ContainsFunc(s, func(c rune) bool { return !unicode.IsPrint(c) }) {
		return "", false
	}
	quote := "'"
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		quote = `"`
	}
	s = strings.ReplaceAll(s, `\`, `\\`)
	return quote + strings.ReplaceAll(s, quote, `\`+quote) + quote, true
}

// dvcDir is the folder of the repository at dir in dvc's site cache, as dvc
// names it; "" if it cannot be known. site is what the configuration says of it.
func dvcDir(dir, site string) string {
	site = cmp.Or(os.Getenv("DVC_SITE_CACHE_DIR"), site)
	if site == "" {
		site = "/var/tmp/dvc"
		if runtime.GOOS == "darwin" {
			site = "/Library/Caches/dvc"
		}
	}
	var born unix.Stat_t
	btime := filepath.Join(dir, ".dvc", "tmp", "btime")
	if f, err := os.OpenFile(btime, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o666); err == nil {
		_ = f.Close() // dvc makes it where it is missing
	}
	root, ok := pyString(dir)
	if unix.Lstat(btime, &born) != nil || !ok {
		return ""
	}
	name := ""
	for _, v := range []string{"LOGNAME", "USER", "LNAME", "USERNAME"} {
		if name = os.Getenv(v); name != "" {
			break
		}
	}
	if name == "" {
		u, err := user.Current()
		if err != nil {
			return ""
		}
		name = u.Username
	}
	who, ok := pyString(name)
	if !ok {
		return ""
	}
	token := md5.Sum(fmt.Appendf(nil, "(%s, None, %s, %s, 3, 0)", root, pyFloat(born.Mtim.Nano()), who))
	return filepath.Join(site, "repo", hex.EncodeToString(token[:]))
}

// askDVC returns what dvc knows of files, given by path from the root.
func (s *State) askDVC(ctx context.Context, files map[string]Stamp) map[string]object.ID {
	d, err := OpenDVC(s.dir, s.site, false)
	if err != nil {
		return nil
	}
	defer d.Close()
	found, _ := d.Find(ctx, s.dir, files, time.Now())
	return found
}

// OpenDVC opens dvc's database; with create it makes it as dvc would. It
// is left alone when it belongs to another user: the folder above is open to all
// users of the machine.
func OpenDVC(root, site string, create bool) (*DB, error) {
	dir := dvcDir(root, site)
	if dir == "" {
		return nil, fs.ErrNotExist
	}
	if create {
		if err := os.MkdirAll(filepath.Dir(dir), 0o777); err != nil {
			return nil, err
		}
		_ = os.Chmod(filepath.Dir(dir), 0o777) // as dvc makes it
		if err := os.MkdirAll(filepath.Join(dir, "hashes", "local"), 0o755); err != nil {
			return nil, err
		}
	}
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return nil, err
	}
	if uint32(st.Mode)&unix.S_IFMT != unix.S_IFDIR || int(st.Uid) != os.Geteuid() {
		return nil, fs.ErrPermission
	}
	file := filepath.Join(dir, "hashes", "local", "cache.db")
	_, err := os.Lstat(file)
	if err != nil && !create {
		return nil, err
	}
	dsn := url.URL{Scheme: "file", OmitHost: true, Path: file, RawQuery: url.Values{"_pragma": {
		"busy_timeout(1000)", "auto_vacuum(1)", "journal_mode(WAL)", "synchronous(1)",
	}}.Encode()}
	db, err := sql.Open("sqlite", dsn.String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	d := &DB{db}
	if create {
		err = d.makeTables()
	}
	if err != nil {
		_ = d.Close()
		return nil, err
	}
	return d, nil
}

// Close closes the database.
func (d *DB) Close() error { return d.db.Close() }

// makeTables makes what diskcache makes, unless it is there.
func (d *DB) makeTables() error {
	tx, err := d.db.Begin()
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	for _, s := range dvcTables {
		if _, err := tx.Exec(s); err != nil {
			return err
		}
	}
	return tx.Commit()
}

var dvcTables = []string{
	`CREATE TABLE IF NOT EXISTS Settings ( key TEXT NOT NULL UNIQUE, value)`,
	`INSERT OR IGNORE INTO Settings VALUES ('count', 0), ('size', 0), ('hits', 0), ('misses', 0), ('statistics', 0),
		('tag_index', 0), ('eviction_policy', 'least-recently-stored'), ('size_limit', 1073741824), ('cull_limit', 0),
		('sqlite_auto_vacuum', 1), ('sqlite_cache_size', 8192), ('sqlite_journal_mode', 'wal'),
		('sqlite_mmap_size', 67108864), ('sqlite_synchronous', 1), ('disk_min_file_size', 32768), ('disk_pickle_protocol', 4)`,
	`CREATE TABLE IF NOT EXISTS Cache ( rowid INTEGER PRIMARY KEY, key BLOB, raw INTEGER, store_time REAL, expire_time REAL,` +
		` access_time REAL, access_count INTEGER DEFAULT 0, tag BLOB, size INTEGER DEFAULT 0, mode INTEGER DEFAULT 0, filename TEXT, value BLOB)`,
	`CREATE UNIQUE INDEX IF NOT EXISTS Cache_key_raw ON Cache(key, raw)`,
	`CREATE INDEX IF NOT EXISTS Cache_expire_time ON Cache (expire_time)`,
	`CREATE INDEX IF NOT EXISTS Cache_store_time ON Cache (store_time)`,
	`CREATE TRIGGER IF NOT EXISTS Settings_count_insert AFTER INSERT ON Cache FOR EACH ROW BEGIN UPDATE Settings SET value = value + 1 WHERE key = "count"; END`,
	`CREATE TRIGGER IF NOT EXISTS Settings_count_delete AFTER DELETE ON Cache FOR EACH ROW BEGIN UPDATE Settings SET value = value - 1 WHERE key = "count"; END`,
	`CREATE TRIGGER IF NOT EXISTS Settings_size_insert AFTER INSERT ON Cache FOR EACH ROW BEGIN UPDATE Settings SET value = value + NEW.size WHERE key = "size"; END`,
	`CREATE TRIGGER IF NOT EXISTS Settings_size_update AFTER UPDATE ON Cache FOR EACH ROW BEGIN UPDATE Settings SET value = value + NEW.size - OLD.size WHERE key = "size"; END`,
	`CREATE TRIGGER IF NOT EXISTS Settings_size_delete AFTER DELETE ON Cache FOR EACH ROW BEGIN UPDATE Settings SET value = value - OLD.size WHERE key = "size"; END`,
}

// Find returns the hashes that dvc knows of files, where they are safe.
func (d *DB) Find(ctx context.Context, root string, files map[string]Stamp, now time.Time) (map[string]object.ID, error) {
	found := map[string]object.ID{}
	query := func(keys []any) error {
		rows, err := d.db.QueryContext(ctx, "SELECT key, value FROM Cache WHERE raw = 1 AND key IN (?"+strings.Repeat(", ?", len(keys)-1)+")", keys...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var key, value string
			if err := rows.Scan(&key, &value); err != nil {
				return err
			}
			rel := strings.TrimPrefix(key, root+"/")
			if o := trusted(value, files[rel], now); o != "" {
				found[rel] = o
			}
		}
		return rows.Err()
	}
	keys := make([]any, 0, len(files))
	for rel := range files {
		keys = append(keys, root+"/"+rel)
	}
	for part := range slices.Chunk(keys, 500) {
		if err := query(part); err != nil {
			return found, err
		}
	}
	return found, nil
}

// trusted returns the hash of dvc's row if it holds for the file with stamp s.
// dvc does not look at the ctime: a row is safe only where the ctime tells that
// the mtime was not set back, and where both are old.
func trusted(text string, s Stamp, now time.Time) object.ID {
	var v dvcRow
	if json.Unmarshal([]byte(text), &v) != nil || v.Version != 1 || v.Checksum != s.checksum() {
		return ""
	}
	if !s.settled(now) || s.CTime-s.MTime > int64(Racy) && !(s.Links > 1 && s.Mode == 0o444) {
		return ""
	}
	for _, legacy := range []bool{false, true} {
		if o, err := object.Parse(v.Hash[HashName(legacy)]); err == nil && !o.IsDir() {
			return o.As(legacy)
		}
	}
	return ""
}

// HashName is dvc's name for a kind of hash.
func HashName(legacy bool) string {
	if legacy {
		return "md5-dos2unix"
	}
	return "md5"
}

// tell writes rows for what was learned, in one transaction.
func (d *DB) tell(root string, all []row) error {
	tx, err := d.db.Begin()
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	insert := func(rows int) (*sql.Stmt, error) {
		return tx.Prepare("INSERT INTO Cache(key, raw, store_time, expire_time, access_time, tag, mode, filename, value) VALUES " +
			strings.Repeat("(?, 1, 0, null, 0, null, 1, null, ?), ", rows-1) + "(?, 1, 0, null, 0, null, 1, null, ?)" +
			" ON CONFLICT(key, raw) DO UPDATE SET value = excluded.value")
	}
	const many = 50
	var full *sql.Stmt // for many rows
	args := make([]any, 0, 2*many)
	flush := func() (err error) {
		s := full
		if rows := len(args) / 2; rows == many && s == nil {
			full, err = insert(many)
			s = full
		} else if rows < many {
			s, err = insert(rows)
		}
		if err == nil {
			_, err = s.Exec(args...)
		}
		args = args[:0]
		return err
	}
	for _, l := range all {
		key := root + "/" + l.rel
		if !utf8.ValidString(key) {
			continue
		}
		args = append(args, key, fmt.Sprintf(`{"version":1,"checksum":"%s","size":%d,"hash_info":{"%s":"%s"}}`, l.checksum(), l.Size, HashName(l.oid.Legacy()), l.oid))
		if len(args) == cap(args) {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if len(args) > 0 {
		if err := flush(); err != nil {
			return err
		}
	}
	return tx.Commit()
}
