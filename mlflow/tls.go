package mlflow

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// TLS says which certificates are good. The zero value trusts what the system
// trusts and shows none.
type TLS struct {
	// Insecure takes any certificate, so that anyone on the way can read the
	// credentials. It does not go with ServerCert.
	Insecure bool

	// ServerCert is a PEM file, or a folder of them, with the authorities that
	// are trusted instead of the system's.
	ServerCert string

	// ClientCert is a PEM file with our certificate and its key.
	ClientCert string
}

// config reads the files that t names.
func (t TLS) config() (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: t.Insecure}
	if t.Insecure && t.ServerCert != "" {
		return nil, invalid("", "a server certificate is given and is not to be checked: drop MLFLOW_TRACKING_INSECURE_TLS or MLFLOW_TRACKING_SERVER_CERT_PATH")
	}
	if t.ServerCert != "" {
		pool, err := authorities(t.ServerCert)
		if err != nil {
			return nil, err
		}
		conf.RootCAs = pool
	}
	if t.ClientCert != "" {
		b, err := os.ReadFile(t.ClientCert)
		if err != nil {
			return nil, invalid("", "the client certificate cannot be read: %v", err)
		}
		pair, err := tls.X509KeyPair(b, b)
		if err != nil {
			return nil, invalid("", "client certificate %s: want a PEM file with a certificate and its key: %v", t.ClientCert, err)
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	return conf, nil
}

// authorities reads the certificates of a file, or of all files in a folder.
func authorities(path string) (*x509.CertPool, error) {
	files := []string{path}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		entries, err := os.ReadDir(path)
		if err != nil {
			return nil, invalid("", "the server certificates cannot be read: %v", err)
		}
		files = nil
		for _, e := range entries {
			if info, err := os.Stat(filepath.Join(path, e.Name())); err == nil && info.Mode().IsRegular() {
				files = append(files, filepath.Join(path, e.Name()))
			}
		}
	}
	pool, found := x509.NewCertPool(), false
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			return nil, invalid("", "the server certificate cannot be read: %v", err)
		}
		found = pool.AppendCertsFromPEM(b) || found
	}
	if !found {
		return nil, invalid("", "server certificate %s: there is no certificate in PEM form", path)
	}
	return pool, nil
}

// way returns the HTTP client that opt asks for; nil is transport's own.
func (opt Options) way() (*http.Client, error) {
	if opt.TLS == (TLS{}) && opt.Timeout <= 0 && opt.Workspace == "" {
		return opt.HTTP, nil
	}
	hc := http.Client{}
	if opt.HTTP != nil {
		hc = *opt.HTTP
	}
	if hc.Transport == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.ResponseHeaderTimeout = 2 * time.Minute
		t.MaxIdleConnsPerHost = 16
		hc.Transport = t
	}
	if own, ok := hc.Transport.(*http.Transport); ok {
		own = own.Clone()
		if opt.Timeout > 0 {
			own.ResponseHeaderTimeout = opt.Timeout
		}
		if opt.TLS != (TLS{}) {
			conf, err := opt.TLS.config()
			if err != nil {
				return nil, err
			}
			own.TLSClientConfig = conf
		}
		hc.Transport = own
	} else if opt.TLS != (TLS{}) {
		return nil, invalid("", "certificates are set and HTTP has a transport of its own: set them there")
	}
	if opt.Workspace != "" {
		hc.Transport = workspaced{hc.Transport, opt.Workspace}
	}
	return &hc, nil
}

// workspaceHeader names the workspace that a request is about.
const workspaceHeader = "X-Mlflow-Workspace"

// workspaced tells the server the workspace, except where the path does
// (_should_include_workspace_header in mlflow/utils/rest_utils.py).
type workspaced struct {
	next http.RoundTripper
	name string
}

// CloseIdleConnections is what [http.Client.CloseIdleConnections] looks for.
func (w workspaced) CloseIdleConnections() { (&http.Client{Transport: w.next}).CloseIdleConnections() }

func (w workspaced) RoundTrip(req *http.Request) (*http.Response, error) {
	if !strings.Contains(req.URL.Path, "/mlflow/workspaces") && req.Header.Get(workspaceHeader) == "" {
		req = req.Clone(req.Context())
		req.Header.Set(workspaceHeader, w.name)
	}
	return w.next.RoundTrip(req)
}
