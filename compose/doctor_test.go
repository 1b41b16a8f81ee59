package compose

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops/compose/internal/proc"
	"github.com/mlops-integration/mlops/internal/atomicfile"
	"github.com/mlops-integration/mlops/internal/stackfile"
)

// one returns the only finding of a check.
func one(t *testing.T, s *Stack, check string) Finding {
	t.Helper()
	all, err := s.Doctor(t.Context())
	require.NoError(t, err)
	var out []Finding
	for _, f := range all {
		if f.Check == check {
			out = append(out, f)
		}
	}
	require.Len(t, out, 1, check)
	return out[0]
}

func TestDoctorSaysWhatAFreshMachineLacks(t *testing.T) {
	s := stackOf(t, fake{Name: "app", Port: freePort(t)})
	only(t, t.TempDir())
	f := one(t, s, "python")
	require.Equal(t, SeverityFail, f.Severity)
	require.Contains(t, f.Message, "no Python 3.10 to 3.13")
	require.Equal(t, "apt-get install python3 python3-venv", f.Fix)
	require.Equal(t, "mlopsctl setup", one(t, s, "uv").Fix)
	for _, v := range servers {
		f := one(t, s, "environment "+v)
		require.Equal(t, Finding{"environment " + v, SeverityWarn, "it is not installed", "mlopsctl setup"}, f)
	}
	require.Equal(t, SeverityOK, one(t, s, "state").Severity)
	require.Equal(t, SeverityOK, one(t, s, "ports").Severity)

	bin, _, _ := fakeUV(t)
	require.Equal(t, SeverityOK, one(t, s, "uv").Severity)
	require.Equal(t, SeverityOK, one(t, s, "python").Severity)
	require.NoError(t, os.Remove(filepath.Join(bin, "python3.11")))
	require.Equal(t, SeverityWarn, one(t, s, "python").Severity, "uv fetches one")
	script(t, filepath.Join(bin, "brew"), "")
	require.Equal(t, "brew install python@3.12", one(t, s, "python").Fix)
}

func TestDoctorSeesAnEnvironmentThatLeftItsLock(t *testing.T) {
	s := stackOf(t, fake{Name: "app", Port: freePort(t)})
	fakeUV(t)
	in := installer{home: s.home, tell: func(Event) {}}
	require.NoError(t, in.install(t.Context(), []string{"mlflow"}))
	site := filepath.Join(venvDir(s.home, "mlflow"), "lib", "python3.11", "site-packages")
	text, _, err := lockText("mlflow")
	require.NoError(t, err)
	for _, p := range lockPins(text) {
		if p.always {
			require.NoError(t, os.MkdirAll(filepath.Join(site, strings.ReplaceAll(p.name, "-", "_")+"-"+p.version+".dist-info"), 0o755))
		}
	}
	require.Equal(t, Finding{"environment mlflow", SeverityOK, "as locked", ""}, one(t, s, "environment mlflow"))
	require.NoError(t, os.MkdirAll(filepath.Join(site, "left_pad-1.3.dist-info"), 0o755))
	require.Equal(t, Finding{"environment mlflow", SeverityWarn, "left-pad 1.3 is not in the lock", "mlopsctl setup"}, one(t, s, "environment mlflow"))
	require.NoError(t, os.WriteFile(filepath.Join(venvDir(s.home, "mlflow"), markerFile), []byte("{"), 0o600))
	require.Contains(t, one(t, s, "environment mlflow").Message, "its marker cannot be read")
}

func TestDoctorNamesWhoHoldsAPort(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	s := stackOf(t, fake{Name: "app", Port: l.Addr().(*net.TCPAddr).Port})
	f := one(t, s, "port app/http")
	require.Equal(t, SeverityWarn, f.Severity)
	require.Contains(t, f.Message, "(pid "+strconv.Itoa(os.Getpid())+")")
	require.Contains(t, f.Message, "the next free one is used")
	require.Equal(t, fmt.Sprintf("ps -p %d", os.Getpid()), f.Fix)
}

func TestDoctorSeesWhatASupervisorLeft(t *testing.T) {
	s := stackOf(t, fake{Name: "app", Port: freePort(t)})
	only(t, t.TempDir()) // nothing that takes time to look at
	st := start(t, s)
	f := one(t, s, "state")
	require.Equal(t, SeverityOK, f.Severity)
	require.Contains(t, f.Message, fmt.Sprintf("supervisor %d watches", st.Supervisor.PID))
	require.Equal(t, SeverityOK, one(t, s, "ports").Severity, "the stack's own server is no stranger")

	kill(t, st.Supervisor.PID)
	eventually(t, "the supervisor is dead", func() bool { _, err := proc.Inspect(st.Supervisor.PID); return err != nil })
	require.Equal(t, Finding{"state", SeverityFail, "the supervisor is gone; run: mlopsctl start", "mlopsctl start"}, one(t, s, "state"))

	require.NoError(t, os.WriteFile(statePath(s.home), []byte(`{"version": 1, "ser`), 0o600))
	f = one(t, s, "state")
	require.Equal(t, SeverityFail, f.Severity)
	require.Contains(t, f.Message, "cannot be read")
	require.Equal(t, "mlopsctl stop", f.Fix)
	require.NoError(t, s.Stop(t.Context(), StopOptions{}))
	require.Empty(t, proc.Listeners(of(st, "app").Ports["http"]), "stop finds the servers without the damaged file")
	require.Equal(t, SeverityOK, one(t, s, "state").Severity)

	require.NoError(t, stackfile.Write(stackfile.Stack{Runtime: "process", Home: s.home}))
	require.Equal(t, "mlopsctl stop", one(t, s, "state").Fix, "the stack file of a stack that does not run")
	require.NoError(t, s.Stop(t.Context(), StopOptions{}))
}

