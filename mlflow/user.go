package mlflow

import (
	"context"
	"iter"
	"net/url"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/transport"
)

// The calls of this file and of role.go are those of MLflow's basic-auth app.
// A server without it answers them with an error that matches
// [mlops.ErrUnsupported]; most are for administrators alone.

// User is somebody who may log in.
type User struct {
	ID    int64  `json:"id"`
	Name  string `json:"username"`
	Admin bool   `json:"is_admin"`
	Roles []Role `json:"roles"` // told by [Client.Users] alone
}

type userReply struct {
	User User `json:"user"`
}

// CreateUser makes a user, who may see what the server grants to all. MLflow
// wants passwords of 12 characters and more. The error matches
// [mlops.ErrAlreadyExists] if the name is taken.
//
// MLflow REST: POST /api/2.0/mlflow/users/create
func (c *Client) CreateUser(ctx context.Context, name string, password mlops.Secret) (User, error) {
	return once(ctx, c, func() (User, error) {
		out, err := sendOnce[userReply](ctx, c, "CreateUser", "POST", "users/create", map[string]string{"username": name, "password": string(password)})
		return out.User, err
	}, func() (User, bool, error) { return found(c.User(ctx, name)) })
}

// User returns a user by name.
//
// MLflow REST: GET /api/2.0/mlflow/users/get
func (c *Client) User(ctx context.Context, name string) (User, error) {
	out, err := get[userReply](ctx, c, "User", "users/get", url.Values{"username": {name}})
	return out.User, err
}

// CurrentUser returns the user that the client's credentials belong to.
//
// MLflow REST: GET /api/2.0/mlflow/users/current
func (c *Client) CurrentUser(ctx context.Context) (User, error) {
	out, err := get[userReply](ctx, c, "CurrentUser", "users/current", nil)
	return out.User, err
}

// Users lists all users with their roles.
//
// MLflow REST: GET /api/2.0/mlflow/users/list
func (c *Client) Users(ctx context.Context) iter.Seq2[User, error] {
	return pages(func(string) ([]User, string, error) {
		out, err := get[struct {
			Users []User `json:"users"`
		}](ctx, c, "Users", "users/list", nil)
		return out.Users, "", err
	})
}

// SetPassword gives a user another password. Who changes their own tells the
// current one too; administrators leave it empty. The server remembers
// credentials for a short time, in which the old ones may still be good.
//
// MLflow REST: PATCH /api/2.0/mlflow/users/update-password
func (c *Client) SetPassword(ctx context.Context, name string, password, current mlops.Secret) error {
	body := map[string]string{"username": name, "password": string(password)}
	if current != "" {
		body["current_password"] = string(current)
	}
	_, err := sendOnce[transport.None](ctx, c, "SetPassword", "PATCH", "users/update-password", body)
	return err
}

// SetAdmin makes a user an administrator, or no longer one.
//
// MLflow REST: PATCH /api/2.0/mlflow/users/update-admin
func (c *Client) SetAdmin(ctx context.Context, name string, admin bool) error {
	_, err := send[transport.None](ctx, c, "SetAdmin", "PATCH", "users/update-admin", map[string]any{"username": name, "is_admin": admin})
	return err
}

// DeleteUser deletes a user. Nobody deletes themselves.
//
// MLflow REST: DELETE /api/2.0/mlflow/users/delete
func (c *Client) DeleteUser(ctx context.Context, name string) error {
	return c.remove(ctx, func() error {
		_, err := sendOnce[transport.None](ctx, c, "DeleteUser", "DELETE", "users/delete", map[string]string{"username": name})
		return err
	})
}

// What may be permitted. Each includes those before it, but Deny, which takes
// away what another grant gives.
const (
	CanRead   = "READ"
	CanUse    = "USE"
	CanEdit   = "EDIT"
	CanManage = "MANAGE"
	Deny      = "DENY"
	CanNot    = "NO_PERMISSIONS"
)

// Grant is a permission on a thing.
type Grant struct {
	Type       string // "experiment", "registered_model", "prompt", "scorer", "workspace", …
	ID         string // of the thing: an experiment's ID, a model's name; "*" in a role: all of the type
	Permission string // CanRead, CanUse, CanEdit, CanManage, Deny
}

// GrantPermission permits one thing to one user, in place of what was granted
// on it before.
//
// MLflow REST: POST /api/3.0/mlflow/users/permissions/grant
func (c *Client) GrantPermission(ctx context.Context, user string, g Grant) error {
	_, err := once(ctx, c, func() (transport.None, error) {
		return sendOnce3[transport.None](ctx, c, "GrantPermission", "POST", "users/permissions/grant",
			map[string]string{"username": user, "resource_type": g.Type, "resource_id": g.ID, "permission": g.Permission})
	}, func() (transport.None, bool, error) {
		_, there, err := firstOf(c.UserPermissions(ctx, user), func(p UserPermission) bool {
			return p.Type == g.Type && p.Pattern == g.ID && p.Permission == g.Permission
		})
		return transport.None{}, there, err
	})
	return err
}

// RevokePermission takes back a [Client.GrantPermission]. What roles give stays.
//
// MLflow REST: POST /api/3.0/mlflow/users/permissions/revoke
func (c *Client) RevokePermission(ctx context.Context, user, typ, id string) error {
	return c.remove(ctx, func() error {
		_, err := sendOnce3[transport.None](ctx, c, "RevokePermission", "POST", "users/permissions/revoke",
			map[string]string{"username": user, "resource_type": typ, "resource_id": id})
		return err
	})
}

// Permission returns what a user may do with a thing, all grants, roles and
// defaults taken together: CanRead, CanUse, CanEdit, CanManage, Deny or CanNot.
// A thing that is not there is no error.
//
// MLflow REST: GET /api/3.0/mlflow/users/permissions/get
func (c *Client) Permission(ctx context.Context, user, typ, id string) (string, error) {
	out, err := get3[struct {
		Permission string `json:"permission"`
	}](ctx, c, "Permission", "users/permissions/get", url.Values{"username": {user}, "resource_type": {typ}, "resource_id": {id}})
	return out.Permission, err
}

// UserPermission is a grant that a user has by a role. What was granted to the
// user alone hangs on a role of their own, "__user_7__".
type UserPermission struct {
	RoleID     int64  `json:"role_id"`
	Role       string `json:"role_name"`
	Workspace  string `json:"workspace"`
	Type       string `json:"resource_type"`
	Pattern    string `json:"resource_pattern"` // an ID, or "*"
	Permission string `json:"permission"`
}

type permissionsReply struct {
	Permissions []UserPermission `json:"permissions"`
}

// UserPermissions lists the grants of a user.
//
// MLflow REST: GET /api/3.0/mlflow/users/permissions/list
func (c *Client) UserPermissions(ctx context.Context, user string) iter.Seq2[UserPermission, error] {
	return pages(func(string) ([]UserPermission, string, error) {
		out, err := get3[permissionsReply](ctx, c, "UserPermissions", "users/permissions/list", url.Values{"username": {user}})
		return out.Permissions, "", err
	})
}

// MyPermissions lists the grants of the user that the client's credentials
// belong to.
//
// MLflow REST: GET /api/3.0/mlflow/users/current/permissions
func (c *Client) MyPermissions(ctx context.Context) iter.Seq2[UserPermission, error] {
	return pages(func(string) ([]UserPermission, string, error) {
		out, err := get3[permissionsReply](ctx, c, "MyPermissions", "users/current/permissions", nil)
		return out.Permissions, "", err
	})
}
