package ini

import (
	"slices"
	"strings"
)

// split splits a configuration file into lines that all end in "\n".
func split(data []byte) []string {
	lines := strings.SplitAfter(string(data), "\n")
	if last := lines[len(lines)-1]; last == "" {
		return lines[:len(lines)-1]
	}
	lines[len(lines)-1] += "\n"
	return lines
}

// Has reports whether the section has a key.
func (s Section) Has(key string) bool {
	return slices.ContainsFunc(s.Keys, func(k Key) bool { return strings.EqualFold(k.Name, key) })
}

// Unset takes a key away. A plain section that holds nothing more goes too,
// as dvc drops it; a remote stays. ok is false when there is no such key.
func Unset(data []byte, ini []Section, section, key string) (out []byte, ok bool) {
	lines := split(data)
	for _, s := range ini {
		if SectionName(s.Name) != section {
			continue
		}
		for _, k := range s.Keys {
			if !strings.EqualFold(k.Name, key) {
				continue
			}
			lines = slices.Delete(lines, k.first, k.last+1)
			if len(s.Keys) == 1 && rank(section) == 0 {
				lines = slices.Delete(lines, s.head, s.head+1)
			}
			return []byte(strings.Join(lines, "")), true
		}
	}
	return data, false
}

// RemoveSection takes a section away with all its keys.
func RemoveSection(data []byte, ini []Section, section string) (out []byte, ok bool) {
	lines := split(data)
	for _, s := range ini {
		if SectionName(s.Name) == section {
			return []byte(strings.Join(slices.Delete(lines, s.head, s.last+1), "")), true
		}
	}
	return data, false
}

// RenameSection gives a section another name and puts it behind the others
// of its rank, where dvc's dictionaries leave it.
func RenameSection(data []byte, ini []Section, from, to string) (out []byte, ok bool) {
	lines := split(data)
	at := slices.IndexFunc(ini, func(s Section) bool { return SectionName(s.Name) == from })
	if at < 0 {
		return data, false
	}
	moved := slices.Clone(lines[ini[at].head : ini[at].last+1])
	moved[0] = "[" + quote(to, false) + "]\n"
	end := ini[at].head
	for _, s := range ini {
		if rank(s.Name) == rank(from) {
			end = s.last + 1
		}
	}
	lines = slices.Insert(lines, end, moved...)
	lines = slices.Delete(lines, ini[at].head, ini[at].last+1)
	return []byte(strings.Join(lines, "")), true
}
