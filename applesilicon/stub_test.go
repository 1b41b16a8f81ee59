//go:build linux && !applefake

package applesilicon

import (
	"debug/macho"
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
	cmd := exec.Command("go", "test", "-tags", "applefake", "-count=1", "-run", "^TestStub", ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	t.Logf("%s", out)
}

// TestAMacsProgramLinksSystemLibrariesOnly looks into a program for a Mac:
// what it needs to be loaded must be on every Mac.
func TestAMacsProgramLinksSystemLibrariesOnly(t *testing.T) {
	if os.Getenv("MLOPS_LIVE") == "" {
		t.Skip("builds the package for another system: set MLOPS_LIVE=1")
	}
	for _, arch := range []string{"arm64", "amd64"} {
		out := filepath.Join(t.TempDir(), "program")
		cmd := exec.Command("go", "test", "-c", "-o", out, ".")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=darwin", "GOARCH="+arch)
		said, err := cmd.CombinedOutput()
		require.NoError(t, err, string(said))
		f, err := macho.Open(out)
		require.NoError(t, err)
		libs, err := f.ImportedLibraries()
		require.NoError(t, err)
		t.Logf("%v: %v", f.Cpu, libs)
		require.NotEmpty(t, libs)
		for _, lib := range libs {
			require.Regexp(t, `^(/usr/lib/|/System/Library/Frameworks/)`, lib)
		}
		require.NoError(t, f.Close())
	}
}
