package client

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/viper"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/stackfile"
	"github.com/mlops-integration/mlops/mlflow"
)

// FileName is the configuration file that FromProject looks for, in the
// project's folder and above.
const FileName = "mlops.yaml"

// Config says where the infrastructure is. Each value comes from the first of
// these that has it: options in code, MLOPS_* variables, the tool's own
// variables, mlops.yaml, the running local stack, defaults on 127.0.0.1.
type Config struct {
	MLflowURI    string // MLOPS_MLFLOW_URI, MLFLOW_TRACKING_URI, mlflow.uri
	DVCRemote    string // MLOPS_DVC_REMOTE, dvc.remote: a folder or URL below which projects have theirs
	AirflowURL   string // MLOPS_AIRFLOW_URL, airflow.url
	RayAddress   string // the dashboard's URL: MLOPS_RAY_ADDRESS, RAY_DASHBOARD_ADDRESS, RAY_ADDRESS, ray.address
	ServeURL     string // where deployed models answer: MLOPS_SERVE_URL, ray.serve_url
	EvidentlyURL string // MLOPS_EVIDENTLY_URL, evidently.url
	Namespace    string // MLOPS_NAMESPACE, namespace: sets projects of equal names apart; may be empty
	DAGs         string // Airflow's DAG folder, as this machine sees it: MLOPS_DAGS_FOLDER, airflow.dags_folder

	// EvidentlyPython is an interpreter that can import evidently; drift is
	// computed there. MLOPS_EVIDENTLY_PYTHON, evidently.python.
	EvidentlyPython string

	// Credentials come from the environment or from the stack's 0600 files,
	// never from mlops.yaml. The stack's are used for the stack's own
	// addresses only.
	MLflowAuth, AirflowAuth, RayAuth, EvidentlyAuth mlops.Auth

	// ServeDir is where the desired Serve configuration is kept.
	ServeDir string

	sources map[string]string

	remote map[string]string // options of the stack's DVC remote

	ownMLflow string         // the MLflow that replicas know by themselves: Ray's stack's
	tool      mlflow.Options // what MLflow's own variables say
}

// key describes one address of Config.
type key struct {
	name     string // in mlops.yaml and in Source
	env      []string
	fallback string
	field    func(*Config) *string
}

var keys = []key{
	{"mlflow.uri", []string{"MLOPS_MLFLOW_URI", "MLFLOW_TRACKING_URI"}, "http://127.0.0.1:5000", func(c *Config) *string { return &c.MLflowURI }},
	{"dvc.remote", []string{"MLOPS_DVC_REMOTE"}, "", func(c *Config) *string { return &c.DVCRemote }},
	{"airflow.url", []string{"MLOPS_AIRFLOW_URL"}, "http://127.0.0.1:8080", func(c *Config) *string { return &c.AirflowURL }},
	{"ray.address", []string{"MLOPS_RAY_ADDRESS", "RAY_DASHBOARD_ADDRESS", "RAY_ADDRESS"}, "http://127.0.0.1:8265", func(c *Config) *string { return &c.RayAddress }},
	{"ray.serve_url", []string{"MLOPS_SERVE_URL"}, "http://127.0.0.1:8001", func(c *Config) *string { return &c.ServeURL }},
	{"evidently.url", []string{"MLOPS_EVIDENTLY_URL"}, "http://127.0.0.1:8000", func(c *Config) *string { return &c.EvidentlyURL }},
	{"evidently.python", []string{"MLOPS_EVIDENTLY_PYTHON"}, "", func(c *Config) *string { return &c.EvidentlyPython }},
	{"airflow.dags_folder", []string{"MLOPS_DAGS_FOLDER"}, "", func(c *Config) *string { return &c.DAGs }},
	{"namespace", []string{"MLOPS_NAMESPACE"}, "", func(c *Config) *string { return &c.Namespace }},
}

// Source tells where a value came from, for example "MLFLOW_TRACKING_URI",
// "/p/mlops.yaml", "the running stack" or "default". The names are those of
// mlops.yaml: "mlflow.uri".
func (c Config) Source(name string) string { return c.sources[name] }

