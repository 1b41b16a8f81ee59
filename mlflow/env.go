package mlflow

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/mlops-integration/mlops"
)

// OptionsFromEnv returns the Options that MLflow's own variables make, as the
// Python client of MLflow 3.17 reads them. A variable that is empty counts as
// not set.
//
//	MLFLOW_TRACKING_URI                     URL
//	MLFLOW_REGISTRY_URI                     RegistryURL, with RegistryAuth as Auth
//	MLFLOW_TRACKING_USERNAME, …_PASSWORD    Auth and User, each before the one in ~/.mlflow/credentials
//	MLFLOW_TRACKING_TOKEN                   Auth
//	MLFLOW_TRACKING_INSECURE_TLS            TLS.Insecure
//	MLFLOW_TRACKING_SERVER_CERT_PATH        TLS.ServerCert
//	MLFLOW_TRACKING_CLIENT_CERT_PATH        TLS.ClientCert
//	MLFLOW_WORKSPACE                        Workspace
//	MLFLOW_HTTP_REQUEST_MAX_RETRIES         Tries, one more; more than 10 retries are refused
//	MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR      Backoff, in seconds; 0 is none, more than 120 is refused
//	MLFLOW_HTTP_REQUEST_BACKOFF_JITTER      checked only: waits are random in any case
//	MLFLOW_HTTP_REQUEST_TIMEOUT             Timeout, in seconds
//	MLFLOW_EXPERIMENT_NAME, …_ID, RUN_ID    Target
//	MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING    Target.NoSampling
//	those of [ArtifactOptionsFromEnv]       Artifacts
//
// Credentials in the URL win over username and password, and these, when both
// are there, over the token. That is what Python does, whatever its comments
// say: a listener saw the Authorization of 14 combinations of its credentials
// (MLflow 3.17.2); with username, password and token set it was Basic, with
// only one of username and password beside the token it was Bearer, with a
// username alone there was none.
//
// The file ~/.mlflow/credentials has a section [mlflow] with
// mlflow_tracking_username and mlflow_tracking_password. Its mode should be
// 0600; MLflow does not insist on it and neither does this.
//
// The error matches [mlops.ErrInvalid] if a value cannot be read, and
// [mlops.ErrUnsupported] for MLFLOW_TRACKING_AWS_SIGV4 and
// MLFLOW_TRACKING_AUTH, which sign requests by Python code; the Options are
// whole all the same, for a program that signs in [Options.HTTP].
func OptionsFromEnv() (Options, error) {
	const sampling = "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING"
	var e env
	opt := Options{
		URL:         os.Getenv("MLFLOW_TRACKING_URI"),
		RegistryURL: os.Getenv("MLFLOW_REGISTRY_URI"),
		Workspace:   strings.TrimSpace(os.Getenv("MLFLOW_WORKSPACE")),
		TLS: TLS{
			Insecure:   e.yes("MLFLOW_TRACKING_INSECURE_TLS"),
			ServerCert: os.Getenv("MLFLOW_TRACKING_SERVER_CERT_PATH"),
			ClientCert: os.Getenv("MLFLOW_TRACKING_CLIENT_CERT_PATH"),
		},
		Timeout: time.Duration(e.number("MLFLOW_HTTP_REQUEST_TIMEOUT", 1, 1<<30)) * time.Second,
		Target: Target{
			RunID: os.Getenv("MLFLOW_RUN_ID"), ExperimentID: os.Getenv("MLFLOW_EXPERIMENT_ID"), Experiment: os.Getenv("MLFLOW_EXPERIMENT_NAME"),
			NoSampling: os.Getenv(sampling) != "" && !e.yes(sampling),
		},
	}
	if n := e.number("MLFLOW_HTTP_REQUEST_MAX_RETRIES", 0, 10); n >= 0 {
		opt.Tries = n + 1
	}
	switch n := e.number("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", 0, 120); {
	case n == 0:
		opt.Backoff = -1
	case n > 0:
		opt.Backoff = time.Duration(n) * time.Second
	}
	opt.Timeout = max(0, opt.Timeout)
	var aerr error
	opt.Artifacts, aerr = ArtifactOptionsFromEnv()
	e.fail(aerr)
	e.jitter("MLFLOW_HTTP_REQUEST_BACKOFF_JITTER")

	file, err := credentialsFile()
	e.fail(err)
	opt.User = cmp.Or(os.Getenv("MLFLOW_TRACKING_USERNAME"), file.Username)
	password := cmp.Or(mlops.Secret(os.Getenv("MLFLOW_TRACKING_PASSWORD")), file.Password)
	u, uerr := url.Parse(opt.URL)
	switch {
	case uerr == nil && u.User != nil: // New takes it from there
	case opt.User != "" && password != "":
		opt.Auth = mlops.Auth{Username: opt.User, Password: password}
	default:
		opt.Auth = mlops.Auth{Token: mlops.Secret(os.Getenv("MLFLOW_TRACKING_TOKEN"))}
	}

	opt.RegistryAuth = opt.Auth // as Python's client

	const sign = "or pass an http.Client that signs requests in Options.HTTP"
	if e.yes("MLFLOW_TRACKING_AWS_SIGV4") {
		e.fail(unsupported("", "MLFLOW_TRACKING_AWS_SIGV4 asks for requests signed for AWS, which this client does not do: unset it, %s", sign))
	}
	if p := os.Getenv("MLFLOW_TRACKING_AUTH"); p != "" {
		e.fail(unsupported("", "MLFLOW_TRACKING_AUTH=%s names a plugin of the Python client: put its token into MLFLOW_TRACKING_TOKEN and unset it, %s", p, sign))
	}
	return opt, e.err()
}

