package mlflow

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/cassette"
)

// bareEnv leaves no variable of MLflow's and an empty home.
func bareEnv(t *testing.T) (home string) {
	t.Helper()
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "MLFLOW_") {
			t.Setenv(name, "")
		}
	}
	home = t.TempDir()
	t.Setenv("HOME", home)
	return home
}

// What the Python client of MLflow 3.17.2 sent as Authorization to a listener
// that recorded it.
func TestCredentialsComeInTheOrderOfThePythonClient(t *testing.T) {
	const user, password, token, uri = "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_URI"
	for _, tt := range []struct {
		name string
		env  map[string]string
		file bool
		want string
		user string
	}{
		{"all", map[string]string{user: "u", password: "p", token: "t"}, false, "Basic u:p", "u"},
		{"token", map[string]string{token: "t"}, false, "Bearer t", ""},
		{"user and token", map[string]string{user: "u", token: "t"}, false, "Bearer t", "u"},
		{"password and token", map[string]string{password: "p", token: "t"}, false, "Bearer t", ""},
		{"user", map[string]string{user: "u"}, false, "", "u"},
		{"user, empty password, token", map[string]string{user: "u", password: "", token: "t"}, false, "Bearer t", "u"},
		{"URL", map[string]string{uri: "http://uu:pp@replay.invalid"}, false, "Basic uu:pp", ""},
		{"URL and token", map[string]string{uri: "http://uu:pp@replay.invalid", token: "t"}, false, "Basic uu:pp", ""},
		{"URL, user and password", map[string]string{uri: "http://uu:pp@replay.invalid", user: "u", password: "p"}, false, "Basic uu:pp", "u"},
		{"file", nil, true, "Basic fileuser:file%pw", "fileuser"},
		{"file and token", map[string]string{token: "t"}, true, "Basic fileuser:file%pw", "fileuser"},
		{"file and user", map[string]string{user: "u"}, true, "Basic u:file%pw", "u"},
		{"file and password", map[string]string{password: "p"}, true, "Basic fileuser:p", "fileuser"},
		{"file and what is empty", map[string]string{user: "", password: ""}, true, "Basic fileuser:file%pw", "fileuser"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			home := bareEnv(t)
			t.Setenv(uri, "http://replay.invalid")
			for k, v := range tt.env {
				t.Setenv(k, v)
			}
			if tt.file {
				write(t, home, ".mlflow/credentials", "[other]\nmlflow_tracking_username = nobody\n[mlflow]\n# mine\nMLflow_Tracking_Username = fileuser\nmlflow_tracking_password: file%%pw\n")
			}
			opt, err := OptionsFromEnv()
			require.NoError(t, err)
			require.Equal(t, tt.user, opt.User)
			got := ""
			opt.HTTP = &http.Client{Transport: answering(func(r *http.Request) { got = r.Header.Get("Authorization") })}
			c, err := New(opt)
			require.NoError(t, err)
			_, err = c.Version(t.Context())
			require.NoError(t, err)
			want := tt.want
			if kind, plain, _ := strings.Cut(want, " "); kind == "Basic" {
				name, pw, _ := strings.Cut(plain, ":")
				h := http.Header{}
				mlops.Auth{Username: name, Password: mlops.Secret(pw)}.Apply(h)
				want = h.Get("Authorization")
			}
			require.Equal(t, want, got)
		})
	}
}

// answering is a server that tells its version to whoever asks.
type answering func(*http.Request)

func (a answering) RoundTrip(r *http.Request) (*http.Response, error) {
	a(r)
	return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("3.17.2")), Request: r}, nil
}

func TestEachVariableBecomesAnOption(t *testing.T) {
	bareEnv(t)
	opt, err := OptionsFromEnv()
	require.NoError(t, err)
	require.Equal(t, Options{}, opt, "no variable, no option")

	for k, v := range map[string]string{
		"MLFLOW_TRACKING_URI": "http://a", "MLFLOW_REGISTRY_URI": "http://b", "MLFLOW_WORKSPACE": " team ",
		"MLFLOW_TRACKING_INSECURE_TLS": "TRUE", "MLFLOW_TRACKING_SERVER_CERT_PATH": "/s", "MLFLOW_TRACKING_CLIENT_CERT_PATH": "/c",
		"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "7", "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "2", "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER": "1.5", "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
		"MLFLOW_EXPERIMENT_NAME": "e", "MLFLOW_EXPERIMENT_ID": "7", "MLFLOW_RUN_ID": "r", "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING": "false",
		"MLFLOW_TRACKING_AWS_SIGV4": "false",
	} {
		t.Setenv(k, v)
	}
	opt, err = OptionsFromEnv()
	require.NoError(t, err)
	require.Equal(t, Options{
		URL: "http://a", RegistryURL: "http://b", Workspace: "team", TLS: TLS{Insecure: true, ServerCert: "/s", ClientCert: "/c"},
		Tries: 8, Backoff: 2 * time.Second, Timeout: 30 * time.Second, Target: Target{RunID: "r", Experiment: "e", ExperimentID: "7", NoSampling: true},
	}, opt)
	t.Setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
	t.Setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
	opt, err = OptionsFromEnv()
	require.NoError(t, err)
	require.Equal(t, 1, opt.Tries)
	require.Negative(t, opt.Backoff)
}

