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

// User is an account that may log in.
type User struct {
	ID    int64  `json:"id"`
	Name  string `json:"username"`
	Admin bool   `json:"is_admin"`
	Roles []Role `json:"roles"` // told by [UsersService.All] alone
}

type userReply struct {
	User User `json:"user"`
}

// Create makes a user, who may see what the server grants to all. MLflow
// wants passwords of 12 characters and more. The error matches
// [mlops.ErrAlreadyExists] if the name is taken.
//
// MLflow REST: POST /api/2.0/mlflow/users/create
func (s UsersService) Create(ctx context.Context, name string, password mlops.Secret) (User, error) {
	return onceNamed(ctx, s.c, func() (User, error) {
		out, err := sendOnce[userReply](ctx, s.c, "Users.Create", "POST", "users/create", map[string]string{"username": name, "password": string(password)})
		return out.User, err
	}, func() (User, bool, error) { return found(s.Get(ctx, name)) })
}

// Get returns a user by name.
//
// MLflow REST: GET /api/2.0/mlflow/users/get
func (s UsersService) Get(ctx context.Context, name string) (User, error) {
	out, err := get[userReply](ctx, s.c, "Users.Get", "users/get", url.Values{"username": {name}})
	return out.User, err
}

// Current returns the user that the client's credentials belong to.
//
// MLflow REST: GET /api/2.0/mlflow/users/current
func (s UsersService) Current(ctx context.Context) (User, error) {
	out, err := get[userReply](ctx, s.c, "Users.Current", "users/current", nil)
	return out.User, err
}

// All lists all users with their roles.
//
// MLflow REST: GET /api/2.0/mlflow/users/list
func (s UsersService) All(ctx context.Context) iter.Seq2[User, error] {
	return pages(func(string) ([]User, string, error) {
		out, err := get[struct {
			Users []User `json:"users"`
		}](ctx, s.c, "Users.All", "users/list", nil)
		return out.Users, "", err
	})
}

// SetPassword gives a user another password. Who changes their own tells the
// current one too; administrators leave it empty. The server remembers
// credentials for a short time, in which the old ones may still be good.
//
// MLflow REST: PATCH /api/2.0/mlflow/users/update-password
func (s UsersService) SetPassword(ctx context.Context, name string, password, current mlops.Secret) error {
	body := map[string]string{"username": name, "password": string(password)}
	if current != "" {
		body["current_password"] = string(current)
	}
	_, err := sendOnce[transport.None](ctx, s.c, "Users.SetPassword", "PATCH", "users/update-password", body)
	return err
}

// SetAdmin makes a user an administrator, or no longer one.
//
// MLflow REST: PATCH /api/2.0/mlflow/users/update-admin
func (s UsersService) SetAdmin(ctx context.Context, name string, admin bool) error {
	_, err := send[transport.None](ctx, s.c, "Users.SetAdmin", "PATCH", "users/update-admin", map[string]any{"username": name, "is_admin": admin})
	return err
}

// Delete deletes a user. Users cannot delete themselves.
//
// MLflow REST: DELETE /api/2.0/mlflow/users/delete
func (s UsersService) Delete(ctx context.Context, name string) error {
	return remove(ctx, s.c, func() error {
		_, err := sendOnce[transport.None](ctx, s.c, "Users.Delete", "DELETE", "users/delete", map[string]string{"username": name})
		return err
	})
}

// Permission is what a user may do with a thing. Each includes those before it,
// but PermissionDeny, which takes away what another grant gives.
type Permission string

// The permissions; PermissionNone is an answer only, not a grant.
const (
	PermissionRead   Permission = "READ"
	PermissionUse    Permission = "USE"
	PermissionEdit   Permission = "EDIT"
	PermissionManage Permission = "MANAGE"
	PermissionDeny   Permission = "DENY"
	PermissionNone   Permission = "NO_PERMISSIONS"
)

// Grant is a permission on a thing.
type Grant struct {
	Type       string // "experiment", "registered_model", "prompt", "scorer", "workspace", …
	ID         string // of the thing: an experiment's ID, a model's name; "*" in a role: all of the type
	Permission Permission
}

// Grant permits one thing to one user, in place of what was granted
// on it before.
//
// MLflow REST: POST /api/3.0/mlflow/users/permissions/grant
func (s UsersService) Grant(ctx context.Context, user string, g Grant) error {
	_, err := once(ctx, s.c, func() (transport.None, error) {
		return sendOnce3[transport.None](ctx, s.c, "Users.Grant", "POST", "users/permissions/grant",
			map[string]string{"username": user, "resource_type": g.Type, "resource_id": g.ID, "permission": string(g.Permission)})
	}, func() (transport.None, bool, error) {
		_, there, err := firstOf(s.Permissions(ctx, user), func(p UserPermission) bool {
			return p.Type == g.Type && p.Pattern == g.ID && p.Permission == g.Permission
		})
		return transport.None{}, there, err
	})
	return err
}

// Revoke takes back a [UsersService.Grant]. What roles give stays.
//
// MLflow REST: POST /api/3.0/mlflow/users/permissions/revoke
func (s UsersService) Revoke(ctx context.Context, user, typ, id string) error {
	return remove(ctx, s.c, func() error {
		_, err := sendOnce3[transport.None](ctx, s.c, "Users.Revoke", "POST", "users/permissions/revoke",
			map[string]string{"username": user, "resource_type": typ, "resource_id": id})
		return err
	})
}

// Permission returns what a user may do with a thing, all grants, roles and
// defaults taken together.
// A thing that is not there is no error.
//
// MLflow REST: GET /api/3.0/mlflow/users/permissions/get
func (s UsersService) Permission(ctx context.Context, user, typ, id string) (Permission, error) {
	out, err := get3[struct {
		Permission Permission `json:"permission"`
	}](ctx, s.c, "Users.Permission", "users/permissions/get", url.Values{"username": {user}, "resource_type": {typ}, "resource_id": {id}})
	return out.Permission, err
}

// UserPermission is a grant that a user has by a role. What was granted to the
// user alone hangs on a role of their own, "__user_7__".
type UserPermission struct {
	RoleID     int64      `json:"role_id"`
	Role       string     `json:"role_name"`
	Workspace  string     `json:"workspace"`
	Type       string     `json:"resource_type"`
	Pattern    string     `json:"resource_pattern"` // an ID, or "*"
	Permission Permission `json:"permission"`
}

type permissionsReply struct {
	Permissions []UserPermission `json:"permissions"`
}

// Permissions lists the grants of a user.
//
// MLflow REST: GET /api/3.0/mlflow/users/permissions/list
func (s UsersService) Permissions(ctx context.Context, user string) iter.Seq2[UserPermission, error] {
	return pages(func(string) ([]UserPermission, string, error) {
		out, err := get3[permissionsReply](ctx, s.c, "Users.Permissions", "users/permissions/list", url.Values{"username": {user}})
		return out.Permissions, "", err
	})
}

// MyPermissions lists the grants of the user that the client's credentials
// belong to.
//
// MLflow REST: GET /api/3.0/mlflow/users/current/permissions
func (s UsersService) MyPermissions(ctx context.Context) iter.Seq2[UserPermission, error] {
	return pages(func(string) ([]UserPermission, string, error) {
		out, err := get3[permissionsReply](ctx, s.c, "Users.MyPermissions", "users/current/permissions", nil)
		return out.Permissions, "", err
	})
}
