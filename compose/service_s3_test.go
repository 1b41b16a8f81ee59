package compose

import (
	"context"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/compose/internal/proc"
)

func TestAnOptionalServiceBelongsToTheStackFromItsStartByName(t *testing.T) {
	s := stackOf(t, fake{Name: "app", Port: freePort(t)}, fake{Name: "extra", Port: freePort(t), Optional: true})
	all := func() (app, extra State) {
		t.Helper()
		st := start(t, s)
		require.Equal(t, StateHealthy, st.State)
		return of(st, "app").State, of(st, "extra").State
	}
	app, extra := all()
	require.Equal(t, [2]State{StateReady, StateStopped}, [2]State{app, extra}, "no user asked for it")
	p, err := s.Plan(t.Context(), StartOptions{})
	require.NoError(t, err)
	require.Len(t, p.Steps, 1)

	require.Equal(t, StateReady, of(start(t, s, "extra"), "extra").State)
	require.NoError(t, s.Stop(t.Context(), StopOptions{}))
	p, err = s.Plan(t.Context(), StartOptions{})
	require.NoError(t, err)
	require.Len(t, p.Steps, 2)
	app, extra = all()
	require.Equal(t, [2]State{StateReady, StateReady}, [2]State{app, extra}, "stopping the stack forgot it")

	require.NoError(t, s.Stop(t.Context(), StopOptions{Services: []string{"extra"}}))
	app, extra = all()
	require.Equal(t, [2]State{StateReady, StateStopped}, [2]State{app, extra}, "stopping it by name did not take it out")

	st := start(t, s, "extra")
	kill(t, st.Supervisor.PID)
	eventually(t, "the supervisor is dead", func() bool { _, err := proc.Inspect(st.Supervisor.PID); return err != nil })
	require.NoError(t, s.Stop(t.Context(), StopOptions{Services: []string{"extra"}}))
	_, extra = all()
	require.Equal(t, StateStopped, extra, "without a supervisor, stopping it by name did not take it out")
}

func TestAStartThatFailsDoesNotMakeAServicePartOfTheStack(t *testing.T) {
	s := stackOf(t, fake{Name: "app", Port: freePort(t)}, fake{Name: "extra", Mode: "exit", Port: freePort(t), Optional: true})
	_, err := s.Start(t.Context(), StartOptions{Services: []string{"extra"}})
	require.ErrorIs(t, err, mlops.ErrUnavailable)
	require.Equal(t, StateHealthy, start(t, s).State)
}

func TestS3CredentialsFollowThePort(t *testing.T) {
	s := lightSite(t)
	file := filepath.Join(s.home, "secrets", "s3.aws")
	for _, n := range []int{7070, 7071} {
		s.ports["s3/http"] = n
		require.NoError(t, s3Prepare(t.Context(), s))
		b, err := os.ReadFile(file)
		require.NoError(t, err)
		secret, _, err := s.secret("s3")
		require.NoError(t, err)
		require.Contains(t, string(b), "aws_access_key_id = mlops\naws_secret_access_key = "+string(secret)+"\n")
		require.Contains(t, string(b), "endpoint_url = "+s.url("s3", "http")+"\n")
		info, err := os.Stat(file)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	}
	require.DirExists(t, s.data("s3", "mlops"), "the bucket")
}

func TestOurSignatureIsThatOfTheAWSSDK(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	request := func() *http.Request {
		req, err := http.NewRequestWithContext(t.Context(), "HEAD", "http://127.0.0.1:7070/mlops", nil)
		require.NoError(t, err)
		return req
	}
	ours, theirs := request(), request()
	signS3(ours, "mlops", "a secret", now)
	nothing := ours.Header.Get("X-Amz-Content-Sha256")
	theirs.Header.Set("X-Amz-Content-Sha256", nothing)
	require.NoError(t, v4.NewSigner().SignHTTP(t.Context(), aws.Credentials{AccessKeyID: "mlops", SecretAccessKey: "a secret"}, theirs, nothing, "s3", gatewayRegion, now))
	require.Equal(t, theirs.Header, ours.Header)
}

func TestTheGatewaysVersionIsTheSameEverywhere(t *testing.T) {
	for _, file := range []string{"docker/Dockerfile", "docker/compose.yaml", "ci/engine.sh", "../dvc/remote/remotetest/server.go", "../mlflow/s3store/server_test.go"} {
		b, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Contains(t, string(b), gatewayVersion, "%s runs another versitygw", file)
	}
}

func TestSetupOfS3SaysWhatIsMissing(t *testing.T) {
	s := stackOf(t)
	setup := func() error { return s.Setup(t.Context(), SetupOptions{Environments: []string{"s3"}}) }
	real, err := exec.LookPath("go")
	require.NoError(t, err)
	user, err := os.UserHomeDir()
	require.NoError(t, err)

	only(t, t.TempDir())
	err = setup()
	require.ErrorIs(t, err, mlops.ErrUnsupported)
	require.ErrorContains(t, err, "install Go")

	only(t, filepath.Dir(real))
	t.Setenv("HOME", user) // Go's telemetry goes on writing there for a while
	t.Setenv("GOPROXY", "off")
	t.Setenv("GOMODCACHE", t.TempDir())
	err = setup()
	require.ErrorIs(t, err, mlops.ErrUnavailable)
	require.ErrorContains(t, err, "versitygw v1.8.0 cannot be built")
	left, err := os.ReadDir(filepath.Join(s.home, "tools"))
	require.NoError(t, err)
	require.Empty(t, left)

	gone, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, s.Setup(gone, SetupOptions{Environments: []string{"s3"}}), context.Canceled)
}

func TestSetupLeavesAnInstalledGatewayAlone(t *testing.T) {
	s := stackOf(t)
	script(t, gatewayProgram(s.home), "echo ours")
	only(t, t.TempDir())
	require.NoError(t, s.Setup(t.Context(), SetupOptions{Environments: []string{"s3"}}))
}

func TestDoctorMissesTheGatewayOnlyWhereS3BelongsToTheStack(t *testing.T) {
	s := stackOf(t, fake{Name: "s3", Port: freePort(t), Optional: true})
	all, err := s.Doctor(t.Context())
	require.NoError(t, err)
	for _, f := range all {
		require.NotEqual(t, "s3", f.Check)
	}
	start(t, s, "s3")
	require.Equal(t, "mlopsctl setup s3", one(t, s, "s3").Fix)
	script(t, gatewayProgram(s.home), "echo ours")
	require.Equal(t, Finding{"s3", SeverityOK, "versitygw v1.8.0", ""}, one(t, s, "s3"))
}
