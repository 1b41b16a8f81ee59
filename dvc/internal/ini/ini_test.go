package ini

import "testing"

func FuzzConfig(f *testing.F) {
	f.Add([]byte("[core]\n    remote = l2\n['remote \"l2\"']\n    url = ../../rem3\n"))
	f.Add([]byte("# c\n[cache]\ntype = reflink,copy # x\nx = '''a\nb'''\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		sections, err := Parse(data)
		if err != nil {
			return
		}
		out := Set(data, sections, `remote "new"`, "url", "a b")
		again, err := Parse(out)
		if err != nil {
			t.Fatalf("%q became unreadable: %q: %v", data, out, err)
		}
		for _, s := range again {
			if SectionName(s.Name) != `remote "new"` {
				continue
			}
			for _, k := range s.Keys {
				if k.Name == "url" && k.Items[0] == "a b" {
					return
				}
			}
		}
		t.Fatalf("%q: the key is not in %q", data, out)
	})
}
