package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"iter"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"time"

	"github.com/mlops-integration/mlops"
)

// Refusal is a record that the server refused.
type Refusal struct {
	Seq  uint64
	Data []byte
	Why  string
	Time time.Time
}

// refusedKey tells refused records apart: one Entry may hold several.
type refusedKey struct {
	seq uint64
	sum uint32
}

// Refuse keeps a record that the server refused, with the reason, so that it
// can be settled and yet be seen. Data may be a part of the record's. It is on the medium when Refuse returns. The
// error matches [mlops.ErrUnavailable] if it could not be kept; it is counted
// all the same.
func (j *Journal) Refuse(e Entry, why string) error {
	j.syncMu.Lock()
	defer j.syncMu.Unlock()
	j.mu.Lock()
	key := refusedKey{e.Seq, crc32.Checksum(e.Data, castagnoli)}
	_, again := j.refused[key]
	j.refused[key] = struct{}{}
	path, closed := j.path, j.closed
	j.mu.Unlock()
	if again { // refused before a crash, and once more
		return nil
	}
	if path == "" || closed {
		return unavailable("Refuse", fmt.Sprintf("record %d is not kept: there is no journal on disk", e.Seq), nil)
	}
	if err := j.writeRefused(e, why); err != nil {
		return unavailable("Refuse", err.Error(), err)
	}
	return nil
}

func (j *Journal) writeRefused(e Entry, why string) error {
	if j.refusedFile == nil {
		f, err := j.o.fs.OpenFile(filepath.Join(j.path, refusedName), os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return err
		}
		j.refusedFile = f
		if err := j.o.fs.SyncDir(j.path); err != nil {
			return err
		}
	}
	b := binary.LittleEndian.AppendUint64(nil, uint64(time.Now().UnixNano()))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(why)))
	b = append(append(b, why...), e.Data...)
	b = appendFrame(nil, seedOf(filepath.Base(j.path), refusedName), j.refusedSize, e.Seq, b)
	if _, err := j.refusedFile.WriteAt(b, j.refusedSize); err != nil {
		return errors.Join(err, j.refusedFile.Truncate(j.refusedSize))
	}
	j.mu.Lock()
	j.refusedSize += int64(len(b))
	j.bytes += int64(len(b))
	j.mu.Unlock()
	return j.refusedFile.Sync()
}

// Refusals returns the refused records of the journal at path, in the order in
// which they were refused. It needs no lock.
func Refusals(path string) iter.Seq2[Refusal, error] {
	return func(yield func(Refusal, error) bool) {
		f, err := os.Open(filepath.Join(path, refusedName))
		if errors.Is(err, fs.ErrNotExist) {
			return
		}
		if err != nil {
			yield(Refusal{}, fmt.Errorf("spool: Refusals: %w", err))
			return
		}
		defer f.Close()
		end, err := f.Seek(0, io.SeekEnd)
		if err != nil {
			yield(Refusal{}, fmt.Errorf("spool: Refusals: %w", err))
			return
		}
		scan := newScanner(f, seedOf(filepath.Base(path), refusedName), end)
		for fr, ok := scan.next(); ok; fr, ok = scan.next() {
			r, ok := decodeRefusal(fr)
			if ok && !yield(r, nil) {
				return
			}
		}
	}
}

func decodeRefusal(f frame) (Refusal, bool) {
	if !f.whole || len(f.data) < 12 {
		return Refusal{}, false
	}
	n := binary.LittleEndian.Uint32(f.data[8:])
	rest := f.data[12:]
	if uint64(n) > uint64(len(rest)) {
		return Refusal{}, false
	}
	return Refusal{
		Seq: f.seq, Why: string(rest[:n]), Data: append([]byte{}, rest[n:]...),
		Time: time.Unix(0, int64(binary.LittleEndian.Uint64(f.data))),
	}, true
}

// AttachFile keeps a blob beside the records, durable with the next Sync at
// the latest, and returns its name for OpenFile. It may fill three quarters of
// MaxBytes; the rest is for records. The error matches [mlops.ErrUnavailable]
// if the disk takes no more, or the journal is in memory.
func (j *Journal) AttachFile(r io.Reader) (name string, err error) {
	j.mu.Lock()
	if j.path == "" || j.closed {
		j.mu.Unlock()
		return "", unavailable("AttachFile", "there is no journal on disk", j.down)
	}
	j.lastFile++
	name = path.Join(filesName, strconv.Itoa(j.lastFile))
	room := j.o.MaxBytes/4*3 - j.bytes
	j.mu.Unlock()

	size, err := j.copyFile(name, r, room)
	if err != nil {
		return "", err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.bytes += size
	j.fileBytes += size
	j.newFiles = append(j.newFiles, name)
	j.newNames = true
	j.arm(j.syncDelay())
	return name, nil
}

func (j *Journal) copyFile(name string, r io.Reader, room int64) (int64, error) {
	if err := j.root.Mkdir(filesName, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return 0, unavailable("AttachFile", err.Error(), err)
	}
	f, err := j.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return 0, unavailable("AttachFile", err.Error(), err)
	}
	in := &source{r: io.LimitReader(r, max(room, 0)+1)}
	n, err := io.Copy(f, in)
	err = errors.Join(err, f.Close())
	switch {
	case in.err != nil: // not the disk's fault
		err = fmt.Errorf("spool: AttachFile: %w", in.err)
	case err != nil:
		err = unavailable("AttachFile", err.Error(), err)
	case n > room:
		err = unavailable("AttachFile", errFull.Error(), errFull)
	}
	if err != nil {
		_ = j.root.Remove(name)
	}
	return n, err
}

// source tells an error of the reader from one of the disk.
type source struct {
	r   io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// OpenFile opens an attached file for reading. The error matches
// [mlops.ErrNotFound] if there is none of that name.
func (j *Journal) OpenFile(name string) (*os.File, error) {
	if err := j.checkFile("OpenFile", name); err != nil {
		return nil, err
	}
	f, err := j.root.Open(name)
	if err != nil {
		return nil, noFile("OpenFile", err)
	}
	return f, nil
}

// RemoveFile deletes an attached file. The error matches [mlops.ErrNotFound]
// if there is none of that name.
func (j *Journal) RemoveFile(name string) error {
	if err := j.checkFile("RemoveFile", name); err != nil {
		return err
	}
	info, err := j.root.Stat(name)
	if err == nil {
		err = j.root.Remove(name)
	}
	if err != nil {
		return noFile("RemoveFile", err)
	}
	j.mu.Lock()
	j.bytes -= info.Size()
	j.fileBytes -= info.Size()
	j.mu.Unlock()
	return nil
}

func (j *Journal) checkFile(op, name string) error {
	if dir, n := path.Split(name); dir != filesName+"/" || strconv.Itoa(atoi(n)) != n {
		return &mlops.Error{Kind: mlops.ErrInvalid, Service: "spool", Op: op, Message: fmt.Sprintf("%q is no name of an attached file", name)}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.path == "" || j.closed {
		return unavailable(op, "there is no journal on disk", j.down)
	}
	return nil
}

func atoi(s string) int {
	n, _ := strconv.Atoi(s)
	return n
}

func noFile(op string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return &mlops.Error{Kind: mlops.ErrNotFound, Service: "spool", Op: op, Message: err.Error(), Cause: err}
	}
	return unavailable(op, err.Error(), err)
}
