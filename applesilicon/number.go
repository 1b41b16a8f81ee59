package applesilicon

import (
	"encoding/binary"
	"fmt"
)

// decodeNumber reads what a sysctl of integer type returns: 4 or 8 bytes,
// little endian on every Mac.
func decodeNumber(name string, b []byte) (uint64, error) {
	switch len(b) {
	case 4:
		return uint64(binary.LittleEndian.Uint32(b)), nil
	case 8:
		return binary.LittleEndian.Uint64(b), nil
	}
	return 0, fmt.Errorf("sysctl %s has %d bytes, not the 4 or 8 of a number", name, len(b))
}
