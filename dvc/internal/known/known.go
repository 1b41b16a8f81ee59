// Package known remembers which contents the files of a workspace have: in a file
// of its own, and in the database of dvc.
package known

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash/crc32"
	"io"
	"io/fs"
	"math"
	"os"
	"path"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mlops-integration/mlops/dvc/internal/object"
	"github.com/mlops-integration/mlops/internal/rawfile"
)

// Stamp is the stat metadata of a file; if it is unchanged, so is the content.
type Stamp struct {
	Ino          uint64
	Size         int64
	MTime, CTime int64 // ns
	Mode         fs.FileMode
	Links        uint64
}

func newStamp(st *unix.Stat_t) Stamp {
	s := Stamp{Ino: st.Ino, Size: st.Size, MTime: st.Mtim.Nano(), CTime: st.Ctim.Nano(), Links: uint64(st.Nlink)}
	s.Mode = fs.FileMode(st.Mode & 0o777)
	switch uint32(st.Mode) & unix.S_IFMT {
	case unix.S_IFREG:
	case unix.S_IFDIR:
		s.Mode |= fs.ModeDir
	case unix.S_IFLNK:
		s.Mode |= fs.ModeSymlink
	default:
		s.Mode |= fs.ModeIrregular
	}
	return s
}

// Stat is os.Stat, or os.Lstat without follow, for a stamp.
func Stat(p string, follow bool) (Stamp, error) { return StatAt(unix.AT_FDCWD, p, follow) }

// StatAt is Stat for a name in a directory that is open.
func StatAt(dir int, name string, follow bool) (Stamp, error) {
	flags := unix.AT_SYMLINK_NOFOLLOW
	if follow {
		flags = 0
	}
	var st unix.Stat_t
	for {
		switch err := unix.Fstatat(dir, name, &st, flags); {
		case err == nil:
			return newStamp(&st), nil
		case !errors.Is(err, unix.EINTR):
			return Stamp{}, &fs.PathError{Op: "stat", Path: name, Err: err}
		}
	}
}

// StatFile is Stat for a file that is open.
func StatFile(f *rawfile.File) (Stamp, error) {
	var sys unix.Stat_t
	if err := f.Stat(&sys); err != nil {
		return Stamp{}, err
	}
	return newStamp(&sys), nil
}

// same reports whether a file that had stamp s has its content still. The device
// is not compared: its number changes when a disk is mounted again.
//
// Another link to a hardlinked object changes the object's ctime for all of its
// names; being write-protected, it is then known by its mtime.
func (s Stamp) same(now Stamp) bool {
	return s.Ino == now.Ino && s.Size == now.Size && s.MTime == now.MTime &&
		(s.CTime == now.CTime || now.Links > 1 && now.Mode == 0o444)
}

// Racy is how much older than its reading a file must be: a younger one may be
// written again without a change of its times, on a file system that counts
// them in seconds.
const Racy = 2 * time.Second

// settled reports whether content that was read from since on is what the stamp
// will stand for.
func (s Stamp) settled(since time.Time) bool {
	return max(s.MTime, s.CTime) < since.Add(-Racy).UnixNano()
}

// fine reports whether the file system counts time in small steps.
func (s Stamp) fine() bool { return s.MTime%int64(time.Millisecond) != 0 }

// Found is a file found in the workspace.
type Found struct {
	Path  string // relative to the directory, or "" for a single file
	Link  bool   // a symlink to the file
	Stamp Stamp  // of the file, or of what the link points to
}

// record is the content of a workspace file and the stamp that stands for it.
type record struct {
	Stamp
	oid  object.ID
	used bool // looked up in this call
}