func TestAVariableThatCannotBeRightIsNamed(t *testing.T) {
	for _, tt := range []struct {
		name, value string
		kind        error
	}{
		{"MLFLOW_HTTP_REQUEST_MAX_RETRIES", "11", mlops.ErrInvalid},
		{"MLFLOW_HTTP_REQUEST_MAX_RETRIES", "-1", mlops.ErrInvalid},
		{"MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "121", mlops.ErrInvalid},
		{"MLFLOW_HTTP_REQUEST_BACKOFF_JITTER", "NaN", mlops.ErrInvalid},
		{"MLFLOW_HTTP_REQUEST_BACKOFF_JITTER", "much", mlops.ErrInvalid},
		{"MLFLOW_HTTP_REQUEST_TIMEOUT", "0", mlops.ErrInvalid},
		{"MLFLOW_HTTP_REQUEST_TIMEOUT", "2m", mlops.ErrInvalid},
		{"MLFLOW_TRACKING_INSECURE_TLS", "yes", mlops.ErrInvalid},
		{"MLFLOW_TRACKING_AWS_SIGV4", "true", mlops.ErrUnsupported},
		{"MLFLOW_TRACKING_AUTH", "kubernetes", mlops.ErrUnsupported},
	} {
		bareEnv(t)
		t.Setenv("MLFLOW_WORKSPACE", "team")
		t.Setenv(tt.name, tt.value)
		opt, err := OptionsFromEnv()
		require.ErrorIs(t, err, tt.kind, tt.name)
		require.ErrorContains(t, err, tt.name)
		require.NotContains(t, err.Error(), "\n")
		require.Equal(t, "team", opt.Workspace, "the rest is there")
	}
	for text, want := range map[string]string{
		"mlflow_tracking_username = a\n":                 "line 1",
		"[mlflow\n":                                      "line 1",
		"[mlflow]\nhunter2\n":                            "line 2",
		"[mlflow]\nmlflow_tracking_password = hunter2%1": "mlflow_tracking_password",
	} {
		write(t, bareEnv(t), ".mlflow/credentials", text)
		_, err := OptionsFromEnv()
		require.ErrorIs(t, err, mlops.ErrInvalid)
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "hunter2")
	}
	home := bareEnv(t)
	require.NoError(t, os.MkdirAll(filepath.Join(home, ".mlflow", "credentials"), 0o755))
	_, err := OptionsFromEnv()
	require.ErrorIs(t, err, mlops.ErrInvalid)
}

func TestAnAddressThatIsNoServerIsExplained(t *testing.T) {
	for uri, want := range map[string]string{
		"file:///tmp/mlruns": "mlflow server", "./mlruns": "mlflow server", "/tmp/mlruns": "mlflow server", "mlruns": "mlflow server", "~/mlruns": "mlflow server",
		"sqlite:///a.db": "mlflow server", "postgresql+psycopg2://u:hunter2@h/d": "mlflow server", "mysql://h": "mlflow server",
		"databricks": "MLFLOW_TRACKING_TOKEN", "databricks://profile": "MLFLOW_TRACKING_TOKEN",
	} {
		_, err := New(Options{URL: uri})
		require.ErrorIs(t, err, mlops.ErrUnsupported, uri)
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "hunter2")
	}
	for _, uri := range []string{"", "localhost:5000", "http://", "ftp://h", "mlflow.example.com", "http://a b"} {
		_, err := New(Options{URL: uri})
		require.ErrorIs(t, err, mlops.ErrInvalid, uri)
	}
	_, err := New(Options{URL: "http://a", RegistryURL: "databricks-uc"})
	require.ErrorIs(t, err, mlops.ErrUnsupported)
	require.NoError(t, CheckURI("https://mlflow.example.com/prefix"))
}

