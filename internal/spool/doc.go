// Package spool keeps records on local disk until a server has them.
//
//	j := spool.Create(dir, "run-7f3a", head, spool.Options{})
//	defer j.Close()
//	err := j.Append(record)           // microseconds; survives kill -9
//
//	for {                             // the sender, in the same program
//		e, ok := j.Next()
//		if !ok {
//			<-j.More()
//			continue
//		}
//		send(e.Data)
//		j.Ack(e.Seq)
//	}
//
//	for info, err := range spool.List(dir) { // another program, later
//		if err == nil && !info.Held {
//			j, err := spool.Open(info.Path, spool.Options{})
//			…
//		}
//	}
//
// It knows nothing of any server: records are bytes.
//
// # Promises
//
// A record whose Append returned nil is in the kernel: it survives the death
// of the process at once, and a power cut after [Options].SyncEvery or Sync.
// While the disk refuses, records are held in memory, and beyond
// [Options].MemoryBytes they are dropped and counted; [Journal.Trouble] tells.
// A segment whose fsync went wrong is retired, and what it held since the last
// good one is written again.
//
// Nothing that was not settled is deleted but by [Discard]. A journal in which
// records were lost, dropped or refused stays until then, for people to look at.
//
// # On disk
//
// A journal is a folder <name>-<16 hex digits>, of mode 0700, that must keep
// its name, since all checksums begin with it. All numbers are little endian,
// all checksums CRC32C.
//
//	lock         who holds its flock writes the journal; its time is that of the creation
//	000001.seg   segments: frames, one behind the other
//	ack          what is settled: two copies, at 0 and 64, written in turn
//	form         the form's number, if it is not 1; a program leaves alone what is newer
//	label        a text for people, who name the journal by it
//	archived     empty: all is settled, and it stays for what it tells
//	refused      frames of refused records: time 8, length of the reason 4, reason, record
//	files/1      attached files
//
// A frame is
//
//	magic    4   9e 4a 72 1b
//	length   4   of the payload
//	number   8
//	sum      4   of the payload, seeded with "<folder>/<file>"
//	sum      4   of the 20 bytes before, seeded with the same and the frame's offset in the file
//	payload
//
// Frames of other journals, or copies of this one's, inside a payload therefore
// never pass for frames. A segment begins with two frames of number 0, both the
// head record, so that no single damage loses it; the numbers of the others
// count from 1 through all segments.
//
// A copy in the ack file is: sum 4, generation 8, settled 8, latest number 8,
// dropped 8, lost 8. It is written with each Ack, each fsync, at the end, and
// with each record that is held in memory, so that a later reader knows of
// records that never came to the disk.
//
// # Damage
//
// A frame whose header is unharmed and whose payload is not is passed over by
// its length. Behind a damaged header the next frame that passes is looked for.
// What lies between two good records is counted from their numbers, exactly.
// At the end of a journal there is no next number. What is missing there is
// counted as far as the ack file or an unharmed header tells: exactly after
// Close, up to the last fsync otherwise. Bytes at the end that are no frame are
// a torn tail; [Stats].Torn is the offset where it begins.
package spool