func TestDoctorSendsToTheLogOfAFailedService(t *testing.T) {
	s := stackOf(t, fake{Name: "app", Mode: "exit", Port: freePort(t)})
	within(t, s)
	_, err := s.Start(t.Context(), StartOptions{KeepOnFailure: true})
	require.Error(t, err)
	f := one(t, s, "service app")
	require.Equal(t, SeverityFail, f.Severity)
	require.Contains(t, f.Message, "exit status 3")
	require.Equal(t, "mlopsctl logs app", f.Fix)
}

func TestDoctorSeesAPostgresThatDoesNotFitTheData(t *testing.T) {
	s := stackOf(t, fake{Name: "app", Port: freePort(t)})
	only(t, t.TempDir()) // nothing that takes time to look at
	root, bin := t.TempDir(), t.TempDir()
	t.Setenv(postgresFolder, root)
	t.Setenv(postgresProgram, bin)
	require.Equal(t, "mlopsctl setup", one(t, s, "postgres").Fix)
	require.NoError(t, os.MkdirAll(filepath.Join(root, "data"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(root, "data", "PG_VERSION"), []byte("14\n"), 0o600))
	f := one(t, s, "postgres")
	require.Equal(t, SeverityFail, f.Severity)
	require.Contains(t, f.Message, "is of PostgreSQL 14")
	require.Equal(t, "apt-get install postgresql-14", f.Fix)

	require.NoError(t, makeHome(s.home))
	require.NoError(t, atomicfile.Write(postgresNote(s.home), []byte(root), 0o600))
	t.Setenv(postgresFolder, "/elsewhere")
	require.Equal(t, "unset "+postgresFolder, one(t, s, "postgres").Fix)
}

func TestDoctorMeasuresDiskAndMemory(t *testing.T) {
	require.Equal(t, SeverityFail, diskFinding("/h", 1e9, diskNeeded).Severity)
	require.Equal(t, "1.0 GB free for /h, 5.4 GB are needed", diskFinding("/h", 1e9, diskNeeded).Message)
	require.Equal(t, SeverityOK, diskFinding("/h", 3e9, diskTight).Severity, "enough for a stack that is installed")
	require.Equal(t, "mlopsctl start --light", memoryFinding(2e9, 8e9, StateStopped).Fix)
	require.Equal(t, SeverityOK, memoryFinding(2e9, 8e9, StateHealthy).Severity, "the stack itself has what is missing")
	require.Equal(t, SeverityOK, memoryFinding(6e9, 8e9, StateStopped).Severity)
}

func TestDoctorAsksMLflowByItsPublishedAddress(t *testing.T) {
	s := stackOf(t, fake{Name: "app", Port: freePort(t)})
	ask := func() []Finding { return s.checkMLflow(t.Context(), Status{}) }
	require.Empty(t, ask(), "no stack, no question")
	status := http.StatusOK
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pw, _ := r.BasicAuth(); pw != "pw" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.WriteHeader(status)
	}))
	defer srv.Close()
	secret := filepath.Join(s.home, "mlflow")
	require.NoError(t, os.WriteFile(secret, []byte("pw"), 0o600))
	require.NoError(t, stackfile.Write(stackfile.Stack{Runtime: "process", Home: s.home, Endpoints: map[string]stackfile.Endpoint{
		stackfile.MLflow: {URL: srv.URL, Username: "admin", SecretFile: secret},
	}}))
	for _, tt := range []struct {
		status int
		state  Severity
		fix    string
	}{{200, SeverityOK, ""}, {403, SeverityFail, "mlopsctl restart mlflow"}, {500, SeverityFail, "mlopsctl logs mlflow"}} {
		status = tt.status
		got := ask()
		require.Len(t, got, 2)
		require.Equal(t, tt.state, got[0].Severity, "MLflow answered %d", tt.status)
		require.Equal(t, tt.fix, got[0].Fix)
		require.Equal(t, Finding{"clock", SeverityOK, "agrees with the server's", ""}, got[1])
	}
	require.NoError(t, os.Remove(secret))
	require.Equal(t, "chmod 600 "+secret, ask()[0].Fix)
	require.NoError(t, os.WriteFile(secret, []byte("pw"), 0o600))
	srv.Close()
	require.Equal(t, "mlopsctl logs mlflow", ask()[0].Fix)
}
