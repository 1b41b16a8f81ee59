package client

import (
	"cmp"
	"fmt"
	"net/url"
	"os"
	"strings"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/stackfile"
)

// credential is what a server is to be shown, and where that was found.
type credential struct {
	auth mlops.Auth
	from string // "MLOPS_AIRFLOW_PASSWORD", "code"
}

// credentials fills the Auth fields that code left empty. A credential of code,
// of the environment or of the tool's own file goes to an address that the user
// gave, to a host that the user trusts, or to the running stack; if only
// mlops.yaml names the address, the error says how to trust it. The default
// addresses get none: whoever listens there is not known.
func (c *Config) credentials(stack stackfile.Stack, user, project file) error {
	for _, t := range []struct {
		key, endpoint, what string
		auth                *mlops.Auth
		address             string
		find                func() (credential, error)
	}{
		{"mlflow.uri", stackfile.MLflow, "MLflow's credentials", &c.MLflowAuth, c.MLflowURI, func() (credential, error) { return c.mlflowCredential(stack), nil }},
		{"airflow.url", stackfile.Airflow, "Airflow's credentials", &c.AirflowAuth, c.AirflowURL, airflowCredential},
		{"ray.address", stackfile.Ray, "Ray's token", &c.RayAuth, c.RayAddress, func() (credential, error) { return rayCredential(c.RayAddress) }},
		{"evidently.url", stackfile.Evidently, "Evidently's secret", &c.EvidentlyAuth, c.EvidentlyURL, evidentlyCredential},
	} {
		ours := sameOrigin(t.address, stack.Endpoints[t.endpoint].URL)
		given := credential{*t.auth, fromCode}
		if t.auth.IsZero() {
			var err error
			if given, err = t.find(); err != nil {
				return err
			}
		}
		switch source := c.sources[t.key]; {
		case given.auth.IsZero() && ours && !hasUser(t.address):
			auth, err := stackAuth(stack.Endpoints[t.endpoint])
			if err != nil {
				return err
			}
			given.auth = auth
		case given.auth.IsZero() || ours:
		case source == fromDefault && given.from != fromCode:
			given.auth = mlops.Auth{}
		case source == project.path && !trustedHost(t.address, user):
			return untrusted(project.path, t.key, t.address, t.what+" ("+given.from+")")
		}
		if strings.HasPrefix(given.from, "MLOPS_MLFLOW_") {
			c.tool.RegistryAuth = given.auth // MLFLOW_REGISTRY_URI is the environment's, too
		}
		*t.auth = given.auth
		if t.endpoint == stackfile.Evidently && t.auth.Token != "" {
			t.auth.Header = "evidently-secret"
		}
	}
	return c.besides(stack, user, project)
}

// besides binds what goes along with an address without being in an Auth field.
func (c *Config) besides(stack stackfile.Stack, user, project file) error {
	foreign := func(key, address string) bool {
		return project.path != "" && c.sources[key] == project.path && !trustedHost(address, user)
	}
	if foreign("mlflow.uri", c.MLflowURI) && !sameOrigin(c.MLflowURI, stack.Endpoints[stackfile.MLflow].URL) {
		if c.tool.TLS.ClientCert != "" {
			return untrusted(project.path, "mlflow.uri", c.MLflowURI, "MLflow's client certificate (MLFLOW_TRACKING_CLIENT_CERT_PATH)")
		}
		c.bare = untrusted(project.path, "mlflow.uri", c.MLflowURI, "the credentials of S3 for the buckets that this server names")
	}
	if u, err := url.Parse(c.DVCRemote); err == nil && u.Scheme == "ssh" && os.Getenv("MLOPS_DVC_SSH_PASSWORD") != "" && foreign("dvc.remote", c.DVCRemote) {
		return untrusted(project.path, "dvc.remote", c.DVCRemote, "the password for SSH (MLOPS_DVC_SSH_PASSWORD)")
	}
	return nil
}

