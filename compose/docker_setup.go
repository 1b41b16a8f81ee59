package compose

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strings"
	"time"

	"github.com/mlops-integration/mlops"
)

// dockerFiles is what "docker compose" needs, with the locks above.
//
//go:embed .dockerignore docker/Dockerfile docker/compose.yaml docker/twin.yaml docker/init.sh docker/bin/README docker/parts
var dockerFiles embed.FS

// targets are the images that are built from the Dockerfile, in its order:
// without BuildKit, all before the wanted one are built too.
var targets = []string{"s3", "mlflow", "evidently", "airflow", "ray"}

// imageVariables name the image of each target in compose.yaml.
var imageVariables = map[string]string{
	"s3": "MLOPS_IMAGE_S3_OURS", "mlflow": "MLOPS_IMAGE_MLFLOW", "evidently": "MLOPS_IMAGE_EVIDENTLY",
	"airflow": "MLOPS_IMAGE_AIRFLOW", "ray": "MLOPS_IMAGE_RAY",
}

// targetOf is the image that a service runs, empty for one that is pulled.
func targetOf(v service) string {
	switch {
	case v.group != "":
		return v.group
	case slices.Contains(targets, v.name):
		return v.name
	}
	return ""
}

// tags names the images by what they are made of, so that another mlopsctl
// builds its own, and stacks of one version share theirs. An image that the
// user names in the environment is his.
func (d *docker) tags() (map[string]string, error) {
	h := sha256.New()
	err := walkDockerFiles(func(name string, b []byte) error {
		fmt.Fprintf(h, "%s %d\n", name, len(b))
		h.Write(b)
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, v := range []string{"MLOPS_IMAGE_DEBIAN", "MLOPS_IMAGE_S3"} {
		fmt.Fprintf(h, "%s=%s\n", v, os.Getenv(v))
	}
	sum := hex.EncodeToString(h.Sum(nil)[:6])
	out := map[string]string{}
	for _, t := range targets {
		if own := os.Getenv(imageVariables[t]); own != "" {
			out[t] = own
			continue
		}
		out[t] = "mlops/" + t + ":" + sum
		if t != "airflow" {
			continue
		}
		file := d.inside()
		if info, err := os.Stat(file); err == nil { // it holds mlopsctl
			own := sha256.Sum256(fmt.Appendf(nil, "%s %d %d", file, info.Size(), info.ModTime().UnixNano()))
			out[t] += "-" + hex.EncodeToString(own[:4])
		}
	}
	return out, nil
}

// walkDockerFiles calls do for each embedded file of the build context.
func walkDockerFiles(do func(name string, content []byte) error) error {
	for _, in := range []embed.FS{dockerFiles, locks} {
		err := fs.WalkDir(in, ".", func(name string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			b, err := in.ReadFile(name)
			if err != nil {
				return err
			}
			return do(name, b)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// writeFiles lays out the build context and compose.yaml, the secrets and the
// folders that containers see.
func (d *docker) writeFiles() error {
	if err := makeHome(d.home); err != nil {
		return err
	}
	err := walkDockerFiles(func(name string, b []byte) error {
		file := filepath.Join(d.files(), name)
		if old, err := os.ReadFile(file); err == nil && string(old) == string(b) {
			return nil
		}
		mode := os.FileMode(0o644)
		if strings.HasSuffix(name, ".sh") {
			mode = 0o755
		}
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		return os.WriteFile(file, b, mode)
	})
	if err != nil {
		return err
	}
	here := d.siteOf(nil, false, nil)
	here.looks = false
	if err := os.MkdirAll(d.secrets(), 0o700); err != nil {
		return err
	}
	for _, name := range dockerSecrets {
		secret, _, err := here.secret(name)
		if err != nil {
			return err
		}
		file := filepath.Join(d.secrets(), name)
		if b, err := os.ReadFile(file); err == nil && string(b) == string(secret) {
			continue // a mounted file must stay the same file
		}
		if err := errors.Join(os.WriteFile(file, []byte(secret), 0o444), os.Chmod(file, 0o444)); err != nil {
			return err
		}
	}
	if err := errors.Join(os.MkdirAll(serveDir(here), 0o700), d.placeS3Login(here)); err != nil {
		return err
	}
	dags := dagsFolder(here)
	return errors.Join(d.makeProjects(), os.MkdirAll(dags, 0o755), os.Chmod(dags, 0o755)) // Airflow's user inside is another
}

func (d *docker) setup(ctx context.Context) error { return d.makeImages(ctx, d.services(false)) }

// makeImages writes the files and builds and pulls the images that the services
// need and the engine does not have.
func (d *docker) makeImages(ctx context.Context, want []service) error {
	if err := makeHome(d.home); err != nil {
		return err
	}
	free, err := lockFile(ctx, filepath.Join(d.original(), "setup.lock"), func() {
		d.tell(Event{State: StateWaiting, Message: "another setup is running; waiting for it"})
	})
	if err != nil {
		return err
	}
	defer free()
	if err := d.writeFiles(); err != nil {
		return err
	}
	tags, err := d.tags()
	if err != nil {
		return err
	}
	wanted := map[string]bool{}
	pulled := map[string]string{"postgres": "postgres:15-bookworm", "redis": "redis:7-bookworm"}
	for _, v := range want {
		if t := targetOf(v); t != "" {
			wanted[t] = true
		} else if err := d.pull(ctx, v.name, pulled[v.name]); err != nil {
			return err
		}
	}
	for _, t := range targets {
		if !wanted[t] || d.has(ctx, tags[t]) {
			continue
		}
		if os.Getenv(imageVariables[t]) != "" {
			if err := d.pull(ctx, t, tags[t]); err != nil {
				return err
			}
			continue
		}
		if err := d.build(ctx, t, tags[t]); err != nil {
			return err
		}
	}
	return nil
}

// has reports whether the engine has an image.
func (d *docker) has(ctx context.Context, image string) bool {
	_, err := d.docker(ctx, nil, "image", "inspect", "--format", "{{.Id}}", image)
	return err == nil
}

func (d *docker) pull(ctx context.Context, service, image string) error {
	if own := os.Getenv("MLOPS_IMAGE_" + strings.ToUpper(service)); own != "" {
		image = own
	}
	if d.has(ctx, image) {
		return nil
	}
	d.tell(Event{Service: service, State: StatePreparing, Message: "pulling " + image})
	_, err := d.docker(ctx, func(line string) { d.tell(Event{Service: service, State: StatePreparing, Message: line}) }, "pull", image)
	return err
}

// build makes the image of a target and tells each step.
func (d *docker) build(ctx context.Context, target, tag string) error {
	began := time.Now()
	d.tell(Event{Service: target, State: StatePreparing, Message: "building " + tag})
	if target == "airflow" {
		if err := d.placeCommand(); err != nil {
			return err
		}
	}
	args := []string{"build", "--target", target, "--tag", tag, "--file", filepath.Join(d.files(), "docker", "Dockerfile")}
	for _, v := range []string{"IMAGE_DEBIAN", "IMAGE_S3"} {
		if own := os.Getenv("MLOPS_" + v); own != "" {
			args = append(args, "--build-arg", v+"="+own)
		}
	}
	if network := os.Getenv("MLOPS_BUILD_NETWORK"); network != "" {
		args = append(args, "--network", network)
	}
	steps := func(line string) {
		if strings.HasPrefix(line, "Step ") || strings.HasPrefix(line, "#") && strings.Contains(line, "[") {
			d.tell(Event{Service: target, State: StatePreparing, Message: line[:min(len(line), 120)]})
		}
	}
	if _, err := d.docker(ctx, steps, append(args, d.files())...); err != nil {
		return fmt.Errorf("compose: build %s: %w", tag, err)
	}
	d.tell(Event{Service: target, State: StateReady, Message: fmt.Sprintf("built in %.0f s", time.Since(began).Seconds())})
	return nil
}

// inside is the mlopsctl that Airflow's image holds for its tasks; empty if
// there is none that runs there.
func (d *docker) inside() string {
	file := d.command
	if goruntime.GOOS != "linux" {
		file = os.Getenv("MLOPS_LINUX_COMMAND")
	}
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	return file
}

// placeCommand puts mlopsctl into the build context, for the tasks of Airflow.
func (d *docker) placeCommand() error {
	from := d.inside()
	to := filepath.Join(d.files(), "docker", "bin", "mlopsctl")
	if from == "" {
		d.tell(Event{Service: "airflow", State: StatePreparing, Message: "without mlopsctl, which tasks could call: name one built for Linux in MLOPS_LINUX_COMMAND"})
		err := os.Remove(to)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	b, err := os.ReadFile(from)
	if err != nil {
		return &mlops.Error{Kind: mlops.ErrNotFound, Service: "compose", Cause: err, Message: "the mlopsctl that Airflow's tasks call cannot be read: " + from}
	}
	return os.WriteFile(to, b, 0o755)
}
