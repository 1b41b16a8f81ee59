package evidently

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/transport"
)

// Project is where the UI service keeps snapshots. Names need not be unique.
type Project struct {
	ID          string `json:"id"`
	Name        string `json:"name"`
	Description string `json:"description"`
	CreatedAt   Time   `json:"created_at"`
	Version     string `json:"version"` // of the project's form: "2" since Evidently 0.7
}

// ProjectOptions are what a new project may have besides its name.
type ProjectOptions struct {
	Description string
}

// CreateProject makes a project, even if there is one of that name already:
// see EnsureProject. The project's ID is made here, as Evidently's own SDK makes
// it, so that an answer that is lost does not lead to a second project.
//
// Evidently REST: POST /api/v2/projects
func (c *Client) CreateProject(ctx context.Context, name string, opt ProjectOptions) (Project, error) {
	const op = "CreateProject"
	if strings.TrimSpace(name) == "" {
		return Project{}, invalid(op, "a project needs a name")
	}
	uid := newID()
	return transport.Once(ctx, c.t, func() (Project, error) {
		id, err := transport.Do[string](ctx, c.t, transport.Call{
			Op:     op,
			Method: "POST",
			Path:   "/api/v2/projects",
			Body: struct {
				ID          string `json:"id"`
				Name        string `json:"name"`
				Description string `json:"description,omitempty"`
				Version     string `json:"version"` // without it the service writes "1"; its own SDK sends "2"
			}{uid, name, opt.Description, "2"},
		})
		if err != nil {
			return Project{}, err
		}
		return c.Project(ctx, id)
	}, func() (Project, error) { return c.Project(ctx, uid) })
}

// EnsureProject returns the project of that name and creates it if there is
// none. Callers that do so at once get the same project.
func (c *Client) EnsureProject(ctx context.Context, name string) (Project, error) {
	p, err := c.ProjectByName(ctx, name)
	if !errors.Is(err, mlops.ErrNotFound) {
		return p, err
	}
	made, err := c.CreateProject(ctx, name, ProjectOptions{})
	if err != nil {
		return Project{}, err
	}
	first, err := c.ProjectByName(ctx, name)
	if err != nil || first.ID == made.ID {
		return first, err
	}
	return first, c.DeleteProject(ctx, made.ID) // another caller was earlier
}

// Project returns the project with that ID.
//
// The error matches [mlops.ErrNotFound] if there is none.
//
// Evidently REST: GET /api/projects/{id}/info
func (c *Client) Project(ctx context.Context, id string) (Project, error) {
	const op = "Project"
	path, err := segment(op, "project", id)
	if err != nil {
		return Project{}, err
	}
	return transport.Do[Project](ctx, c.t, transport.Call{
		Op:         op,
		Method:     "GET",
		Path:       "/api/projects" + path + "/info",
		Idempotent: true,
	})
}

// ProjectByName returns the project with exactly that name, the oldest if
// there are several.
//
// The error matches [mlops.ErrNotFound] if there is none.
//
// It reads the list of projects: the service's own search answers 404 for a
// name with a slash.
func (c *Client) ProjectByName(ctx context.Context, name string) (Project, error) {
	all, err := c.projects(ctx, "ProjectByName")
	if err != nil {
		return Project{}, err
	}
	all = slices.DeleteFunc(all, func(p Project) bool { return p.Name != name })
	if len(all) == 0 {
		return Project{}, &mlops.Error{Kind: mlops.ErrNotFound, Service: service, Op: "ProjectByName", Message: fmt.Sprintf("there is no project %q", name)}
	}
	return slices.MinFunc(all, func(a, b Project) int {
		if n := a.CreatedAt.Compare(b.CreatedAt.Time); n != 0 {
			return n
		}
		return strings.Compare(a.ID, b.ID)
	}), nil
}

// Projects lists all projects that the service shows.
//
// Evidently REST: GET /api/projects
func (c *Client) Projects(ctx context.Context) iter.Seq2[Project, error] {
	return sequence(func() ([]Project, error) { return c.projects(ctx, "Projects") })
}

func (c *Client) projects(ctx context.Context, op string) ([]Project, error) {
	return transport.Do[[]Project](ctx, c.t, transport.Call{
		Op:         op,
		Method:     "GET",
		Path:       "/api/projects",
		Idempotent: true,
	})
}

// newID makes a UUID of version 7, as Evidently's SDK does: it sorts by time.
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[6:]) // never fails
	binary.BigEndian.PutUint64(b[:8], uint64(time.Now().UnixMilli())<<16|uint64(binary.BigEndian.Uint16(b[6:8])))
	b[6], b[8] = b[6]&0x0f|0x70, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// DeleteProject removes a project with its snapshots. The service does not say
// whether there was one.
//
// Evidently REST: DELETE /api/projects/{id}
func (c *Client) DeleteProject(ctx context.Context, id string) error {
	const op = "DeleteProject"
	path, err := segment(op, "project", id)
	if err != nil {
		return err
	}
	_, err = transport.Do[transport.None](ctx, c.t, transport.Call{
		Op:         op,
		Method:     "DELETE",
		Path:       "/api/projects" + path,
		Idempotent: true,
	})
	return err
}

// sequence lists what one request answers.
func sequence[T any](get func() ([]T, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		all, err := get()
		if err != nil {
			yield(*new(T), err)
			return
		}
		for _, v := range all {
			if !yield(v, nil) {
				return
			}
		}
	}
}
