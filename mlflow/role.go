package mlflow

import (
	"context"
	"iter"
	"net/url"
	"strconv"
)

// Role is a set of grants within a workspace, given to users together.
type Role struct {
	ID          int64            `json:"id"`
	Name        string           `json:"name"`
	Workspace   string           `json:"workspace"` // "default" on a server without workspaces
	Description string           `json:"description"`
	Permissions []RolePermission `json:"permissions"`
}

// RolePermission is one grant of a role.
type RolePermission struct {
	ID         int64      `json:"id"`
	RoleID     int64      `json:"role_id"`
	Type       string     `json:"resource_type"`
	Pattern    string     `json:"resource_pattern"` // an ID, or "*"
	Permission Permission `json:"permission"`
}

// Assignment says that a user has a role.
type Assignment struct {
	ID     int64 `json:"id"`
	UserID int64 `json:"user_id"`
	RoleID int64 `json:"role_id"`
}

type roleReply struct {
	Role Role `json:"role"`
}

type rolesReply struct {
	Roles []Role `json:"roles"`
}

type rolePermissionReply struct {
	Permission RolePermission `json:"role_permission"`
}

func roleQuery(id int64) url.Values { return url.Values{"role_id": {strconv.FormatInt(id, 10)}} }

// Create makes a role without grants. The error matches
// [mlops.ErrAlreadyExists] if the workspace has one of that name.
//
// MLflow REST: POST /api/3.0/mlflow/roles/create
func (s RolesService) Create(ctx context.Context, workspace, name, description string) (Role, error) {
	body := map[string]string{"workspace": workspace, "name": name}
	if description != "" {
		body["description"] = description
	}
	return onceNamed(ctx, s.c, func() (Role, error) {
		out, err := sendOnce3[roleReply](ctx, s.c, "Roles.Create", "POST", "roles/create", body)
		return out.Role, err
	}, func() (Role, bool, error) {
		return firstOf(s.All(ctx, workspace), func(r Role) bool { return r.Name == name })
	})
}

// Get returns a role with its grants.
//
// MLflow REST: GET /api/3.0/mlflow/roles/get
func (s RolesService) Get(ctx context.Context, id int64) (Role, error) {
	out, err := get3[roleReply](ctx, s.c, "Roles.Get", "roles/get", roleQuery(id))
	return out.Role, err
}

// All lists the roles of workspaces, or all if none is named, which only
// administrators may ask.
//
// MLflow REST: GET /api/3.0/mlflow/roles/list
func (s RolesService) All(ctx context.Context, workspaces ...string) iter.Seq2[Role, error] {
	return pages(func(string) ([]Role, string, error) {
		q := url.Values{}
		if len(workspaces) > 0 {
			q["workspace"] = workspaces
		}
		out, err := get3[rolesReply](ctx, s.c, "Roles.All", "roles/list", q)
		return out.Roles, "", err
	})
}

// Update changes the name or the description of a role; an empty text leaves
// it as it is.
//
// MLflow REST: PATCH /api/3.0/mlflow/roles/update
func (s RolesService) Update(ctx context.Context, id int64, name, description string) (Role, error) {
	body := struct {
		ID          int64  `json:"role_id"`
		Name        string `json:"name,omitempty"`
		Description string `json:"description,omitempty"`
	}{id, name, description}
	out, err := send3[roleReply](ctx, s.c, "Roles.Update", "PATCH", "roles/update", body)
	return out.Role, err
}

// Delete deletes a role; its users lose what it gave.
//
// MLflow REST: DELETE /api/3.0/mlflow/roles/delete
func (s RolesService) Delete(ctx context.Context, id int64) error {
	return remove3(ctx, s.c, "Roles.Delete", "roles/delete", map[string]int64{"role_id": id})
}

