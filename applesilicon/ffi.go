//go:build darwin || (linux && applefake)

package applesilicon

import (
	"unsafe"

	"github.com/ebitengine/purego"
)

// symbol is one name that a system library exports, or should.
type symbol int

const (
	cfRelease symbol = iota
	cfGetTypeID
	cfStringGetTypeID
	cfDictionaryGetTypeID
	cfArrayGetTypeID
	cfDataGetTypeID
	cfNumberGetTypeID
	cfBooleanGetTypeID
	cfBooleanGetValue
	cfStringCreateWithCString
	cfStringGetCString
	cfDictionaryGetValue
	cfDictionaryCreateMutableCopy
	cfDictionarySetValue
	cfArrayGetCount
	cfArrayGetValueAtIndex
	cfArrayCreateMutable
	cfArrayAppendValue
	cfNumberGetValue
	cfDataGetLength
	cfDataGetBytePtr
	cfTypeArrayCallBacks // data, not a function

	ioReportCopyChannelsInGroup
	ioReportCreateSubscription
	ioReportCreateSamples
	ioReportChannelGetGroup
	ioReportChannelGetSubGroup
	ioReportChannelGetChannelName
	ioReportChannelGetUnitLabel
	ioReportChannelGetFormat
	ioReportSimpleGetIntegerValue
	ioReportStateGetCount
	ioReportStateGetNameForIndex
	ioReportStateGetResidency

	ioServiceMatching
	ioServiceGetMatchingServices
	ioIteratorNext
	ioObjectRelease
	ioRegistryEntryGetName
	ioRegistryEntryCreateCFProperty
	ioRegistryEntryGetChildIterator
	ioServiceOpen
	ioServiceClose
	ioConnectCallStructMethod
	ioPMCopyActivePMPreferences
	ioPSCopyPowerSourcesInfo
	ioPSCopyPowerSourcesList
	ioPSGetPowerSourceDescription
	ioPSGetProvidingPowerSourceType

	sysctlByName
	machAbsoluteTime
	machTimebaseInfo
	machHostSelf
	machTaskSelf // data, not a function
	hostStatistics64
	hostPageSize
	procPIDRusage
	notifyRegisterCheck
	notifyGetState
	notifyCancel
	symbols
)

// The libraries are in no file on a Mac, but in the cache of its loader. Each
// symbol is looked for in one of them.
const (
	coreFoundation = "/System/Library/Frameworks/CoreFoundation.framework/CoreFoundation"
	ioKit          = "/System/Library/Frameworks/IOKit.framework/IOKit"
	ioReport       = "/usr/lib/libIOReport.dylib"
	libSystem      = "/usr/lib/libSystem.B.dylib"
)

var symbolNames = [symbols]string{
	"CFRelease", "CFGetTypeID", "CFStringGetTypeID", "CFDictionaryGetTypeID", "CFArrayGetTypeID", "CFDataGetTypeID",
	"CFNumberGetTypeID", "CFBooleanGetTypeID", "CFBooleanGetValue", "CFStringCreateWithCString", "CFStringGetCString",
	"CFDictionaryGetValue", "CFDictionaryCreateMutableCopy", "CFDictionarySetValue", "CFArrayGetCount", "CFArrayGetValueAtIndex",
	"CFArrayCreateMutable", "CFArrayAppendValue", "CFNumberGetValue", "CFDataGetLength", "CFDataGetBytePtr", "kCFTypeArrayCallBacks",

	"IOReportCopyChannelsInGroup", "IOReportCreateSubscription", "IOReportCreateSamples", "IOReportChannelGetGroup",
	"IOReportChannelGetSubGroup", "IOReportChannelGetChannelName", "IOReportChannelGetUnitLabel", "IOReportChannelGetFormat",
	"IOReportSimpleGetIntegerValue", "IOReportStateGetCount", "IOReportStateGetNameForIndex", "IOReportStateGetResidency",

	"IOServiceMatching", "IOServiceGetMatchingServices", "IOIteratorNext", "IOObjectRelease", "IORegistryEntryGetName",
	"IORegistryEntryCreateCFProperty", "IORegistryEntryGetChildIterator", "IOServiceOpen", "IOServiceClose", "IOConnectCallStructMethod", "IOPMCopyActivePMPreferences",
	"IOPSCopyPowerSourcesInfo", "IOPSCopyPowerSourcesList", "IOPSGetPowerSourceDescription", "IOPSGetProvidingPowerSourceType",

	"sysctlbyname", "mach_absolute_time", "mach_timebase_info", "mach_host_self", "mach_task_self_", "host_statistics64", "host_page_size", "proc_pid_rusage",
	"notify_register_check", "notify_get_state", "notify_cancel",
}

