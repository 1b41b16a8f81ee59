package dvc

import (
	"slices"
	"strings"
)

// iniLines splits a configuration file into lines that all end in "\n".
func iniLines(data []byte) []string {
	lines := strings.SplitAfter(string(data), "\n")
	if last := lines[len(lines)-1]; last == "" {
		return lines[:len(lines)-1]
	}
	lines[len(lines)-1] += "\n"
	return lines
}

func (s iniSection) has(key string) bool {
	return slices.ContainsFunc(s.keys, func(k iniKey) bool { return strings.EqualFold(k.name, key) })
}

// unsetINI takes a key away. A plain section that holds nothing more goes too,
// as dvc drops it; a remote stays. ok is false when there is no such key.
func unsetINI(data []byte, ini []iniSection, section, key string) (out []byte, ok bool) {
	lines := iniLines(data)
	for _, s := range ini {
		if sectionName(s.name) != section {
			continue
		}
		for _, k := range s.keys {
			if !strings.EqualFold(k.name, key) {
				continue
			}
			lines = slices.Delete(lines, k.first, k.last+1)
			if len(s.keys) == 1 && rank(section) == 0 {
				lines = slices.Delete(lines, s.head, s.head+1)
			}
			return []byte(strings.Join(lines, "")), true
		}
	}
	return data, false
}

// removeSectionINI takes a section away with all its keys.
func removeSectionINI(data []byte, ini []iniSection, section string) (out []byte, ok bool) {
	lines := iniLines(data)
	for _, s := range ini {
		if sectionName(s.name) == section {
			return []byte(strings.Join(slices.Delete(lines, s.head, s.last+1), "")), true
		}
	}
	return data, false
}

// renameSectionINI gives a section another name and puts it behind the others
// of its rank, where dvc's dictionaries leave it.
func renameSectionINI(data []byte, ini []iniSection, from, to string) (out []byte, ok bool) {
	lines := iniLines(data)
	at := slices.IndexFunc(ini, func(s iniSection) bool { return sectionName(s.name) == from })
	if at < 0 {
		return data, false
	}
	moved := slices.Clone(lines[ini[at].head : ini[at].last+1])
	moved[0] = "[" + quoteINI(to, false) + "]\n"
	end := ini[at].head
	for _, s := range ini {
		if rank(s.name) == rank(from) {
			end = s.last + 1
		}
	}
	lines = slices.Insert(lines, end, moved...)
	lines = slices.Delete(lines, ini[at].head, ini[at].last+1)
	return []byte(strings.Join(lines, "")), true
}