const (
	fromCode    = "code"
	fromStack   = "the running stack"
	fromDefault = "default"
)

// Option configures FromProject.
type Option func(*settings)

type settings struct {
	dir    string
	home   string
	config Config // what code set
	http   *http.Client
	logger *slog.Logger
}

// In sets the project's folder; the default is the current one.
func In(dir string) Option { return func(s *settings) { s.dir = dir } }

// WithHome sets the home of the local stack; the default is MLOPS_HOME, else ~/.mlops.
func WithHome(home string) Option { return func(s *settings) { s.home = home } }

// WithConfig sets what c has; its empty fields come from elsewhere as usual.
func WithConfig(c Config) Option { return func(s *settings) { s.config = c } }

// WithHTTP sends all requests through c, for example an instrumented one.
func WithHTTP(c *http.Client) Option { return func(s *settings) { s.http = c } }

// WithLogger logs each request and retry at Debug.
func WithLogger(l *slog.Logger) Option { return func(s *settings) { s.logger = l } }

// load finds the configuration of the project in s.dir. The second result is
// the project's name according to mlops.yaml or MLOPS_PROJECT.
func load(s settings) (Config, string, error) {
	v := viper.New()
	file := findUp(s.dir, FileName)
	if file != "" {
		v.SetConfigFile(file)
		if err := v.ReadInConfig(); err != nil {
			return Config{}, "", invalid("%s cannot be read: %v", file, err)
		}
		if err := checkFile(v, file); err != nil {
			return Config{}, "", err
		}
	}
	stack, err := stackfile.Read(s.home)
	if err != nil && !errors.Is(err, mlops.ErrNotFound) {
		return Config{}, "", err
	}
	_ = v.BindEnv("project", "MLOPS_PROJECT")

	c := s.config
	c.sources = map[string]string{}
	for _, k := range keys {
		_ = v.BindEnv(append([]string{k.name}, k.env...)...)
		code := *k.field(&c)
		switch {
		case code != "":
			c.sources[k.name] = fromCode
		case envOf(k.env) != "":
			c.sources[k.name] = envOf(k.env)
		case v.InConfig(k.name):
			c.sources[k.name] = file
		case ofStack(stack, k.name) != "":
			v.SetDefault(k.name, ofStack(stack, k.name))
			c.sources[k.name] = fromStack
		default:
			v.SetDefault(k.name, k.fallback)
			c.sources[k.name] = fromDefault
		}
		if code == "" {
			*k.field(&c) = v.GetString(k.name)
		}
	}
	if c.sources["dvc.remote"] == file && !strings.Contains(c.DVCRemote, "://") && !filepath.IsAbs(c.DVCRemote) {
		c.DVCRemote = filepath.Join(filepath.Dir(file), c.DVCRemote)
	}
	if c.ServeDir == "" && sameOrigin(c.RayAddress, stack.Endpoints[stackfile.Ray].URL) {
		c.ServeDir = stack.ServeDir
		c.ownMLflow = stack.Endpoints[stackfile.MLflow].URL
	}
	if c.DVCRemote == stack.DVCRemote {
		c.remote = stack.DVCOptions
	}
	if err := c.check(); err != nil {
		return Config{}, "", err
	}
	if c.tool, err = mlflow.OptionsFromEnv(); err != nil {
		signs := s.http != nil || !c.MLflowAuth.IsZero() // the program sees to it
		if !signs || !errors.Is(err, mlops.ErrUnsupported) {
			return Config{}, "", err
		}
	}
	c.mlflowAuth(stack)
	return c, v.GetString("project"), c.credentials(stack)
}