// State remembers the names of workspace files' contents, so that a file is
// hashed once and not again until it changes. A call that holds the
// repository's lock has one, and saves it before it releases the lock.
//
// It lies in .dvc/tmp/mlops/state. What it lacks it takes from dvc's own
// database where that is safe, and what it learns it tells dvc (database.go).
// It never makes a call fail: what cannot be read or written is not known.
//
// A nil state knows nothing and keeps nothing.
type State struct {
	dir  string                 // of the repository
	root *os.Root               // of dir
	temp func() (string, error) // a name in root for what is not complete
	site string                 // core.site_cache_dir

	mu      sync.Mutex
	old     map[string]*record // by slash path from the root, as on disk; nil until needed
	new     map[string]*record // of this call; nil for what is not known any more
	scanned map[string]bool    // directories that were looked up whole
	news    []row              // for dvc's database
	telling bool               // a batch of it is on its way there
	teller  sync.WaitGroup
	dvc     *DB // opened by the first batch; nil if that failed
}

// tellAt is how much is learned before dvc is told, beside the work.
const tellAt = 4000

// row is a hash that dvc may want to know.
type row struct {
	rel string
	record
}

// Open returns what is known of the repository at dir, which root is open
// at. temp names what is not complete yet, relative to root; site is
// core.site_cache_dir, "" where that is not set.
func Open(dir string, root *os.Root, temp func() (string, error), site string) *State {
	return &State{dir: dir, root: root, temp: temp, site: site, new: map[string]*record{}, scanned: map[string]bool{}}
}

