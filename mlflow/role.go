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
	ID         int64  `json:"id"`
	RoleID     int64  `json:"role_id"`
	Type       string `json:"resource_type"`
	Pattern    string `json:"resource_pattern"` // an ID, or "*"
	Permission string `json:"permission"`
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

// CreateRole makes a role without grants. The error matches
// [mlops.ErrAlreadyExists] if the workspace has one of that name.
//
// MLflow REST: POST /api/3.0/mlflow/roles/create
func (c *Client) CreateRole(ctx context.Context, workspace, name, description string) (Role, error) {
	body := map[string]string{"workspace": workspace, "name": name}
	if description != "" {
		body["description"] = description
	}
	return once(ctx, c, func() (Role, error) {
		out, err := sendOnce3[roleReply](ctx, c, "CreateRole", "POST", "roles/create", body)
		return out.Role, err
	}, func() (Role, bool, error) {
		return firstOf(c.Roles(ctx, workspace), func(r Role) bool { return r.Name == name })
	})
}

// Role returns a role with its grants.
//
// MLflow REST: GET /api/3.0/mlflow/roles/get
func (c *Client) Role(ctx context.Context, id int64) (Role, error) {
	out, err := get3[roleReply](ctx, c, "Role", "roles/get", roleQuery(id))
	return out.Role, err
}

// Roles lists the roles of workspaces, or all if none is named, which only
// administrators may ask.
//
// MLflow REST: GET /api/3.0/mlflow/roles/list
func (c *Client) Roles(ctx context.Context, workspaces ...string) iter.Seq2[Role, error] {
	return pages(func(string) ([]Role, string, error) {
		q := url.Values{}
		if len(workspaces) > 0 {
			q["workspace"] = workspaces
		}
		out, err := get3[rolesReply](ctx, c, "Roles", "roles/list", q)
		return out.Roles, "", err
	})
}

// UpdateRole changes the name or the description of a role; an empty text leaves
// it as it is.
//
// MLflow REST: PATCH /api/3.0/mlflow/roles/update
func (c *Client) UpdateRole(ctx context.Context, id int64, name, description string) (Role, error) {
	body := struct {
		ID          int64  `json:"role_id"`
		Name        string `json:"name,omitempty"`
		Description string `json:"description,omitempty"`
	}{id, name, description}
	out, err := send3[roleReply](ctx, c, "UpdateRole", "PATCH", "roles/update", body)
	return out.Role, err
}

// DeleteRole deletes a role; its users lose what it gave.
//
// MLflow REST: DELETE /api/3.0/mlflow/roles/delete
func (c *Client) DeleteRole(ctx context.Context, id int64) error {
	return c.remove3(ctx, "DeleteRole", "roles/delete", map[string]int64{"role_id": id})
}

// AddRolePermission adds a grant to a role. The error matches
// [mlops.ErrAlreadyExists] if the role has one on the same thing.
//
// MLflow REST: POST /api/3.0/mlflow/roles/permissions/add
func (c *Client) AddRolePermission(ctx context.Context, roleID int64, g Grant) (RolePermission, error) {
	return once(ctx, c, func() (RolePermission, error) {
		out, err := sendOnce3[rolePermissionReply](ctx, c, "AddRolePermission", "POST", "roles/permissions/add",
			map[string]any{"role_id": roleID, "resource_type": g.Type, "resource_pattern": g.ID, "permission": g.Permission})
		return out.Permission, err
	}, func() (RolePermission, bool, error) {
		return firstOf(c.RolePermissions(ctx, roleID), func(p RolePermission) bool {
			return p.Type == g.Type && p.Pattern == g.ID && p.Permission == g.Permission
		})
	})
}

// RolePermissions lists the grants of a role.
//
// MLflow REST: GET /api/3.0/mlflow/roles/permissions/list
func (c *Client) RolePermissions(ctx context.Context, roleID int64) iter.Seq2[RolePermission, error] {
	return pages(func(string) ([]RolePermission, string, error) {
		out, err := get3[struct {
			Permissions []RolePermission `json:"role_permissions"`
		}](ctx, c, "RolePermissions", "roles/permissions/list", roleQuery(roleID))
		return out.Permissions, "", err
	})
}

// UpdateRolePermission changes what a grant of a role permits.
//
// MLflow REST: PATCH /api/3.0/mlflow/roles/permissions/update
func (c *Client) UpdateRolePermission(ctx context.Context, id int64, permission string) (RolePermission, error) {
	out, err := send3[rolePermissionReply](ctx, c, "UpdateRolePermission", "PATCH", "roles/permissions/update",
		map[string]any{"role_permission_id": id, "permission": permission})
	return out.Permission, err
}

// RemoveRolePermission removes a grant from its role.
//
// MLflow REST: DELETE /api/3.0/mlflow/roles/permissions/remove
func (c *Client) RemoveRolePermission(ctx context.Context, id int64) error {
	return c.remove3(ctx, "RemoveRolePermission", "roles/permissions/remove", map[string]int64{"role_permission_id": id})
}

// AssignRole gives a role to a user. The error matches [mlops.ErrAlreadyExists]
// if the user has it.
//
// MLflow REST: POST /api/3.0/mlflow/roles/assign
func (c *Client) AssignRole(ctx context.Context, user string, roleID int64) (Assignment, error) {
	return once(ctx, c, func() (Assignment, error) {
		out, err := sendOnce3[struct{ Assignment Assignment }](ctx, c, "AssignRole", "POST", "roles/assign", map[string]any{"username": user, "role_id": roleID})
		return out.Assignment, err
	}, func() (Assignment, bool, error) {
		u, err := c.User(ctx, user)
		if err != nil {
			return Assignment{}, false, err
		}
		return firstOf(c.RoleUsers(ctx, roleID), func(a Assignment) bool { return a.UserID == u.ID })
	})
}

// UnassignRole takes a role from a user.
//
// MLflow REST: DELETE /api/3.0/mlflow/roles/unassign
func (c *Client) UnassignRole(ctx context.Context, user string, roleID int64) error {
	return c.remove3(ctx, "UnassignRole", "roles/unassign", map[string]any{"username": user, "role_id": roleID})
}

// UserRoles lists the roles of a user.
//
// MLflow REST: GET /api/3.0/mlflow/users/roles/list
func (c *Client) UserRoles(ctx context.Context, user string) iter.Seq2[Role, error] {
	return pages(func(string) ([]Role, string, error) {
		out, err := get3[rolesReply](ctx, c, "UserRoles", "users/roles/list", url.Values{"username": {user}})
		return out.Roles, "", err
	})
}

// RoleUsers lists who has a role.
//
// MLflow REST: GET /api/3.0/mlflow/roles/users/list
func (c *Client) RoleUsers(ctx context.Context, roleID int64) iter.Seq2[Assignment, error] {
	return pages(func(string) ([]Assignment, string, error) {
		out, err := get3[struct {
			Assignments []Assignment `json:"assignments"`
		}](ctx, c, "RoleUsers", "roles/users/list", roleQuery(roleID))
		return out.Assignments, "", err
	})
}