func (s symbol) library() string {
	switch {
	case s < ioReportCopyChannelsInGroup:
		return coreFoundation
	case s < ioServiceMatching:
		return ioReport
	case s < sysctlByName:
		return ioKit
	}
	return libSystem
}

// ref is an object of a system library. It is a number to Go, so that the
// collector never looks at it; who owns it says the name of the function it
// came from: what is called Create or Copy is ours to release.
type ref = uintptr

// ffi calls the system libraries. It is used by one goroutine at a time.
// Libraries are never closed: some cannot be.
type ffi struct {
	at  [symbols]uintptr
	why [symbols]string

	args [10]uintptr // of the call; kept so that a call allocates nothing
	out  [2]uint64   // what a call writes
	text [256]byte
	name [128]byte // a text that goes in; on the heap, so that it stays where it is

	types   map[string]uintptr
	strings map[string]ref
}

// open looks up all symbols. One that is missing is missed when an area needs
// it: see need.
func openFFI(path func(library string) string) *ffi {
	l := &ffi{types: map[string]uintptr{}, strings: map[string]ref{}}
	opened, failed := map[string]uintptr{}, map[string]string{}
	for s := range symbols {
		p := path(s.library())
		if _, tried := opened[p]; !tried {
			h, err := purego.Dlopen(p, purego.RTLD_NOW|purego.RTLD_LOCAL)
			opened[p] = h
			if err != nil {
				failed[p] = "library " + p[lastSlash(p)+1:] + " is not in this system"
			}
		}
		if failed[p] != "" {
			l.why[s] = failed[p]
			continue
		}
		at, err := purego.Dlsym(opened[p], symbolNames[s])
		if err != nil || at == 0 {
			l.why[s] = symbolNames[s] + " is not in this system"
			continue
		}
		l.at[s] = at
	}
	return l
}

func lastSlash(s string) int {
	for i := len(s) - 1; i >= 0; i-- {
		if s[i] == '/' {
			return i
		}
	}
	return -1
}

// need is why these symbols cannot be used, or empty.
func (l *ffi) need(from, to symbol, more ...symbol) string {
	for s := from; s <= to; s++ {
		if l.at[s] == 0 {
			return l.why[s]
		}
	}
	for _, s := range more {
		if l.at[s] == 0 {
			return l.why[s]
		}
	}
	return ""
}

func (l *ffi) call(s symbol, args ...uintptr) uintptr {
	if l.at[s] == 0 {
		return 0 // callers ask need first
	}
	n := copy(l.args[:], args)
	r, _, _ := purego.SyscallN(l.at[s], l.args[:n]...)
	return r
}

// cstring calls with a text as argument i.
func (l *ffi) cstring(s symbol, i int, text string, args ...uintptr) uintptr {
	l.name[copy(l.name[:len(l.name)-1], text)] = 0
	args[i] = uintptr(unsafe.Pointer(&l.name[0]))
	return l.call(s, args...)
}

// pointer is where p points to. p belongs to a library: the collector does not
// know it, and it must not be kept.
func pointer(p uintptr) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&p)) }

func (l *ffi) release(r ref) {
	if r != 0 {
		l.call(cfRelease, r)
	}
}

const utf8Encoding = 0x08000100

// str is a string object, made once and released by close.
func (l *ffi) str(s string) ref {
	r, ok := l.strings[s]
	if !ok {
		r = l.cstring(cfStringCreateWithCString, 1, s, 0, 0, utf8Encoding)
		l.strings[s] = r
	}
	return r
}

func (l *ffi) close() {
	for _, r := range l.strings {
		l.release(r)
	}
	clear(l.strings)
}

// is reports whether r is of the type that id tells the number of. To read an
// object as what it is not ends the program.
func (l *ffi) is(r ref, id symbol) bool {
	if r == 0 {
		return false
	}
	name := symbolNames[id]
	t, ok := l.types[name]
	if !ok {
		t = l.call(id)
		l.types[name] = t
	}
	return l.call(cfGetTypeID, r) == t
}