// AddPermission adds a grant to a role. The error matches
// [mlops.ErrAlreadyExists] if the role has one on the same thing.
//
// MLflow REST: POST /api/3.0/mlflow/roles/permissions/add
func (s RolesService) AddPermission(ctx context.Context, roleID int64, g Grant) (RolePermission, error) {
	return onceNamed(ctx, s.c, func() (RolePermission, error) {
		out, err := sendOnce3[rolePermissionReply](ctx, s.c, "Roles.AddPermission", "POST", "roles/permissions/add",
			map[string]any{"role_id": roleID, "resource_type": g.Type, "resource_pattern": g.ID, "permission": g.Permission})
		return out.Permission, err
	}, func() (RolePermission, bool, error) {
		return firstOf(s.Permissions(ctx, roleID), func(p RolePermission) bool {
			return p.Type == g.Type && p.Pattern == g.ID && p.Permission == g.Permission
		})
	})
}

// Permissions lists the grants of a role.
//
// MLflow REST: GET /api/3.0/mlflow/roles/permissions/list
func (s RolesService) Permissions(ctx context.Context, roleID int64) iter.Seq2[RolePermission, error] {
	return pages(func(string) ([]RolePermission, string, error) {
		out, err := get3[struct {
			Permissions []RolePermission `json:"role_permissions"`
		}](ctx, s.c, "Roles.Permissions", "roles/permissions/list", roleQuery(roleID))
		return out.Permissions, "", err
	})
}

// UpdatePermission changes what a grant of a role permits.
//
// MLflow REST: PATCH /api/3.0/mlflow/roles/permissions/update
func (s RolesService) UpdatePermission(ctx context.Context, id int64, permission Permission) (RolePermission, error) {
	out, err := send3[rolePermissionReply](ctx, s.c, "Roles.UpdatePermission", "PATCH", "roles/permissions/update",
		map[string]any{"role_permission_id": id, "permission": permission})
	return out.Permission, err
}

// RemovePermission removes a grant from its role.
//
// MLflow REST: DELETE /api/3.0/mlflow/roles/permissions/remove
func (s RolesService) RemovePermission(ctx context.Context, id int64) error {
	return remove3(ctx, s.c, "Roles.RemovePermission", "roles/permissions/remove", map[string]int64{"role_permission_id": id})
}

// Assign gives a role to a user. The error matches [mlops.ErrAlreadyExists]
// if the user has it.
//
// MLflow REST: POST /api/3.0/mlflow/roles/assign
func (s RolesService) Assign(ctx context.Context, user string, roleID int64) (Assignment, error) {
	return onceNamed(ctx, s.c, func() (Assignment, error) {
		out, err := sendOnce3[struct{ Assignment Assignment }](ctx, s.c, "Roles.Assign", "POST", "roles/assign", map[string]any{"username": user, "role_id": roleID})
		return out.Assignment, err
	}, func() (Assignment, bool, error) {
		u, err := UsersService(s).Get(ctx, user)
		if err != nil {
			return Assignment{}, false, err
		}
		return firstOf(s.Assignments(ctx, roleID), func(a Assignment) bool { return a.UserID == u.ID })
	})
}

// Unassign takes a role from a user.
//
// MLflow REST: DELETE /api/3.0/mlflow/roles/unassign
func (s RolesService) Unassign(ctx context.Context, user string, roleID int64) error {
	return remove3(ctx, s.c, "Roles.Unassign", "roles/unassign", map[string]any{"username": user, "role_id": roleID})
}

// OfUser lists the roles of a user.
//
// MLflow REST: GET /api/3.0/mlflow/users/roles/list
func (s RolesService) OfUser(ctx context.Context, user string) iter.Seq2[Role, error] {
	return pages(func(string) ([]Role, string, error) {
		out, err := get3[rolesReply](ctx, s.c, "Roles.OfUser", "users/roles/list", url.Values{"username": {user}})
		return out.Roles, "", err
	})
}

// Assignments lists who has a role.
//
// MLflow REST: GET /api/3.0/mlflow/roles/users/list
func (s RolesService) Assignments(ctx context.Context, roleID int64) iter.Seq2[Assignment, error] {
	return pages(func(string) ([]Assignment, string, error) {
		out, err := get3[struct {
			Assignments []Assignment `json:"assignments"`
		}](ctx, s.c, "Roles.Assignments", "roles/users/list", roleQuery(roleID))
		return out.Assignments, "", err
	})
}