// env reads variables and keeps what is wrong with them.
type env struct{ bad, missing error }

func (e *env) fail(err error) {
	if errors.Is(err, mlops.ErrUnsupported) {
		e.missing = cmp.Or(e.missing, err)
	} else if err != nil {
		e.bad = cmp.Or(e.bad, err)
	}
}

// err is the first value that cannot be right, else what we do not do.
func (e *env) err() error { return cmp.Or(e.bad, e.missing) }

func (e *env) yes(name string) bool {
	switch v := os.Getenv(name); strings.ToLower(v) {
	case "", "false", "0":
		return false
	case "true", "1":
		return true
	default:
		e.fail(invalid("", "%s=%q: want true, false, 1 or 0", name, v))
		return false
	}
}

// number is -1 if the variable is not set.
func (e *env) number(name string, least, most int) int {
	v := os.Getenv(name)
	if v == "" {
		return -1
	}
	n, err := strconv.Atoi(strings.TrimSpace(v))
	if err != nil || n < least || n > most {
		e.fail(invalid("", "%s=%q: want a whole number from %d to %d", name, v, least, most))
		return -1
	}
	return n
}

func (e *env) jitter(name string) {
	v := os.Getenv(name)
	if x, err := strconv.ParseFloat(strings.TrimSpace(v), 64); v != "" && (err != nil || !(x >= 0)) {
		e.fail(invalid("", "%s=%q: want a number, not below 0", name, v))
	}
}

// credentialsFile reads ~/.mlflow/credentials; there being none is no error.
func credentialsFile() (mlops.Auth, error) {
	home, err := os.UserHomeDir()
	if err != nil {
		return mlops.Auth{}, nil
	}
	path := filepath.Join(home, ".mlflow", "credentials")
	b, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return mlops.Auth{}, nil
	case err != nil:
		return mlops.Auth{}, invalid("", "MLflow's credentials cannot be read: %v", err)
	}
	values, err := section(string(b), "mlflow")
	if err != nil {
		return mlops.Auth{}, invalid("", "%s: %v", path, err)
	}
	return mlops.Auth{Username: values["mlflow_tracking_username"], Password: mlops.Secret(values["mlflow_tracking_password"])}, nil
}

// section returns the values of one section of an INI file as Python's
// configparser reads it: keys without case, "=" or ":", comments on lines of
// their own, indented lines that continue a value, "%%" for "%".
func section(text, name string) (map[string]string, error) {
	out := map[string]string{}
	in, key, n := "", "", 0
	for line := range strings.Lines(strings.TrimPrefix(text, "\uFEFF")) {
		n++
		word := strings.TrimSpace(line)
		switch {
		case word == "" || word[0] == '#' || word[0] == ';':
		case key != "" && (line[0] == ' ' || line[0] == '\t'):
			if in == name {
				out[key] += "\n" + word
			}
		case word[0] == '[':
			end := strings.IndexByte(word, ']')
			if end < 0 {
				return nil, fmt.Errorf("line %d is not a section", n)
			}
			in, key = word[1:end], ""
		default:
			at := strings.IndexAny(word, "=:")
			if at <= 0 || in == "" {
				return nil, fmt.Errorf("line %d is neither a section nor key = value", n) // not the line: it may hold a password
			}
			key = strings.ToLower(strings.TrimSpace(word[:at]))
			if in == name {
				out[key] = strings.TrimSpace(word[at+1:])
			}
		}
	}
	for k, v := range out {
		plain := strings.ReplaceAll(v, "%%", "")
		if strings.Contains(plain, "%") {
			return nil, fmt.Errorf("%s: a %% is written %%%%", k)
		}
		out[k] = strings.ReplaceAll(v, "%%", "%")
	}
	return out, nil
}

