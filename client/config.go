package client

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/fair"
	"github.com/mlops-integration/mlops/internal/stackfile"
	"github.com/mlops-integration/mlops/mlflow"
)

// FileName is the configuration file that Open looks for, in the
// project's folder and above.
const FileName = "mlops.yaml"

// Config says where the infrastructure is. Each value comes from the first of
// these that has it: options in code, MLOPS_* variables, the tool's own
// variables, the user's own file ([UserFile]), mlops.yaml, the running local
// stack, defaults on 127.0.0.1.
//
// mlops.yaml comes with the project and decides neither what runs nor where
// files are written, and an address that only it names gets no credentials,
// unless the user trusts the host (MLOPS_TRUST_HOSTS, trust.hosts of the user's
// file) or it is the running stack's.
type Config struct {
	MLflowURI    string // MLOPS_MLFLOW_URI, MLFLOW_TRACKING_URI, mlflow.uri
	DVCRemote    string // MLOPS_DVC_REMOTE, dvc.remote: a folder or URL below which projects have theirs
	AirflowURL   string // MLOPS_AIRFLOW_URL, airflow.url
	RayAddress   string // the dashboard's URL: MLOPS_RAY_ADDRESS, RAY_DASHBOARD_ADDRESS, RAY_ADDRESS, ray.address
	ServeURL     string // where deployed models answer: MLOPS_SERVE_URL, ray.serve_url
	EvidentlyURL string // MLOPS_EVIDENTLY_URL, evidently.url
	Namespace    string // MLOPS_NAMESPACE, namespace: sets projects of equal names apart; may be empty
	DAGs         string // Airflow's DAG folder, as this machine sees it: MLOPS_DAGS_FOLDER, airflow.dags_folder of the user's file

	// EvidentlyPython is an interpreter that can import evidently; drift is
	// computed there. MLOPS_EVIDENTLY_PYTHON, evidently.python of the user's file.
	EvidentlyPython string

	// AirflowPython is an interpreter that can import the server's Airflow; DAGs
	// are judged there before they are declared. MLOPS_AIRFLOW_PYTHON,
	// airflow.python of the user's file; empty: the server judges them.
	AirflowPython string

	// Quota is what the project asks to be limited to, below what it was granted, as
	// [fair.ParseQuota] reads it: MLOPS_QUOTA, quota of mlops.yaml.
	Quota string

	// HeatFile and HeatCommand tell the agent how hot the machine is, beside what
	// it measures: a file whose first word is nominal, fair, serious or critical,
	// and a program that prints one. MLOPS_HEAT_FILE, MLOPS_HEAT_COMMAND,
	// heat.file and heat.command of the user's file.
	HeatFile, HeatCommand string

	// Credentials come from code, from the environment or from the stack's 0600
	// files, never from a configuration file. The stack's are used for the
	// stack's own addresses only, the others for an address that the user gave.
	MLflowAuth, AirflowAuth, RayAuth, EvidentlyAuth mlops.Auth

	// ServeDir is where the desired Serve configuration is kept.
	ServeDir string

	sources map[string]string

	remote map[string]string // options of the stack's DVC remote

	named     string         // MLflow's address as it was given, where MLflowURI is the stack's name for it
	bare      error          // why the artifact stores of the MLflow server get no credentials
	ownMLflow string         // the MLflow that replicas know by themselves: Ray's stack's
	tool      mlflow.Options // what MLflow's own variables say
}

// key describes one address of Config.
type key struct {
	name     string // in mlops.yaml and in Source
	env      []string
	fallback string
	field    func(*Config) *string

	says string // what it decides, if that is not for mlops.yaml to decide
}