// mlflowOptions are the settings of MLflow's own variables, under what c and s
// say.
func (c Config) mlflowOptions(s settings) mlflow.Options {
	o := c.tool
	o.URL, o.Auth, o.HTTP, o.Logger = c.MLflowURI, c.MLflowAuth, s.http, s.logger
	if c.sources["mlflow.uri"] == fromCode {
		o.RegistryURL = ""
	}
	if s.http != nil && s.http.Transport != nil {
		if _, plain := s.http.Transport.(*http.Transport); !plain {
			o.TLS = mlflow.TLS{} // the program's own way has its own certificates
		}
	}
	if !strings.HasPrefix(c.sources["mlflow.uri"], "MLFLOW_") && o.Auth.Username != "" {
		o.User = o.Auth.Username
	}
	o.Artifacts.Stores = map[string]mlflow.Store{"s3": &s3{}}
	o.Journal.Dir = journals(s.home)
	if c.sources["mlflow.uri"] == fromStack {
		o.Journal.Server = stackServer
	}
	return o
}

// mlflowAuth takes MLflow's credentials from MLOPS_* variables, else as MLflow
// does: from the URL, its variables, the file ~/.mlflow/credentials. The file
// names no server; the running stack has credentials of its own.
func (c *Config) mlflowAuth(stack stackfile.Stack) {
	if !c.MLflowAuth.IsZero() {
		return
	}
	user, password, token := os.Getenv("MLOPS_MLFLOW_USERNAME"), os.Getenv("MLOPS_MLFLOW_PASSWORD"), os.Getenv("MLOPS_MLFLOW_TOKEN")
	set := envOf([]string{"MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"}) != ""
	switch {
	case token != "":
		c.MLflowAuth = mlops.Auth{Token: mlops.Secret(token)}
	case user != "" || password != "":
		c.MLflowAuth = mlops.Auth{
			Username: cmp.Or(user, os.Getenv("MLFLOW_TRACKING_USERNAME")),
			Password: mlops.Secret(cmp.Or(password, os.Getenv("MLFLOW_TRACKING_PASSWORD"))),
		}
	case hasUser(c.MLflowURI):
	case set || !sameOrigin(c.MLflowURI, stack.Endpoints[stackfile.MLflow].URL):
		c.MLflowAuth = c.tool.Auth
	}
}

// hasUser reports whether an address has credentials in it.
func hasUser(address string) bool {
	u, err := url.Parse(address)
	return err == nil && u.User != nil
}

// checkFile refuses secrets and unknown keys in mlops.yaml.
func checkFile(v *viper.Viper, file string) error {
	known := []string{"project"}
	for _, k := range keys {
		known = append(known, k.name)
	}
	for _, k := range v.AllKeys() {
		switch {
		case strings.Contains(k, "password") || strings.Contains(k, "token") || strings.Contains(k, "secret"):
			return invalid("%s: %s does not belong into a file that is committed: set it in the environment, for example MLOPS_AIRFLOW_PASSWORD", file, k)
		case !slices.Contains(known, k):
			return invalid("%s: unknown key %s; known are %s", file, k, strings.Join(known, ", "))
		}
	}
	return nil
}

func ofStack(s stackfile.Stack, name string) string {
	switch name {
	case "mlflow.uri":
		return s.Endpoints[stackfile.MLflow].URL
	case "airflow.url":
		return s.Endpoints[stackfile.Airflow].URL
	case "ray.address":
		return s.Endpoints[stackfile.Ray].URL
	case "ray.serve_url":
		return s.Endpoints[stackfile.Serve].URL
	case "evidently.url":
		return s.Endpoints[stackfile.Evidently].URL
	case "evidently.python":
		return s.Pythons["evidently"]
	case "dvc.remote":
		return s.DVCRemote
	case "airflow.dags_folder":
		return s.DAGs
	}
	return ""
}

