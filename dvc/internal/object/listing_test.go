package object

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDirListingIsInDVCOrder(t *testing.T) {
	tr := Listing{{"a/b", ID("eccbc87e4b5ce2fe28308fd9f2a7baf3")}, {"\U0001F600.bin", ID("ba323c3f5b3f1b536461d41cc7f1ba60")}, {"\ufffd.bin", ID("96a75bdbf222c58cabde08ebe2172c9f")}, {"a-b", ID("c81e728d9d4c2f636f067f89cc14862c")}, {"new\nline\x7f\"\\", ID("1a13105b7e4eb5fb2e7c9515ac06aa48")}}
	tr.Sort()
	data, _ := tr.Hash()
	require.Equal(t, `[{"md5": "c81e728d9d4c2f636f067f89cc14862c", "relpath": "a-b"}, {"md5": "eccbc87e4b5ce2fe28308fd9f2a7baf3", "relpath": "a/b"}, {"md5": "1a13105b7e4eb5fb2e7c9515ac06aa48", "relpath": "new\nline\u007f\"\\"}, {"md5": "96a75bdbf222c58cabde08ebe2172c9f", "relpath": "\ufffd.bin"}, {"md5": "ba323c3f5b3f1b536461d41cc7f1ba60", "relpath": "\ud83d\ude00.bin"}]`, string(data))
	_, empty := Listing{}.Hash()
	require.Equal(t, ID("d751713988987e9331980363e24189ce.dir"), empty)
}

func FuzzTree(f *testing.F) {
	f.Add([]byte(`[{"md5": "c81e728d9d4c2f636f067f89cc14862c", "relpath": "a-b"}]`))
	f.Add([]byte(`[{"md5": "c81e728d9d4c2f636f067f89cc14862c", "relpath": "../x", "size": 3}]`))
	f.Add([]byte(`[]`))
	f.Add([]byte(`[{"md5": "c81e728d9d4c2f636f067f89cc14862c", "relpath": "new\nline\u00e9\"\\"}, {"md5": "c81e728d9d4c2f636f067f89cc14862c", "relpath": "b"}]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		tr, err := Decode(string(data))
		if err != nil {
			return
		}
		if plain, ok := parseListing(string(data)); ok {
			slow, err := parseJSON(string(data))
			if err != nil || !slices.Equal(plain, slow) {
				t.Fatalf("read as %v in one way and as %v in the other: %v", plain, slow, err)
			}
		}
		for _, e := range tr {
			if why := UnsafePath(e.Path); why != "" {
				t.Fatalf("%q %s", e.Path, why)
			}
		}
		again, err := Decode(string(tr.encode()))
		if err != nil || len(again) != len(tr) {
			t.Fatalf("what was read cannot be written and read: %v", err)
		}
	})
}
