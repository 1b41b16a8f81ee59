package proc

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAProcessMayBeCalledAnything(t *testing.T) {
	line := "42 (a) S 9 (x) ) S 7 42 40 0 -1 4194560 1 2 3 4 150 50 0 0 20 0 1 0 12345 100 200"
	i, err := parseStat(42, line)
	require.NoError(t, err)
	require.Equal(t, Info{ID: ID{42, 12345}, parent: 7, session: 40, cpu: 2 * time.Second}, i)
}

func TestAnEndedFirstThreadIsNoEndedProcess(t *testing.T) {
	for threads, ended := range map[int]bool{1: true, 0: true, 2: false, 7: false} {
		line := fmt.Sprintf("42 (sh) Z 7 42 40 0 -1 4194560 1 2 3 4 150 50 0 0 20 0 %d 0 12345 100 200", threads)
		i, err := parseStat(42, line)
		require.NoError(t, err)
		require.Equal(t, ended, i.Zombie, "%d threads", threads)
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add("42 (sh) Z 7 42 40 0 -1 4194560 1 2 3 4 150 50 0 0 20 0 1 0 12345 100 200")
	f.Add("42 (sh")
	f.Add(") (")
	f.Fuzz(func(t *testing.T, line string) {
		if i, err := parseStat(42, line); err == nil && i.PID != 42 {
			t.Errorf("another process: %+v", i)
		}
	})
}

func TestOnlyListenersOfThePortAreFound(t *testing.T) {
	text := `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1388 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 111 1
   1: 0100007F:1388 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 222 1
   2: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 333 1
`
	require.Equal(t, []string{"111"}, parseListeners(text, 5000))
	require.Equal(t, []string{"333"}, parseListeners(text, 8080))
}
