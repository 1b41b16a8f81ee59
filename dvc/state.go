package dvc

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

// stamp is what stat tells of a file: if it is as it was, so is the content.
type stamp struct {
	ino          uint64
	size         int64
	mtime, ctime int64 // ns
	mode         fs.FileMode
	links        uint64
}

func newStamp(st *unix.Stat_t) stamp {
	s := stamp{ino: st.Ino, size: st.Size, mtime: st.Mtim.Nano(), ctime: st.Ctim.Nano(), links: uint64(st.Nlink)}
	s.mode = fs.FileMode(st.Mode & 0o777)
	switch uint32(st.Mode) & unix.S_IFMT {
	case unix.S_IFREG:
	case unix.S_IFDIR:
		s.mode |= fs.ModeDir
	case unix.S_IFLNK:
		s.mode |= fs.ModeSymlink
	default:
		s.mode |= fs.ModeIrregular
	}
	return s
}

// statPath is os.Stat, or os.Lstat without follow, for a stamp.
func statPath(p string, follow bool) (stamp, error) { return statAt(unix.AT_FDCWD, p, follow) }

func statAt(dir int, name string, follow bool) (stamp, error) {
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
			return stamp{}, &fs.PathError{Op: "stat", Path: name, Err: err}
		}
	}
}

func statFile(f *rawfile.File) (stamp, error) {
	var sys unix.Stat_t
	if err := f.Stat(&sys); err != nil {
		return stamp{}, err
	}
	return newStamp(&sys), nil
}

// same tells whether a file that had stamp s has its content still. The device
// is not compared: its number changes when a disk is mounted again.
//
// Another link to a hardlinked object changes the object's ctime for all of its
// names; being write-protected, it is then known by its mtime.
func (s stamp) same(now stamp) bool {
	return s.ino == now.ino && s.size == now.size && s.mtime == now.mtime &&
		(s.ctime == now.ctime || now.links > 1 && now.mode == 0o444)
}

// racy is how much older than its reading a file must be: a younger one may be
// written again without a change of its times, on a file system that counts
// them in seconds.
const racy = 2 * time.Second

// settled tells whether content that was read from since on is what the stamp
// will stand for.
func (s stamp) settled(since time.Time) bool {
	return max(s.mtime, s.ctime) < since.Add(-racy).UnixNano()
}

// fine tells whether the file system counts time in small steps.
func (s stamp) fine() bool { return s.mtime%int64(time.Millisecond) != 0 }

// known is the content of a workspace file and the stamp that stands for it.
type known struct {
	stamp
	oid  object.ID
	used bool // looked up in this call
}

// state remembers the names of workspace files' contents, so that a file is
// hashed once and not again until it changes. A call that holds the
// repository's lock has one, [Repo.state]; letting go of the lock writes it.
// [Repo.scan], [Repo.hashFiles] and [Repo.hashFile] use it for their callers:
// whoever calls them under the lock does not hash twice.
//
// It lies in .dvc/tmp/mlops/state. What it lacks it takes from dvc's own
// database where that is safe, and what it learns it tells dvc (state_dvc.go).
// It never makes a call fail: what cannot be read or written is not known.
//
// A nil state knows nothing and keeps nothing.
type state struct {
	dir  string                 // of the repository
	root *os.Root               // of dir
	temp func() (string, error) // a name in root for what is not complete
	site string                 // core.site_cache_dir

	mu      sync.Mutex
	old     map[string]*known // by slash path from the root, as on disk; nil until needed
	new     map[string]*known // of this call; nil for what is not known any more
	scanned map[string]bool   // directories that were looked up whole
	learned []learned         // for dvc's database
	telling bool              // a batch of it is on its way there
	teller  sync.WaitGroup
	dvc     *dvcState // opened by the first batch; nil if that failed
}

// tellAt is how much is learned before dvc is told, beside the work.
const tellAt = 4000

// learned is a hash that dvc may want to know.
type learned struct {
	rel string
	known
}

func newState(c *call) *state {
	site, _ := c.cfg.get("core", "site_cache_dir")
	s := &state{dir: c.dir, root: c.root, temp: c.tempRel, new: map[string]*known{}, scanned: map[string]bool{}}
	if len(site.items) > 0 {
		s.site = site.resolve()
	}
	return s
}

const (
	stateFile  = ".dvc/tmp/mlops/state"
	stateMagic = "mlops state 1\n"
	stateFixed = 2 + 1 + 16 + 4*8 // of a record: length of the path, kind, md5, and the stamp's numbers
	maxState   = 1 << 30
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// encodeState writes records. A checksum at the end tells a torn file, so that
// it needs no fsync.
func encodeState(all map[string]*known) []byte {
	size := len(stateMagic) + 4
	for rel := range all {
		size += stateFixed + len(rel)
	}
	b := append(make([]byte, 0, size), stateMagic...)
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
		for _, n := range []uint64{k.ino, uint64(k.size), uint64(k.mtime), uint64(k.ctime)} {
			b = binary.LittleEndian.AppendUint64(b, n)
		}
		b = append(b, rel...)
	}
	return sealState(b)
}