// CheckURI says in one sentence what to do about a tracking URI that no Client
// can speak to: MLflow's Python client also opens folders, databases and
// Databricks profiles. The sentence does not repeat the URI, which may hold a
// password.
func CheckURI(uri string) error {
	scheme, rest, _ := strings.Cut(uri, ":")
	base, _, _ := strings.Cut(strings.ToLower(scheme), "+") // "postgresql+psycopg2"
	switch base {
	case "http", "https":
		if u, err := url.Parse(uri); err != nil || u.Host == "" {
			return invalid("", "it is not the address of a server: want http://host:port or https://host")
		}
		return nil
	case "sqlite", "postgresql", "postgres", "mysql", "mssql":
		return unsupported("", "it is a database, and this client speaks to servers: run mlflow server --backend-store-uri with it, and set http://127.0.0.1:5000")
	case "databricks", "databricks-uc", "uc":
		return unsupported("", "it is a profile of Databricks: set the workspace's https address, and a personal access token in MLFLOW_TRACKING_TOKEN")
	case "file":
		return atFolder()
	case "":
		return invalid("", "no URL is configured: want http://host:port or https://host")
	}
	if strings.ContainsAny(uri[:1], "./~\\") || rest == "" && !strings.Contains(uri, ".") {
		return atFolder()
	}
	return invalid("", "it is not the http or https URL of a server: want http://host:port or https://host")
}

func atFolder() error {
	return unsupported("", "it is a folder, and this client speaks to servers: run mlflow server --backend-store-uri with it, and set http://127.0.0.1:5000")
}

func unsupported(op, format string, args ...any) error {
	return &mlops.Error{Kind: mlops.ErrUnsupported, Service: "mlflow", Op: op, Message: fmt.Sprintf(format, args...)}
}

// Target is where a program shall log that was started to log somewhere.
type Target struct {
	RunID        string // a run that the first StartRun resumes
	Experiment   string // by name; made if there is none
	ExperimentID string
	NoSampling   bool // of the machine: MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING is set, and not to true
}

// Target returns what [Options.Target] said.
func (c *Client) Target() Target { return c.target }

// TargetExperiment returns the ID of the experiment that [Options.Target] names,
// and makes it if it is named and not there, as Python's start_run does. Without
// a name or ID it is MLflow's "Default", which has the ID 0.
//
// The error matches [mlops.ErrInvalid] if name and ID are of two experiments,
// [mlops.ErrNotFound] if there is none with the ID, and [mlops.ErrConflict] if
// the one with the name is deleted.
//
// MLflow REST: GET /api/2.0/mlflow/experiments/get-by-name, POST
// /api/2.0/mlflow/experiments/create, GET /api/2.0/mlflow/experiments/get
func (c *Client) TargetExperiment(ctx context.Context) (string, error) {
	t := c.target
	if t.Experiment == "" {
		if t.ExperimentID == "" {
			return "0", nil
		}
		e, err := c.Experiment(ctx, t.ExperimentID)
		return e.ID, err
	}
	e, err := c.EnsureExperiment(ctx, t.Experiment, ExperimentOptions{})
	if err == nil && t.ExperimentID != "" && t.ExperimentID != e.ID {
		return "", invalid("TargetExperiment", "experiment %q has the ID %s, not %s: drop MLFLOW_EXPERIMENT_NAME or MLFLOW_EXPERIMENT_ID", t.Experiment, e.ID, t.ExperimentID)
	}
	return e.ID, err
}

// loginName is the name that Python's getpass.getuser gives.
func loginName() string {
	for _, v := range []string{"LOGNAME", "USER", "LNAME", "USERNAME"} {
		if n := os.Getenv(v); n != "" {
			return n
		}
	}
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return ""
}