// check finds addresses that cannot work.
func (c Config) check() error {
	for _, k := range keys {
		v := *k.field(&c)
		if k.name == "ray.address" && (strings.HasPrefix(v, "ray://") || v == "auto") {
			return invalid("%s (from %s) is the address of a Ray client; Serve is driven through the dashboard: set RAY_DASHBOARD_ADDRESS=http://host:8265", v, c.sources[k.name])
		}
		if k.name == "mlflow.uri" {
			if err := mlflow.CheckURI(v); err != nil {
				return fmt.Errorf("mlflow.uri (from %s): %w", c.sources[k.name], err)
			}
			continue
		}
		if !strings.HasSuffix(k.name, ".uri") && !strings.HasSuffix(k.name, "url") && k.name != "ray.address" {
			continue
		}
		if u, err := url.Parse(v); err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
			return invalid("%s (from %s) is not the http or https URL of a server", k.name, c.sources[k.name])
		}
	}
	if c.Namespace != "" && !projectName.MatchString(c.Namespace) {
		return invalid("namespace %q: use lower-case letters, digits and hyphens, at most 63, not a hyphen first", c.Namespace)
	}
	return nil
}

// credentials fills the Auth fields that code left empty.
func (c *Config) credentials(stack stackfile.Stack) error {
	for _, t := range []struct {
		auth                  *mlops.Auth
		url, endpoint, header string
		user, password, token []string
		tokenFile             []string
	}{
		{&c.MLflowAuth, c.MLflowURI, stackfile.MLflow, "", nil, nil, nil, nil},
		{&c.AirflowAuth, c.AirflowURL, stackfile.Airflow, "", []string{"MLOPS_AIRFLOW_USERNAME"}, []string{"MLOPS_AIRFLOW_PASSWORD"}, []string{"MLOPS_AIRFLOW_TOKEN"}, nil},
		{&c.RayAuth, c.RayAddress, stackfile.Ray, "", nil, nil, []string{"MLOPS_RAY_TOKEN", "RAY_AUTH_TOKEN"}, []string{"RAY_AUTH_TOKEN_PATH"}},
		{&c.EvidentlyAuth, c.EvidentlyURL, stackfile.Evidently, "evidently-secret", nil, nil, []string{"MLOPS_EVIDENTLY_SECRET", "EVIDENTLY_SECRET"}, nil},
	} {
		if !t.auth.IsZero() {
			continue
		}
		*t.auth = mlops.Auth{
			Username: os.Getenv(envOf(t.user)),
			Password: mlops.Secret(os.Getenv(envOf(t.password))),
			Token:    mlops.Secret(os.Getenv(envOf(t.token))),
		}
		if f := os.Getenv(envOf(t.tokenFile)); f != "" && t.auth.Token == "" {
			secret, err := stackfile.Endpoint{URL: t.url, SecretFile: f}.Secret()
			if err != nil {
				return err
			}
			t.auth.Token = secret
		}
		if e := stack.Endpoints[t.endpoint]; t.auth.IsZero() && !hasUser(t.url) && sameOrigin(t.url, e.URL) {
			secret, err := e.Secret()
			if err != nil {
				return err
			}
			if e.Username != "" {
				*t.auth = mlops.Auth{Username: e.Username, Password: secret}
			} else {
				*t.auth = mlops.Auth{Token: secret}
			}
		}
		if t.auth.Token != "" {
			t.auth.Header = t.header
		}
	}
	return nil
}

// envOf is the first variable of names that is set, or "".
func envOf(names []string) string {
	for _, n := range names {
		if os.Getenv(n) != "" {
			return n
		}
	}
	return ""
}

// sameOrigin keeps the stack's credentials from going to any other server.
func sameOrigin(a, b string) bool {
	ua, err1 := url.Parse(a)
	ub, err2 := url.Parse(b)
	return err1 == nil && err2 == nil && ua.Host != "" && ua.Scheme == ub.Scheme && ua.Host == ub.Host
}

// findUp looks for a file in dir and above it.
func findUp(dir, name string) string {
	for {
		p := filepath.Join(dir, name)
		if info, err := os.Stat(p); err == nil && info.Mode().IsRegular() {
			return p
		} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return ""
		}
		up := filepath.Dir(dir)
		if up == dir {
			return ""
		}
		dir = up
	}
}

func invalid(format string, args ...any) error {
	return &mlops.Error{Kind: mlops.ErrInvalid, Message: fmt.Sprintf(format, args...)}
}