var keys = []key{
	{"mlflow.uri", []string{"MLOPS_MLFLOW_URI", "MLFLOW_TRACKING_URI"}, "http://127.0.0.1:5000", func(c *Config) *string { return &c.MLflowURI }, ""},
	{"dvc.remote", []string{"MLOPS_DVC_REMOTE"}, "", func(c *Config) *string { return &c.DVCRemote }, ""},
	{"airflow.url", []string{"MLOPS_AIRFLOW_URL"}, "http://127.0.0.1:8080", func(c *Config) *string { return &c.AirflowURL }, ""},
	{"ray.address", []string{"MLOPS_RAY_ADDRESS", "RAY_DASHBOARD_ADDRESS", "RAY_ADDRESS"}, "http://127.0.0.1:8265", func(c *Config) *string { return &c.RayAddress }, ""},
	{"ray.serve_url", []string{"MLOPS_SERVE_URL"}, "http://127.0.0.1:8001", func(c *Config) *string { return &c.ServeURL }, ""},
	{"evidently.url", []string{"MLOPS_EVIDENTLY_URL"}, "http://127.0.0.1:8000", func(c *Config) *string { return &c.EvidentlyURL }, ""},
	{"evidently.python", []string{"MLOPS_EVIDENTLY_PYTHON"}, "", func(c *Config) *string { return &c.EvidentlyPython }, "which program runs"},
	{"airflow.python", []string{"MLOPS_AIRFLOW_PYTHON"}, "", func(c *Config) *string { return &c.AirflowPython }, "which program runs"},
	{"airflow.dags_folder", []string{"MLOPS_DAGS_FOLDER"}, "", func(c *Config) *string { return &c.DAGs }, "where files are written"},
	{"heat.file", []string{"MLOPS_HEAT_FILE"}, "", func(c *Config) *string { return &c.HeatFile }, "how much may run"},
	{"heat.command", []string{"MLOPS_HEAT_COMMAND"}, "", func(c *Config) *string { return &c.HeatCommand }, "which program runs"},
	{"quota", []string{"MLOPS_QUOTA"}, "", func(c *Config) *string { return &c.Quota }, ""},
	{"namespace", []string{"MLOPS_NAMESPACE"}, "", func(c *Config) *string { return &c.Namespace }, ""},
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

// Option configures Open and FromProject.
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
// the project's name according to MLOPS_PROJECT or a configuration file.
func load(s settings) (Config, string, error) {
	user, err := userFile()
	if err != nil {
		return Config{}, "", err
	}
	project, err := projectFile(s.dir, user)
	if err != nil {
		return Config{}, "", err
	}
	stack, err := stackfile.Read(s.home)
	if err != nil && !errors.Is(err, mlops.ErrNotFound) {
		return Config{}, "", err
	}
	c := s.config
	c.sources = map[string]string{}
	for _, k := range keys {
		c.find(k, user, project, stack)
	}
	c.named = withoutUser(c.MLflowURI)
	c.loopback(stack)
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
	name := cmp.Or(os.Getenv("MLOPS_PROJECT"), user.get("project"), project.get("project"))
	return c, name, c.credentials(stack, user, project)
}

// find sets one value from the first source that has it.
func (c *Config) find(k key, user, project file, stack stackfile.Stack) {
	field := k.field(c)
	from := func(source, value string) { c.sources[k.name], *field = source, value }
	ofFile := func(f file) {
		from(f.path, f.get(k.name))
		folder := k.name == "dvc.remote" && !strings.Contains(*field, "://") || k.name == "airflow.dags_folder"
		if folder && !filepath.IsAbs(*field) {
			*field = filepath.Join(filepath.Dir(f.path), *field)
		}
	}
	switch {
	case *field != "":
		from(fromCode, *field)
	case envOf(k.env) != "":
		from(envOf(k.env), os.Getenv(envOf(k.env)))
	case user.has(k.name):
		ofFile(user)
	case project.has(k.name):
		ofFile(project)
	case ofStack(stack, k.name) != "":
		from(fromStack, ofStack(stack, k.name))
	default:
		from(fromDefault, k.fallback)
	}
}

// loopback gives the stack's servers the addresses that they listen on: where
// localhost leads, and ::1, another user may listen on the same port.
func (c *Config) loopback(stack stackfile.Stack) {
	for name, field := range map[string]*string{stackfile.MLflow: &c.MLflowURI, stackfile.Airflow: &c.AirflowURL, stackfile.Ray: &c.RayAddress, stackfile.Serve: &c.ServeURL, stackfile.Evidently: &c.EvidentlyURL} {
		if at := stack.Endpoints[name].URL; sameOrigin(*field, at) {
			u, _ := url.Parse(*field)
			ours, _ := url.Parse(at)
			u.Host = ours.Host
			*field = u.String()
		}
	}
}

// mlflowOptions are the settings of MLflow's own variables, under what c and s
// say.
func (c Config) mlflowOptions(s settings) mlflow.Options {
	o := c.tool
	o.URL, o.Auth, o.HTTP, o.Logger = c.MLflowURI, c.MLflowAuth, s.http, s.logger
	o.Target.RunID = cmp.Or(o.Target.RunID, os.Getenv("MLOPS_TRACKED_RUN")) // mlopsctl run exec, with MLflow away
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
	o.Artifacts.Stores = map[string]mlflow.Store{"s3": &s3{refused: c.bare}}
	o.Journal.Dir = journals(s.home)
	switch {
	case c.sources["mlflow.uri"] == fromStack:
		o.Journal.Server = stackServer
	case c.named != withoutUser(c.MLflowURI):
		o.Journal.Server = c.named // as other programs know it
	}
	return o
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
	case "airflow.python":
		return s.Pythons["airflow"]
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
	if _, err := fair.ParseQuota(c.Quota); err != nil {
		return invalid("quota of %s: %v", c.sources["quota"], err)
	}
	if c.Namespace != "" && !projectName.MatchString(c.Namespace) {
		return invalid("namespace %q: use lower-case letters, digits and hyphens, at most 63, not a hyphen first", c.Namespace)
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

func invalid(format string, args ...any) error {
	return &mlops.Error{Kind: mlops.ErrInvalid, Message: fmt.Sprintf(format, args...)}
}
