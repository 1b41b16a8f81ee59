package compose

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/atomicfile"
)

// Workplace is how Airflow's tasks see a project of this machine.
type Workplace struct {
	Project string // the project's folder; tasks may not be able to write to it
	Work    string // a folder for what a task leaves for the next one
	Python  string // an interpreter with scikit-learn: the environment "train"
}

// Projects is the folder below which projects must lie for Airflow's tasks to
// see them; it is empty if they see the whole machine.
func (s *Stack) Projects() (string, error) {
	r, err := s.carrier()
	if err != nil {
		return "", err
	}
	return r.projects(), nil
}

// Workplace returns how tasks see the project in dir, an absolute path. The
// error matches [mlops.ErrInvalid] if they do not.
func (s *Stack) Workplace(dir string) (Workplace, error) {
	r, err := s.carrier()
	if err != nil {
		return Workplace{}, err
	}
	return r.workplace(dir)
}

func (s processes) projects() string { return "" }

func (s processes) workplace(dir string) (Workplace, error) {
	return Workplace{Project: dir, Work: filepath.Join(dir, "out"), Python: pythons(s.home)["train"]}, nil
}

func (d *docker) workplace(dir string) (Workplace, error) {
	rel, err := filepath.Rel(d.projects(), dir)
	if err != nil || !filepath.IsLocal(rel) {
		return Workplace{}, &mlops.Error{Kind: mlops.ErrInvalid, Service: "compose",
			Message: fmt.Sprintf("tasks in containers see only the projects in %s, and not %s; move it, or name the folder: MLOPS_PROJECTS=%s mlopsctl start", d.projects(), dir, quoted(filepath.Dir(dir)))}
	}
	rel = filepath.ToSlash(rel)
	return Workplace{Project: path.Join("/projects", rel), Work: path.Join("/opt/airflow/work", rel), Python: "/opt/train/bin/python"}, nil
}

// projects is the folder that the workers see as /projects.
func (d *docker) projects() string {
	if own := os.Getenv("MLOPS_PROJECTS"); own != "" {
		if abs, err := filepath.Abs(own); err == nil {
			return abs
		}
	}
	if d.record.Projects != "" {
		return d.record.Projects
	}
	return filepath.Join(d.home, "projects")
}

// makeProjects makes that folder if it is not there; the user inside, who is
// another, has to enter it.
func (d *docker) makeProjects() error {
	if _, err := os.Stat(d.projects()); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return errors.Join(os.MkdirAll(d.projects(), 0o755), os.Chmod(d.projects(), 0o755))
}

// s3Login is the file of credentials, in the form of the AWS tools, with which
// programs of this machine reach the stack's S3 store.
func (d *docker) s3Login() string { return filepath.Join(d.home, "secrets", "s3.aws") }

func (d *docker) placeS3Login(here *site) error {
	secret, _, err := here.secret("s3")
	if err != nil {
		return err
	}
	return atomicfile.Write(d.s3Login(), fmt.Appendf(nil, "[mlops]\naws_access_key_id = mlops\naws_secret_access_key = %s\n", string(secret)), 0o600)
}

// dvcOptions are what a DVC remote in that store needs beside its URL.
func (d *docker) dvcOptions() map[string]string {
	return map[string]string{
		"endpointurl": fmt.Sprintf("http://127.0.0.1:%d", d.record.Ports["s3/http"]), "region": "us-east-1",
		"credentialpath": d.s3Login(), "profile": "mlops",
	}
}
