//go:build linux && !applefake

package applesilicon

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestTheSystemCallsOnAStub runs the tests of ffi_test.go, which are those of
// the code that calls Apple's libraries. They need their own build, because
// only there that code is part of a program on Linux, and a C compiler, which
// makes the library that stands for Apple's.
func TestTheSystemCallsOnAStub(t *testing.T) {
	if runtime.GOARCH != "amd64" && runtime.GOARCH != "arm64" {
		t.Skip("purego does not call C on " + runtime.GOARCH)
	}
	if _, err := exec.LookPath("cc"); err != nil {
		if os.Getenv("MLOPS_REQUIRE_CC") == "1" {
			t.Fatal("no C compiler (cc), and MLOPS_REQUIRE_CC=1")
		}
		t.Skip("no C compiler (cc): the calls into system libraries are not tested")
	}
	cmd := exec.Command(filepath.Join(runtime.GOROOT(), "bin", "go"), "test", "-tags", "applefake", "-count=1", "-run", "^TestStub", ".")
	if _, err := os.Stat(cmd.Path); err != nil {
		cmd = exec.Command("go", cmd.Args[1:]...)
	}
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	t.Logf("%s", out)
}