const (
	File    = ".dvc/tmp/mlops/state"
	magic   = "mlops state 1\n"
	fixed   = 2 + 1 + 16 + 4*8 // of a record: length of the path, kind, md5, and the stamp's numbers
	maxSize = 1 << 30
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// encode writes records. A checksum at the end tells a torn file, so that
// it needs no fsync.
func encode(all map[string]*record) []byte {
	size := len(magic) + 4
	for rel := range all {
		size += fixed + len(rel)
	}
	b := append(make([]byte, 0, size), magic...)
	for rel, k := range all {
		sum, err := hex.DecodeString(k.oid.MD5())
		if err != nil || len(sum) != 16 || len(rel) > math.MaxUint16 {
			continue
		}
		kind := byte(0)
		if k.oid.Legacy() {
			kind = 1
		}
		b = binary.LittleEndian.AppendUint16(b, uint16(len(rel)))
		b = append(append(b, kind), sum...)
		for _, n := range []uint64{k.Ino, uint64(k.Size), uint64(k.MTime), uint64(k.CTime)} {
			b = binary.LittleEndian.AppendUint64(b, n)
		}
		b = append(b, rel...)
	}
	return seal(b)
}

func seal(b []byte) []byte {
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// decode reads records. A file that is not whole holds none.
func decode(b []byte) map[string]*record {
	n := len(b) - 4
	if n < len(magic) || string(b[:len(magic)]) != magic || crc32.Checksum(b[:n], castagnoli) != binary.LittleEndian.Uint32(b[n:]) {
		return map[string]*record{}
	}
	b = b[len(magic):n]
	all := make(map[string]*record, len(b)/(fixed+32))
	slab := make([]record, 0, len(b)/(fixed+32)+1)
	for len(b) >= fixed {
		end := fixed + int(binary.LittleEndian.Uint16(b))
		if len(b) < end || b[2] > 1 {
			break
		}
		num := func(i int) uint64 { return binary.LittleEndian.Uint64(b[19+8*i:]) }
		if len(slab) == cap(slab) {
			slab = make([]record, 0, 1024)
		}
		slab = append(slab, record{oid: object.ID(hex.EncodeToString(b[3:19])).As(b[2] == 1)})
		k := &slab[len(slab)-1]
		k.Ino, k.Size, k.MTime, k.CTime = num(0), int64(num(1)), int64(num(2)), int64(num(3))
		all[string(b[fixed:end])] = k
		b = b[end:]
	}
	return all
}

// load reads the state. It is not read before it is needed.
func (s *State) load() {
	if s.old != nil {
		return
	}
	s.old = map[string]*record{}
	f, err := s.root.OpenFile(File, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil || !fi.Mode().IsRegular() || fi.Size() > maxSize {
		return
	}
	data := make([]byte, fi.Size())
	if _, err := io.ReadFull(f, data); err == nil {
		s.old = decode(data)
	}
}

// Recall returns the names of the contents of files below dir, or of dir itself,
// by their stamps; "" for what must be read.
func (s *State) Recall(ctx context.Context, dir string, files []Found, legacy bool) []object.ID {
	names := make([]object.ID, len(files))
	if s == nil {
		return names
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.load()
	ask := map[string]Stamp{}
	for i, f := range files {
		rel := path.Join(dir, f.Path)
		k, ok := s.new[rel]
		if !ok {
			k, ok = s.old[rel]
		}
		switch {
		case !ok:
			ask[rel] = f.Stamp
		case k != nil && k.oid.Legacy() == legacy && k.same(f.Stamp):
			k.used = true
			names[i] = k.oid
		}
	}
	if s.scanned[dir] = true; len(ask) == 0 {
		return names
	}
	for rel, o := range s.askDVC(ctx, ask) {
		s.new[rel] = &record{Stamp: ask[rel], oid: o}
	}
	for i, f := range files {
		if k := s.new[path.Join(dir, f.Path)]; k != nil && names[i] == "" && k.oid.Legacy() == legacy && k.same(f.Stamp) {
			names[i] = k.oid
		}
	}
	return names
}

// Keep notes that the content at rel, read from since on, is o. The stamp must
// have been the same before and after the reading. What is too young to be
// known by its stamp is forgotten.
func (s *State) Keep(rel string, o object.ID, now Stamp, since time.Time) {
	s.note(rel, o, now, now.settled(since))
}

// KeepPlaced is Keep for a file that this call itself wrote and moved to rel.
// It cannot have been written again with the same times, except within the same
// step of the clock.
func (s *State) KeepPlaced(rel string, o object.ID, now Stamp) { s.note(rel, o, now, now.fine()) }

func (s *State) note(rel string, o object.ID, now Stamp, safe bool) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	k := record{Stamp: now, oid: o}
	s.news = append(s.news, row{rel, k})
	if len(s.news) >= tellAt && !s.telling {
		s.tell()
	}
	s.new[rel] = nil
	if safe {
		s.new[rel] = &k
	}
}

// tell writes what was learned into dvc's database, in the background. It must
// be called with mu held, while nothing is being told.
func (s *State) tell() {
	batch := s.news
	s.news, s.telling = make([]row, 0, tellAt), true
	s.teller.Go(func() {
		if s.dvc == nil {
			s.dvc, _ = OpenDVC(s.dir, s.site, true)
		}
		if s.dvc != nil {
			_ = s.dvc.tell(s.dir, batch)
		}
		s.mu.Lock()
		s.telling = false
		s.mu.Unlock()
	})
}

// Save writes what this call learned, and tells dvc, one beside the other.
func (s *State) Save() {
	s.teller.Wait()
	s.mu.Lock()
	if len(s.news) > 0 {
		s.tell()
	}
	if len(s.new) > 0 {
		s.load()
		for rel, k := range s.old {
			if !k.used && s.looked(rel) {
				delete(s.old, rel) // not there any more
			}
		}
		for rel, k := range s.new {
			if s.old[rel] = k; k == nil {
				delete(s.old, rel)
			}
		}
		_ = s.write()
	}
	s.mu.Unlock()
	s.teller.Wait()
	if s.dvc != nil {
		_ = s.dvc.Close()
		s.dvc = nil
	}
}

// looked reports whether a directory above rel was looked up whole.
func (s *State) looked(rel string) bool {
	for ; rel != "."; rel = path.Dir(rel) {
		if s.scanned[rel] {
			return true
		}
	}
	return false
}

func (s *State) write() error {
	tmp, err := s.temp()
	if err != nil {
		return err
	}
	if err = s.root.WriteFile(tmp, encode(s.old), 0o666); err == nil {
		err = s.root.Rename(tmp, File)
	}
	if err != nil {
		_ = s.root.Remove(tmp)
	}
	return err
}