func TestRegistryAndWorkspaceGoWhereTheyBelong(t *testing.T) {
	var seen, auth []string
	way := answering(func(r *http.Request) {
		seen = append(seen, r.URL.Host+r.URL.Path+" "+r.Header.Get("X-MLFLOW-WORKSPACE"))
		auth = append(auth, r.URL.Host+" "+r.Header.Get("Authorization"))
	})
	c, err := New(Options{URL: "http://runs", Auth: mlops.Auth{Token: "of-runs"}, RegistryURL: "http://models", Workspace: "team", HTTP: &http.Client{Transport: way}})
	require.NoError(t, err)
	ctx := t.Context()
	_, _ = c.Models.Get(ctx, "m")
	_ = c.Models.SetVersionTag(ctx, "m", "1", "a", "b")
	_, _ = c.Experiment(ctx, "1")
	_, _ = get[struct{}](ctx, c, "X", "workspaces/team", nil)
	require.Equal(t, []string{
		"models/api/2.0/mlflow/registered-models/get team", "models/api/2.0/mlflow/model-versions/set-tag team",
		"runs/api/2.0/mlflow/experiments/get team", "runs/api/2.0/mlflow/workspaces/team ",
	}, seen)
	require.Equal(t, []string{"models ", "models ", "runs Bearer of-runs", "runs Bearer of-runs"}, auth, "the credentials of one server are not sent to the other")

	auth = nil
	for _, o := range []Options{
		{URL: "http://runs", Auth: mlops.Auth{Token: "of-runs"}, RegistryURL: "http://models", RegistryAuth: mlops.Auth{Token: "of-models"}},
		{URL: "http://runs/a", Auth: mlops.Auth{Token: "of-runs"}, RegistryURL: "http://runs/b"},
		{URL: "http://runs:5000", Auth: mlops.Auth{Token: "of-runs"}, RegistryURL: "http://runs:5001"},
		{URL: "https://runs", Auth: mlops.Auth{Token: "of-runs"}, RegistryURL: "http://runs"},
	} {
		o.HTTP = &http.Client{Transport: way}
		c, err := New(o)
		require.NoError(t, err)
		_, _ = c.Models.Get(ctx, "m")
	}
	require.Equal(t, []string{"models Bearer of-models", "runs Bearer of-runs", "runs:5001 ", "runs "}, auth)
}

func TestTheTargetsExperimentIsFoundOrMade(t *testing.T) {
	s, c := connect(t)
	ctx := t.Context()
	id, err := c.TargetExperiment(ctx)
	require.NoError(t, err)
	require.Equal(t, "0", id)

	name := s.Name("target")
	c.target = Target{Experiment: name}
	made, err := c.TargetExperiment(ctx)
	require.NoError(t, err)
	again, err := c.TargetExperiment(ctx)
	require.NoError(t, err)
	require.Equal(t, made, again)

	c.target = Target{ExperimentID: made}
	require.Equal(t, Target{ExperimentID: made}, c.Target())
	id, err = c.TargetExperiment(ctx)
	require.NoError(t, err)
	require.Equal(t, made, id)
	c.target = Target{Experiment: name, ExperimentID: "0"}
	_, err = c.TargetExperiment(ctx)
	require.ErrorIs(t, err, mlops.ErrInvalid)
	c.target = Target{ExperimentID: "987654321"}
	_, err = c.TargetExperiment(ctx)
	require.ErrorIs(t, err, mlops.ErrNotFound)
}

func TestRunsBelongToWhomPythonWouldName(t *testing.T) {
	for _, v := range []string{"LOGNAME", "USER", "LNAME", "USERNAME"} {
		t.Setenv(v, "")
	}
	own := loginName()
	require.NotEmpty(t, own)
	t.Setenv("USERNAME", "d")
	require.Equal(t, "d", loginName())
	t.Setenv("USER", "b")
	require.Equal(t, "b", loginName())
	t.Setenv("LOGNAME", "a")
	for _, tt := range []struct {
		opt  Options
		want string
	}{
		{Options{URL: "http://h"}, "a"},
		{Options{URL: "http://me:x@h"}, "me"},
		{Options{URL: "http://h", Auth: mlops.Auth{Username: "u", Password: "p"}}, "u"},
		{Options{URL: "http://h", User: "who", Auth: mlops.Auth{Username: "u", Password: "p"}}, "who"},
	} {
		c, err := New(tt.opt)
		require.NoError(t, err)
		require.Equal(t, tt.want, c.user)
	}
}

