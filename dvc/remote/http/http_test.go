package http_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/remote"
	dvchttp "github.com/mlops-integration/mlops/dvc/remote/http"
	"github.com/mlops-integration/mlops/dvc/remote/remotetest"
)

// serve serves a folder: reading is net/http's own file server, and POST and
// PUT write files.
func serve(t *testing.T, wrap func(http.Handler) http.Handler) string {
	t.Helper()
	dir := t.TempDir()
	files := http.FileServer(http.Dir(dir))
	var h http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost && r.Method != http.MethodPut {
			files.ServeHTTP(w, r)
			return
		}
		p := filepath.Join(dir, filepath.FromSlash(r.URL.Path))
		b, err := io.ReadAll(r.Body)
		if err == nil {
			err = os.MkdirAll(filepath.Dir(p), 0o755)
		}
		if err == nil {
			err = os.WriteFile(p, b, 0o644)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	if wrap != nil {
		h = wrap(h)
	}
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv.URL
}

func open(t *testing.T, url string, opts ...string) *dvchttp.Store {
	t.Helper()
	c := remote.Config{Name: "h", URL: url, Options: map[string]string{}}
	for i := 0; i < len(opts); i += 2 {
		c.Options[opts[i]] = opts[i+1]
	}
	s, err := dvchttp.New(c)
	require.NoError(t, err)
	return s
}

func TestAnHTTPServerConformsAsRemote(t *testing.T) {
	for _, method := range []string{"", "put"} {
		remotetest.Conformance(t, func(t *testing.T) remote.Store { return open(t, serve(t, nil)+"/dvc store/", "method", method) })
	}
}

func TestFaultsOfAnHTTPServerEndInSuccessOrAClearError(t *testing.T) {
	url := serve(t, nil)
	p := remotetest.StartProxy(t, url)
	direct, s := open(t, url), open(t, p.URL, "read_timeout", "0.5")
	body, sum := remotetest.Body(1, 3<<20)
	key := remotetest.Key(sum)
	require.NoError(t, direct.Put(t.Context(), key, remote.Blob{Body: body, MD5: sum}))
	get := func() (int, error) {
		r, err := s.Get(t.Context(), key)
		if err != nil {
			return 0, err
		}
		defer r.Close()
		b, err := io.ReadAll(r)
		return len(b), err
	}
	for _, f := range []remotetest.Fault{{Status: 503}, {Reset: true}, {Cut: 1 << 20}, {Cut: 1 << 20, Silent: true}} {
		n := 0
		p.Do(func(*http.Request) remotetest.Fault {
			if n++; n <= 2 {
				return f
			}
			return remotetest.Fault{}
		})
		got, err := get()
		require.NoError(t, err, "%+v", f)
		require.Equal(t, 3<<20, got, "%+v", f)
	}
	p.Do(func(*http.Request) remotetest.Fault { return remotetest.Fault{Status: 403} })
	_, err := get()
	require.ErrorIs(t, err, mlops.ErrForbidden)
	p.Do(func(*http.Request) remotetest.Fault { return remotetest.Fault{Cut: 5} })
	_, err = get()
	require.ErrorIs(t, err, mlops.ErrUnavailable)
}

func TestCredentialsGoToTheRemoteAlone(t *testing.T) {
	var elsewhere []string
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		elsewhere = append(elsewhere, r.URL.Path)
	}))
	t.Cleanup(other.Close)
	guard := func(want string) func(http.Handler) http.Handler {
		return func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				user, password, _ := r.BasicAuth()
				switch {
				case strings.HasPrefix(r.URL.Path, "/files/md5/aa"):
					http.Redirect(w, r, other.URL+"/stolen", http.StatusTemporaryRedirect)
				case user+":"+password+r.Header.Get("X-Key") != want:
					w.WriteHeader(http.StatusUnauthorized)
				default:
					h.ServeHTTP(w, r)
				}
			})
		}
	}
	body, sum := remotetest.Body(1, 100)
	basic := serve(t, guard("me:pass"))
	require.NoError(t, open(t, basic, "auth", "basic", "user", "me", "password", "pass").Put(t.Context(), remotetest.Key(sum), remote.Blob{Body: body, MD5: sum}))
	require.NoError(t, open(t, strings.Replace(basic, "http://", "http://me:pass@", 1)).Put(t.Context(), remotetest.Key(sum), remote.Blob{Body: body, MD5: sum}))
	require.ErrorIs(t, open(t, basic).Put(t.Context(), remotetest.Key(sum), remote.Blob{Body: body, MD5: sum}), mlops.ErrUnauthenticated)
	custom := open(t, serve(t, guard(":key")), "auth", "custom", "custom_auth_header", "X-Key", "password", "key")
	require.NoError(t, custom.Put(t.Context(), remotetest.Key(sum), remote.Blob{Body: body, MD5: sum}))
	_, err := custom.Get(t.Context(), "files/md5/aa/x")
	require.Error(t, err)
	require.NotContains(t, err.Error(), "key ")
	require.Empty(t, elsewhere)
}

func TestAServerWithoutHEADIsAskedWithGET(t *testing.T) {
	s := open(t, serve(t, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodHead {
				w.WriteHeader(http.StatusMethodNotAllowed)
				return
			}
			h.ServeHTTP(w, r)
		})
	}))
	body, sum := remotetest.Body(1, 100)
	require.NoError(t, s.Put(t.Context(), remotetest.Key(sum), remote.Blob{Body: body, MD5: sum}))
	missing, err := s.Missing(t.Context(), []string{remotetest.Key(sum), "files/md5/00/00"})
	require.NoError(t, err)
	require.Equal(t, []string{"files/md5/00/00"}, missing)
}

func TestWrongOptionsOfAnHTTPRemoteAreNamed(t *testing.T) {
	for _, tt := range []struct {
		url, key, value string
		want            error
	}{
		{"http://", "", "", mlops.ErrInvalid}, {"http://h", "auth", "digest", mlops.ErrUnsupported}, {"http://h", "auth", "custom", mlops.ErrInvalid},
		{"http://h", "ask_password", "true", mlops.ErrUnsupported}, {"http://h", "jobs", "x", mlops.ErrInvalid}, {"http://h", "read_timeout", "x", mlops.ErrInvalid},
		{"http://h", "connect_timeout", "x", mlops.ErrInvalid}, {"https://h", "ssl_verify", "/none", mlops.ErrInvalid},
	} {
		_, err := remote.Open(t.Context(), remote.Config{Name: "h", URL: tt.url, Options: map[string]string{tt.key: tt.value}})
		require.ErrorIs(t, err, tt.want, tt.key)
	}
	_, err := dvchttp.New(remote.Config{Name: "h", URL: "https://h", Options: map[string]string{"ssl_verify": "false"}})
	require.NoError(t, err)
}
