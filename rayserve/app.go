package rayserve

import (
	"encoding/json"
	"maps"
	"regexp"
	"strings"
)

// AppSpec is a registered model as an application of Ray Serve.
// Zero values take the defaults named.
type AppSpec struct {
	Name        string // letters, digits, ".", "_", "~" and "-", at most 200; case counts
	RoutePrefix string // where it answers; empty: "/" + Name
	ModelURI    string // "models:/wine/3" or "runs:/…", an exact version: an alias that moves is no change Ray could see
	TrackingURI string // of MLflow, without credentials; empty, or Options.MLflow: as in the replica's environment

	Replicas           int     // 0: 1
	NumCPUs            float64 // reserved by each replica; 0: 0.1
	MaxOngoingRequests int     // at once in one replica; 0: 50

	Metadata map[string]string // lineage; kept in the application's args and read back with Application
	Env      map[string]string // environment of the replicas; readable by all who may read the dashboard: no secrets
}

var (
	appName    = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._~-]{0,199}$`)
	routeForm  = regexp.MustCompile(`^(/[A-Za-z0-9._~-]+)+$`)
	modelForm  = regexp.MustCompile(`^(models|runs):/.+|^models:/m-.+`)
	secretName = regexp.MustCompile(`(?i)(password|passwd|secret|token|api_?key|credential|access_key)`)
	// the addresses to which MLflow's credentials belong
	mlflowAddress = regexp.MustCompile(`^MLFLOW_(TRACKING|REGISTRY)_URI$`)
)

// form is the form of an application's arguments. In form 0 they named the
// stack's own MLflow by the address that it had at the time.
const form = 1

// importPath names the embedded Python builder.
const importPath = "mlops_serve.app:build"

// The forms in which an application is sent. deployed_app_config echoes
// exactly what was sent, so nothing is sent that was not asked for.
type (
	appConfig struct {
		Name        string             `json:"name"`
		RoutePrefix string             `json:"route_prefix"`
		ImportPath  string             `json:"import_path"`
		RuntimeEnv  runtimeEnv         `json:"runtime_env"`
		Args        appArgs            `json:"args"`
		Deployments []deploymentConfig `json:"deployments"`
	}
	runtimeEnv struct {
		WorkingDir string            `json:"working_dir"`
		EnvVars    map[string]string `json:"env_vars,omitempty"`
	}
	appArgs struct {
		ModelURI    string            `json:"model_uri"`
		TrackingURI string            `json:"tracking_uri,omitempty"`
		Metadata    map[string]string `json:"metadata,omitempty"`
		Attempt     int               `json:"attempt,omitempty"` // of a configuration that failed before
		Form        int               `json:"form,omitempty"`
	}
	deploymentConfig struct {
		Name               string       `json:"name"`
		NumReplicas        int          `json:"num_replicas"`
		MaxOngoingRequests int          `json:"max_ongoing_requests"`
		MaxSurgePercent    int          `json:"max_surge_percent"`
		ActorOptions       actorOptions `json:"ray_actor_options"`
	}
	actorOptions struct {
		NumCPUs float64 `json:"num_cpus"`
	}
)

// config checks a and puts it into Ray's form.
func (a AppSpec) config(op, workingDir string) (appConfig, error) {
	if a.RoutePrefix == "" {
		a.RoutePrefix = "/" + a.Name
	}
	if err := a.check(op); err != nil {
		return appConfig{}, err
	}
	orDefault(&a.Replicas, 1)
	orDefault(&a.NumCPUs, 0.1)
	orDefault(&a.MaxOngoingRequests, 50)
	return appConfig{
		Name:        a.Name,
		RoutePrefix: a.RoutePrefix,
		ImportPath:  importPath,
		RuntimeEnv:  runtimeEnv{WorkingDir: workingDir, EnvVars: maps.Clone(a.Env)},
		Args:        appArgs{ModelURI: a.ModelURI, TrackingURI: a.TrackingURI, Metadata: maps.Clone(a.Metadata), Form: form},
		Deployments: []deploymentConfig{{
			Name:               "model",
			NumReplicas:        a.Replicas,
			MaxOngoingRequests: a.MaxOngoingRequests,
			MaxSurgePercent:    100, // the new replica is up before the old one goes
			ActorOptions:       actorOptions{NumCPUs: a.NumCPUs},
		}},
	}, nil
}

func (a AppSpec) check(op string) error {
	if err := checkName(op, a.Name); err != nil {
		return err
	}
	switch {
	case !routeForm.MatchString(a.RoutePrefix) || strings.Contains(a.RoutePrefix+"/", "/../") || strings.Contains(a.RoutePrefix+"/", "/./"):
		return invalid(op, "route prefix %q: want /path without a slash at its end", a.RoutePrefix)
	case strings.HasPrefix(a.RoutePrefix+"/", "/-/"):
		return invalid(op, "route prefix %q: /-/ belongs to Ray Serve", a.RoutePrefix)
	case !modelForm.MatchString(a.ModelURI):
		return invalid(op, "model URI %q: want models:/NAME/VERSION or runs:/ID/PATH", a.ModelURI)
	case strings.Contains(a.ModelURI, "@") && strings.HasPrefix(a.ModelURI, "models:"):
		return invalid(op, "model URI %s names an alias; resolve it to a version first: Ray sees no change when an alias moves", a.ModelURI)
	case strings.Contains(hostOf(a.TrackingURI), "@"):
		return invalid(op, "the tracking URI holds credentials; replicas take them from the environment Ray was started with")
	case a.Replicas < 0 || a.NumCPUs < 0 || a.MaxOngoingRequests < 0:
		return invalid(op, "replicas, CPUs and requests at once cannot be negative")
	}
	for k := range a.Env {
		if secretName.MatchString(k) {
			return invalid(op, "environment variable %s looks like a secret, and a Serve configuration can be read over REST; set it where Ray is started", k)
		}
		if mlflowAddress.MatchString(k) {
			return invalid(op, "environment variable %s would take the replicas' credentials to another server; set TrackingURI", k)
		}
	}
	return nil
}

func checkName(op, name string) error {
	if !appName.MatchString(name) {
		return invalid(op, "application name %q: want letters, digits, \".\", \"_\", \"~\" and \"-\", at most 200, beginning with a letter or digit", name)
	}
	return nil
}

// hostOf is the part of a URL between "//" and the next slash.
func hostOf(raw string) string {
	_, rest, _ := strings.Cut(raw, "//")
	host, _, _ := strings.Cut(rest, "/")
	return host
}

// argsOf reads the args of one of our applications back.
func argsOf(raw json.RawMessage) appArgs {
	var c struct {
		Args appArgs `json:"args"`
	}
	if json.Unmarshal(raw, &c) != nil {
		return appArgs{}
	}
	return c.Args
}

func orDefault[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}