func sealState(b []byte) []byte {
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// decodeState reads records. A file that is not whole holds none.
func decodeState(b []byte) map[string]*known {
	n := len(b) - 4
	if n < len(stateMagic) || string(b[:len(stateMagic)]) != stateMagic || crc32.Checksum(b[:n], castagnoli) != binary.LittleEndian.Uint32(b[n:]) {
		return map[string]*known{}
	}
	b = b[len(stateMagic):n]
	all := make(map[string]*known, len(b)/(stateFixed+32))
	slab := make([]known, 0, len(b)/(stateFixed+32)+1)
	for len(b) >= stateFixed {
		end := stateFixed + int(binary.LittleEndian.Uint16(b))
		if len(b) < end || b[2] > 1 {
			break
		}
		num := func(i int) uint64 { return binary.LittleEndian.Uint64(b[19+8*i:]) }
		if len(slab) == cap(slab) {
			slab = make([]known, 0, 1024)
		}
		slab = append(slab, known{oid: object.ID(hex.EncodeToString(b[3:19])).As(b[2] == 1)})
		k := &slab[len(slab)-1]
		k.ino, k.size, k.mtime, k.ctime = num(0), int64(num(1)), int64(num(2)), int64(num(3))
		all[string(b[stateFixed:end])] = k
		b = b[end:]
	}
	return all
}

// load reads the state. It is not read before it is needed.
func (s *state) load() {
	if s.old != nil {
		return
	}
	s.old = map[string]*known{}
	f, err := s.root.OpenFile(stateFile, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil || !fi.Mode().IsRegular() || fi.Size() > maxState {
		return
	}
	data := make([]byte, fi.Size())
	if _, err := io.ReadFull(f, data); err == nil {
		s.old = decodeState(data)
	}
}

// recall returns the names of the contents of files below dir, or of dir itself,
// by their stamps; "" for what must be read.
func (s *state) recall(ctx context.Context, dir string, files []dataFile, legacy bool) []object.ID {
	names := make([]object.ID, len(files))
	if s == nil {
		return names
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.load()
	ask := map[string]stamp{}
	for i, f := range files {
		rel := path.Join(dir, f.path)
		k, ok := s.new[rel]
		if !ok {
			k, ok = s.old[rel]
		}
		switch {
		case !ok:
			ask[rel] = f.stamp
		case k != nil && k.oid.Legacy() == legacy && k.same(f.stamp):
			k.used = true
			names[i] = k.oid
		}
	}
	if s.scanned[dir] = true; len(ask) == 0 {
		return names
	}
	for rel, o := range s.askDVC(ctx, ask) {
		s.new[rel] = &known{stamp: ask[rel], oid: o}
	}
	for i, f := range files {
		if k := s.new[path.Join(dir, f.path)]; k != nil && names[i] == "" && k.oid.Legacy() == legacy && k.same(f.stamp) {
			names[i] = k.oid
		}
	}
	return names
}

// keep notes that the content at rel, read from since on, is o. The stamp must
// have been the same before and after the reading. What is too young to be
// known by its stamp is forgotten.
func (s *state) keep(rel string, o object.ID, now stamp, since time.Time) {
	s.note(rel, o, now, now.settled(since))
}

// keepPlaced is keep for a file that this call itself wrote and moved to rel.
// Nobody can have written it again with the same times, except within the same
// step of the clock.
func (s *state) keepPlaced(rel string, o object.ID, now stamp) { s.note(rel, o, now, now.fine()) }

func (s *state) note(rel string, o object.ID, now stamp, safe bool) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	k := known{stamp: now, oid: o}
	s.learned = append(s.learned, learned{rel, k})
	if len(s.learned) >= tellAt && !s.telling {
		s.tell()
	}
	s.new[rel] = nil
	if safe {
		s.new[rel] = &k
	}
}

// tell writes what was learned into dvc's database, in the background. The
// caller holds mu, and nothing is being told.
func (s *state) tell() {
	batch := s.learned
	s.learned, s.telling = make([]learned, 0, tellAt), true
	s.teller.Go(func() {
		if s.dvc == nil {
			s.dvc, _ = openDVCState(s.dir, s.site, true)
		}
		if s.dvc != nil {
			_ = s.dvc.tell(s.dir, batch)
		}
		s.mu.Lock()
		s.telling = false
		s.mu.Unlock()
	})
}

// save writes what this call learned, and tells dvc, one beside the other.
func (s *state) save() {
	s.teller.Wait()
	s.mu.Lock()
	if len(s.learned) > 0 {
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
		_ = s.dvc.close()
		s.dvc = nil
	}
}

// looked tells whether a directory above rel was looked up whole.
func (s *state) looked(rel string) bool {
	for ; rel != "."; rel = path.Dir(rel) {
		if s.scanned[rel] {
			return true
		}
	}
	return false
}

func (s *state) write() error {
	tmp, err := s.temp()
	if err != nil {
		return err
	}
	if err = s.root.WriteFile(tmp, encodeState(s.old), 0o666); err == nil {
		err = s.root.Rename(tmp, stateFile)
	}
	if err != nil {
		_ = s.root.Remove(tmp)
	}
	return err
}