// certificate makes a key and a certificate for name, signed by by or itself.
func certificate(t *testing.T, name string, by *tls.Certificate) (pair tls.Certificate, file string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	form := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: by == nil, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	parent, signer := form, any(key)
	if by != nil {
		parent, signer = by.Leaf, by.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, form, parent, &key.PublicKey, signer)
	require.NoError(t, err)
	keyDER, err := x509.MarshalECPrivateKey(key)
	require.NoError(t, err)
	text := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER})...)
	file = filepath.Join(t.TempDir(), "both.pem")
	require.NoError(t, os.WriteFile(file, text, 0o600))
	pair, err = tls.X509KeyPair(text, text)
	require.NoError(t, err)
	return pair, file
}

func TestCertificatesAreCheckedAndShown(t *testing.T) {
	s := cassette.Open(t, "mlflow")
	back, err := url.Parse(s.URL)
	require.NoError(t, err)
	ca, caFile := certificate(t, "authority", nil)
	own, _ := certificate(t, "server", &ca)
	_, clientFile := certificate(t, "client", &ca)
	_, strange := certificate(t, "stranger", nil)
	pool := x509.NewCertPool()
	pool.AddCert(ca.Leaf)
	front := func(mode tls.ClientAuthType) string { // TLS before the real server, or what it answered
		p := httputil.NewSingleHostReverseProxy(back)
		p.Transport = s.HTTP.Transport
		srv := httptest.NewUnstartedServer(p)
		srv.TLS = &tls.Config{Certificates: []tls.Certificate{own}, ClientCAs: pool, ClientAuth: mode}
		srv.Config.ErrorLog = nil
		srv.StartTLS()
		t.Cleanup(srv.Close)
		return srv.URL
	}
	plain, mutual := front(tls.NoClientCert), front(tls.RequireAndVerifyClientCert)
	folder := filepath.Dir(caFile)
	for _, tt := range []struct {
		name string
		url  string
		tls  TLS
		kind error // nil: the version is read
	}{
		{"an authority that the system does not know", plain, TLS{}, mlops.ErrInvalid},
		{"its certificate", plain, TLS{ServerCert: caFile}, nil},
		{"a folder with it", plain, TLS{ServerCert: folder}, nil},
		{"another authority", plain, TLS{ServerCert: strange}, mlops.ErrInvalid},
		{"any certificate", plain, TLS{Insecure: true}, nil},
		{"a certificate of ours is wanted", mutual, TLS{ServerCert: caFile}, mlops.ErrUnavailable},
		{"ours", mutual, TLS{ServerCert: caFile, ClientCert: clientFile}, nil},
		{"a stranger's", mutual, TLS{ServerCert: caFile, ClientCert: strange}, mlops.ErrUnavailable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := New(Options{URL: tt.url, Auth: s.Auth, TLS: tt.tls, Tries: 1})
			require.NoError(t, err)
			v, err := c.Version(t.Context())
			if tt.kind != nil {
				require.ErrorIs(t, err, tt.kind)
				return
			}
			require.NoError(t, err)
			require.Regexp(t, `^\d+\.`, v)
		})
	}
	empty := t.TempDir()
	for name, bad := range map[string]Options{
		"both":             {TLS: TLS{Insecure: true, ServerCert: caFile}},
		"no such file":     {TLS: TLS{ServerCert: empty + "/none"}},
		"an empty folder":  {TLS: TLS{ServerCert: empty}},
		"no client file":   {TLS: TLS{ClientCert: empty + "/none"}},
		"no key":           {TLS: TLS{ClientCert: "env_test.go"}},
		"a foreign client": {TLS: TLS{Insecure: true}, HTTP: &http.Client{Transport: answering(nil)}},
	} {
		bad.URL = plain
		_, err := New(bad)
		require.ErrorIs(t, err, mlops.ErrInvalid, name)
	}
}

func FuzzSection(f *testing.F) {
	f.Add("[mlflow]\nmlflow_tracking_username = a\n  b\nc: %%d\n")
	f.Add("\uFEFF[mlflow]\n;x\nk")
	f.Fuzz(func(t *testing.T, text string) {
		values, err := section(text, "mlflow")
		for k := range values {
			if k != strings.ToLower(k) || k == "" {
				t.Errorf("key %q of %q", k, text)
			}
		}
		if err != nil && values != nil {
			t.Errorf("%q gives both values and %v", text, err)
		}
	})
}

func FuzzCheckURI(f *testing.F) {
	f.Add("postgresql://u:p@h/d")
	f.Add("localhost:5000")
	f.Fuzz(func(t *testing.T, uri string) {
		_, err := New(Options{URL: uri})
		if (CheckURI(uri) == nil) && err == nil != (strings.HasPrefix(strings.ToLower(uri), "http")) {
			t.Errorf("%q is said to be right, and New says %v", uri, err)
		}
	})
}