// untrusted is the error for an address that only a project's file names.
func untrusted(file, key, address, what string) error {
	u, err := url.Parse(address)
	if err != nil {
		return err
	}
	at := origin(u)
	return &mlops.Error{Kind: mlops.ErrForbidden, Message: fmt.Sprintf("%s would go to %s, which only %s names (%s): if you trust that server, run: export MLOPS_TRUST_HOSTS=%s",
		what, at, file, key, added("MLOPS_TRUST_HOSTS", ",", at))}
}

// mlflowCredential is MLOPS_*'s, else as MLflow has it: from the URL, its
// variables, the file ~/.mlflow/credentials. The file names no server; the
// running stack has credentials of its own.
func (c *Config) mlflowCredential(stack stackfile.Stack) credential {
	user, password, token := os.Getenv("MLOPS_MLFLOW_USERNAME"), os.Getenv("MLOPS_MLFLOW_PASSWORD"), os.Getenv("MLOPS_MLFLOW_TOKEN")
	set := envOf([]string{"MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_USERNAME"})
	switch {
	case token != "":
		return credential{mlops.Auth{Token: mlops.Secret(token)}, "MLOPS_MLFLOW_TOKEN"}
	case user != "" || password != "":
		return credential{mlops.Auth{
			Username: cmp.Or(user, os.Getenv("MLFLOW_TRACKING_USERNAME")),
			Password: mlops.Secret(cmp.Or(password, os.Getenv("MLFLOW_TRACKING_PASSWORD"))),
		}, "MLOPS_MLFLOW_PASSWORD"}
	case hasUser(c.MLflowURI):
		return credential{}
	case set != "" || !sameOrigin(c.MLflowURI, stack.Endpoints[stackfile.MLflow].URL):
		return credential{c.tool.Auth, cmp.Or(set, "~/.mlflow/credentials")}
	}
	return credential{}
}

func airflowCredential() (credential, error) {
	from := envOf([]string{"MLOPS_AIRFLOW_TOKEN", "MLOPS_AIRFLOW_PASSWORD", "MLOPS_AIRFLOW_USERNAME"})
	return credential{mlops.Auth{
		Username: os.Getenv("MLOPS_AIRFLOW_USERNAME"),
		Password: mlops.Secret(os.Getenv("MLOPS_AIRFLOW_PASSWORD")),
		Token:    mlops.Secret(os.Getenv("MLOPS_AIRFLOW_TOKEN")),
	}, from}, nil
}

func rayCredential(address string) (credential, error) {
	from := envOf([]string{"MLOPS_RAY_TOKEN", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"})
	if from != "RAY_AUTH_TOKEN_PATH" {
		return credential{mlops.Auth{Token: mlops.Secret(os.Getenv(from))}, from}, nil
	}
	token, err := stackfile.Endpoint{URL: address, SecretFile: os.Getenv(from)}.Secret()
	return credential{mlops.Auth{Token: token}, from}, err
}

func evidentlyCredential() (credential, error) {
	from := envOf([]string{"MLOPS_EVIDENTLY_SECRET", "EVIDENTLY_SECRET"})
	return credential{mlops.Auth{Token: mlops.Secret(os.Getenv(from))}, from}, nil
}

// stackAuth is what a server of the stack is shown.
func stackAuth(e stackfile.Endpoint) (mlops.Auth, error) {
	secret, err := e.Secret()
	if err != nil || e.Username == "" {
		return mlops.Auth{Token: secret}, err
	}
	return mlops.Auth{Username: e.Username, Password: secret}, nil
}

// hasUser reports whether an address has credentials in it.
func hasUser(address string) bool {
	u, err := url.Parse(address)
	return err == nil && u.User != nil
}

// withoutUser is an address as it may be shown, in the form that clients have.
func withoutUser(address string) string {
	return strings.TrimSuffix(publicURL(address), "/")
}