// goString is the text of a string object.
func (l *ffi) goString(r ref) string {
	if !l.is(r, cfStringGetTypeID) {
		return ""
	}
	if uint8(l.call(cfStringGetCString, r, uintptr(unsafe.Pointer(&l.text[0])), uintptr(len(l.text)), utf8Encoding)) == 0 {
		return ""
	}
	for i, c := range l.text {
		if c == 0 {
			return string(l.text[:i])
		}
	}
	return ""
}

// startsWith reports whether a string object begins with a text.
func (l *ffi) startsWith(r ref, text string) bool {
	return l.is(r, cfStringGetTypeID) && uint8(l.call(cfStringGetCString, r, uintptr(unsafe.Pointer(&l.text[0])), uintptr(len(l.text)), utf8Encoding)) != 0 &&
		len(text) <= len(l.text) && string(l.text[:len(text)]) == text
}

// get is what a dictionary holds under key, which stays the dictionary's.
func (l *ffi) get(dict ref, key string) ref {
	if !l.is(dict, cfDictionaryGetTypeID) {
		return 0
	}
	return l.call(cfDictionaryGetValue, dict, l.str(key))
}

const sint64Type = 4

// number reads a number or a truth value.
func (l *ffi) number(r ref) (int64, bool) {
	switch {
	case l.is(r, cfNumberGetTypeID):
		if uint8(l.call(cfNumberGetValue, r, sint64Type, uintptr(unsafe.Pointer(&l.out[0])))) == 0 {
			return 0, false
		}
		return int64(l.out[0]), true
	case l.is(r, cfBooleanGetTypeID):
		return int64(uint8(l.call(cfBooleanGetValue, r))), true
	}
	return 0, false
}

// data is the bytes of a data object, which are valid as long as it is.
func (l *ffi) data(r ref) []byte {
	if !l.is(r, cfDataGetTypeID) {
		return nil
	}
	return l.bytes(r)
}

func (l *ffi) bytes(r ref) []byte {
	n, p := int(l.call(cfDataGetLength, r)), l.call(cfDataGetBytePtr, r)
	if n <= 0 || p == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(pointer(p)), n)
}

// array calls do for each element.
func (l *ffi) array(r ref, do func(ref)) {
	if !l.is(r, cfArrayGetTypeID) {
		return
	}
	for i := range l.call(cfArrayGetCount, r) {
		do(l.call(cfArrayGetValueAtIndex, r, i))
	}
}

// services calls do for each entry of a class, with its name, and returns how
// many there are.
func (l *ffi) services(class string, do func(entry uintptr, name string)) int {
	match := l.cstring(ioServiceMatching, 0, class, 0)
	if match == 0 {
		return 0
	}
	l.out[0] = 0
	if int32(l.call(ioServiceGetMatchingServices, 0, match, uintptr(unsafe.Pointer(&l.out[0])))) != 0 { // takes match over
		return 0
	}
	return l.each(uintptr(uint32(l.out[0])), func(entry uintptr) {
		name := ""
		if int32(l.call(ioRegistryEntryGetName, entry, uintptr(unsafe.Pointer(&l.text[0])))) == 0 {
			for i, c := range l.text[:128] {
				if c == 0 {
					name = string(l.text[:i])
					break
				}
			}
		}
		do(entry, name)
	})
}

// children calls do for each entry right below another one.
func (l *ffi) children(entry uintptr, do func(child uintptr)) {
	l.out[0] = 0
	if int32(l.cstring(ioRegistryEntryGetChildIterator, 1, "IOService", entry, 0, uintptr(unsafe.Pointer(&l.out[0])))) == 0 {
		l.each(uintptr(uint32(l.out[0])), do)
	}
}

// each calls do for each entry of an iterator, which it releases, and returns
// how many there are.
func (l *ffi) each(it uintptr, do func(entry uintptr)) int {
	if it == 0 {
		return 0
	}
	n := 0
	for {
		entry := uintptr(uint32(l.call(ioIteratorNext, it)))
		if entry == 0 {
			break
		}
		n++
		do(entry)
		l.call(ioObjectRelease, entry)
	}
	l.call(ioObjectRelease, it)
	return n
}

// property gives what an entry holds under key to do, if it holds any.
func (l *ffi) property(entry uintptr, key string, do func(ref)) {
	if r := l.call(ioRegistryEntryCreateCFProperty, entry, l.str(key), 0, 0); r != 0 {
		do(r)
		l.release(r)
	}
}
