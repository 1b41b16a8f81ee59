package address

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWhatIsShownOfAURL(t *testing.T) {
	for _, tt := range []struct{ url, redacted, public, anonymous string }{
		{"some/path@x", "some/path@x", "some/path@x", "some/path@x"},
		{"s3://bucket/key", "s3://bucket/key", "s3://bucket/key", "s3://bucket/key"},
		{"https://me:secret@host/x?sig=1#f", "https://me@host/x?sig=1#f", "https://host/x?sig=1#f", "https://host/x"},
		{"https://token@host/x", "https://token@host/x", "https://host/x", "https://host/x"},
		{"ssh://git:secret@host/x", "ssh://git@host/x", "ssh://git@host/x", "ssh://host/x"},
		{"https://me:%zz@host", "https://[redacted]", "https://[redacted]", "https://[redacted]"},
	} {
		require.Equal(t, tt.redacted, Redact(tt.url), tt.url)
		require.Equal(t, tt.public, Public(tt.url), tt.url)
		require.Equal(t, tt.anonymous, Anonymous(tt.url), tt.url)
	}
	require.Equal(t, "s3://", Scheme("s3://b/k"))
	require.Empty(t, Scheme("/a/b"))
}
