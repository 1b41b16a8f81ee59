package object

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Measured with dvc 3.67.1: dvc_data.hashfile.hash.file_md5(name="md5-dos2unix").
func TestHashesOf2xFoldLineEndsAsDVC2Did(t *testing.T) {
	mib := strings.Repeat("a", TextBlock-1)
	for _, tt := range []struct{ name, text, want string }{
		{"empty", "", "d41d8cd98f00b204e9800998ecf8427e"},
		{"text", "a\r\nb\r\n", plainMD5("a\nb\n")},
		{"a lone CR", "a\rb", plainMD5("a\rb")},
		{"zero byte", "a\r\n\x00", plainMD5("a\r\n\x00")},
		{"zero byte beyond the first 512", strings.Repeat("a", 512) + "\r\n\x00", plainMD5(strings.Repeat("a", 512) + "\n\x00")},
		{"three of ten are not text", "aaaaa\r\n\xff\xff\xff", plainMD5("aaaaa\n\xff\xff\xff")},
		{"more than three", "aaaa\r\n\xff\xff\xff", plainMD5("aaaa\r\n\xff\xff\xff")},
		{"across a MiB", mib + "\r\nb\r\n", plainMD5(mib + "\r\nb\n")},
		{"a MiB that is not text", mib + "a" + "\x00\r\n", plainMD5(mib + "a\x00\r\n")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := NewHash(true)
			for i := 0; i < len(tt.text); i += 1000 {
				_, _ = h.Write([]byte(tt.text[i:min(i+1000, len(tt.text))]))
			}
			require.Equal(t, tt.want, Sum(h))
		})
	}
}

func plainMD5(s string) string {
	h := NewHash(false)
	_, _ = h.Write([]byte(s))
	return Sum(h)
}
