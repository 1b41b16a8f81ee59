//go:build darwin || (linux && applefake)

package applesilicon

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"unsafe"
)

// The commands of the power controller's key protocol.
const (
	smcRead  = 5
	smcKeyAt = 8
	smcInfo  = 9
)

// maxKeys is more than any Mac has: some have 3000.
const maxKeys = 8192

// smc is a connection to the power controller.
type smc struct {
	port    uintptr // 0: none
	power   bool    // PSTR can be read
	sensors []sensor
	fans    []sensor

	in, up [80]byte
}

type sensor struct {
	key  uint32
	name string
}

func (n *native) openSMC() {
	l := n.l
	n.area("smc", l.need(ioServiceMatching, ioConnectCallStructMethod, machTaskSelf))
	if n.f.Missing["smc"] != "" {
		return
	}
	task := *(*uint32)(pointer(l.at[machTaskSelf]))
	best := false
	count := l.services("AppleSMC", func(entry uintptr, name string) {
		endpoint := name == "AppleSMCKeysEndpoint"
		if n.smc.port != 0 && (best || !endpoint) {
			return
		}
		l.out[0] = 0
		if int32(l.call(ioServiceOpen, entry, uintptr(task), 0, uintptr(unsafe.Pointer(&l.out[0])))) != 0 {
			return
		}
		if n.smc.port != 0 {
			l.call(ioServiceClose, n.smc.port)
		}
		n.smc.port, best = uintptr(uint32(l.out[0])), endpoint
	})
	if n.smc.port == 0 {
		n.area("smc", fmt.Sprintf("none of %d AppleSMC could be opened", count))
		return
	}
	why := n.float("PSTR")
	n.area("smc", why)
	n.smc.power = why == ""
	n.findSensors()
	n.findFans()
}

func fourCC(s string) uint32 { return binary.BigEndian.Uint32([]byte(s)) }

// float is why a key does not hold a float of 4 bytes.
func (n *native) float(key string) string {
	info, why := n.ask(smcInfo, fourCC(key), 0, 0)
	if why == "" && (binary.LittleEndian.Uint32(info[28:]) != 4 || binary.LittleEndian.Uint32(info[32:]) != fourCC("flt ")) {
		why = key + " is of a type we do not know"
	}
	return why
}

// findSensors goes through all keys once: the names of sensors differ by chip.
func (n *native) findSensors() {
	answer, why := n.ask(smcRead, fourCC("#KEY"), 4, 0)
	if why != "" {
		n.area("celsius", why)
		return
	}
	count := min(binary.BigEndian.Uint32(answer[48:]), maxKeys)
	for i := range count {
		answer, why := n.ask(smcKeyAt, 0, 0, i)
		if why != "" {
			continue
		}
		key := binary.LittleEndian.Uint32(answer[0:])
		name := string(binary.BigEndian.AppendUint32(nil, key))
		switch name[:2] {
		case "Tp", "Te", "Ts", "Tg":
			if n.float(name) == "" {
				n.smc.sensors = append(n.smc.sensors, sensor{key, name})
				n.f.Sensors = append(n.f.Sensors, name)
			}
		}
	}
	if len(n.smc.sensors) == 0 {
		n.area("celsius", fmt.Sprintf("SMC has no sensor among %d keys", count))
	}
}

func (n *native) findFans() {
	answer, why := n.ask(smcRead, fourCC("FNum"), 1, 0)
	switch {
	case strings.HasPrefix(why, smcNoKey), why == "" && answer[48] == 0:
		n.area("fans", noFans)
		return
	case why != "":
		n.area("fans", why)
		return
	}
	for i := range min(answer[48], 10) {
		name := fmt.Sprintf("F%dAc", i)
		if why := n.float(name); why != "" {
			n.area("fans", why)
			n.smc.fans = nil
			return
		}
		n.smc.fans = append(n.smc.fans, sensor{fourCC(name), name})
	}
}

const smcNoKey = "SMC has no key "

// ask sends one command about a key and gives the answer's structure.
func (n *native) ask(command byte, key, size, index uint32) (*[80]byte, string) {
	in, up := &n.smc.in, &n.smc.up
	clear(in[:])
	clear(up[:])
	binary.LittleEndian.PutUint32(in[0:], key)
	binary.LittleEndian.PutUint32(in[28:], size)
	in[42] = command
	binary.LittleEndian.PutUint32(in[44:], index)
	n.l.out[0] = uint64(len(up))
	r := int32(n.l.call(ioConnectCallStructMethod, n.smc.port, 2, uintptr(unsafe.Pointer(&in[0])), uintptr(len(in)),
		uintptr(unsafe.Pointer(&up[0])), uintptr(unsafe.Pointer(&n.l.out[0]))))
	switch {
	case r != 0:
		return nil, fmt.Sprintf("SMC: error %#x", uint32(r))
	case up[40] == 132:
		return nil, smcNoKey + string(binary.BigEndian.AppendUint32(nil, key))
	case up[40] != 0:
		return nil, fmt.Sprintf("SMC: result %d", up[40])
	}
	return up, ""
}

// value is a float of 4 bytes, little endian.
func (n *native) value(s sensor) (float64, string) {
	answer, why := n.ask(smcRead, s.key, 4, 0)
	if why != "" {
		return 0, why
	}
	v := float64(math.Float32frombits(binary.LittleEndian.Uint32(answer[48:])))
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return 0, s.name + " is no number"
	}
	return v, ""
}

var systemPowerKey = sensor{fourCC("PSTR"), "PSTR"}

// sensors reads the power of the whole computer, temperatures and fans.
func (n *native) sensors(now *frame) {
	system := now.System
	now.System, now.Fans, now.Celsius = nil, now.Fans[:0], now.Celsius[:0]
	if n.smc.power {
		if v, why := n.value(systemPowerKey); why != "" {
			now.fail("smc", "%s", why)
		} else {
			if system == nil {
				system = new(float64)
			}
			*system, now.System = v, system
		}
	}
	for _, s := range n.smc.sensors {
		v, why := n.value(s)
		if why != "" {
			now.fail("celsius", "%s", why)
		}
		now.Celsius = append(now.Celsius, v)
	}
	for _, s := range n.smc.fans {
		v, why := n.value(s)
		if why != "" {
			now.fail("fans", "%s", why)
			now.Fans = now.Fans[:0]
			return
		}
		now.Fans = append(now.Fans, v)
	}
}
