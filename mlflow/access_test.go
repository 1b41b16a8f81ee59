package mlflow

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
)

func TestUsersAreMadePermittedAndDeleted(t *testing.T) {
	s, c := connect(t)
	since(t, s, "3.17", "users and permissions as they are there")
	ctx := t.Context()
	name := s.Name("user")
	const password, second = "correct horse battery", "staple battery horse"
	u, err := c.Users.Create(ctx, name, password)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Users.Delete(context.WithoutCancel(ctx), name) })
	require.False(t, u.Admin)
	_, err = c.Users.Create(ctx, name, password)
	is(t, err, mlops.ErrAlreadyExists)
	me, err := c.Users.Current(ctx)
	require.NoError(t, err)
	require.True(t, me.Admin)
	_, err = mlops.Collect(c.Users.MyPermissions(ctx))
	require.NoError(t, err)

	exp, err := c.CreateExperiment(ctx, s.Name("exp"), ExperimentOptions{})
	require.NoError(t, err)
	require.NoError(t, c.Users.Grant(ctx, name, Grant{"experiment", exp, PermissionEdit}))
	p, err := c.Users.Permission(ctx, name, "experiment", exp)
	require.NoError(t, err)
	require.Equal(t, PermissionEdit, p)
	grants, err := mlops.Collect(c.Users.Permissions(ctx, name))
	require.NoError(t, err)
	require.Len(t, grants, 1)
	require.Equal(t, exp, grants[0].Pattern)
	require.Equal(t, "experiment", grants[0].Type)

	if s.Live { // what is played knows no passwords
		other, err := New(Options{URL: s.URL, Auth: mlops.Auth{Username: name, Password: password}})
		require.NoError(t, err)
		require.NoError(t, other.SetExperimentTag(ctx, exp, "k", "v"), "EDIT lets tags be set")
		is(t, other.DeleteExperiment(ctx, exp), mlops.ErrForbidden)
		is(t, other.Users.SetPassword(ctx, name, second, "wrong wrong wrong"), mlops.ErrInvalid)
		require.NoError(t, other.Users.SetPassword(ctx, name, second, password))
	}
	require.NoError(t, c.Users.Revoke(ctx, name, "experiment", exp))
	is(t, c.Users.Revoke(ctx, name, "experiment", exp), mlops.ErrNotFound)
	require.NoError(t, c.Users.SetPassword(ctx, name, password, ""))
	require.NoError(t, c.Users.SetAdmin(ctx, name, true))
	u, err = c.Users.Get(ctx, name)
	require.NoError(t, err)
	require.True(t, u.Admin)
	all := map[string]bool{}
	for u, err := range c.Users.All(ctx) {
		require.NoError(t, err)
		all[u.Name] = true
	}
	require.True(t, all[name])
	require.NoError(t, c.Users.Delete(ctx, name))
	_, err = c.Users.Get(ctx, name)
	is(t, err, mlops.ErrNotFound)
}

func TestRolesGiveUsersTheirGrants(t *testing.T) {
	s, c := connect(t)
	since(t, s, "3.17", "roles")
	ctx := t.Context()
	name, roleName := s.Name("user"), s.Name("role")
	_, err := c.Users.Create(ctx, name, "correct horse battery")
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Users.Delete(context.WithoutCancel(ctx), name) })
	role, err := c.Roles.Create(ctx, "default", roleName, "readers")
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Roles.Delete(context.WithoutCancel(ctx), role.ID) })
	require.Equal(t, "readers", role.Description)
	_, err = c.Roles.Create(ctx, "default", roleName, "")
	is(t, err, mlops.ErrAlreadyExists)

	g, err := c.Roles.AddPermission(ctx, role.ID, Grant{"experiment", "*", PermissionRead})
	require.NoError(t, err)
	g, err = c.Roles.UpdatePermission(ctx, g.ID, PermissionManage)
	require.NoError(t, err)
	require.Equal(t, PermissionManage, g.Permission)
	grants, err := mlops.Collect(c.Roles.Permissions(ctx, role.ID))
	require.NoError(t, err)
	require.Equal(t, []RolePermission{g}, grants)

	a, err := c.Roles.Assign(ctx, name, role.ID)
	require.NoError(t, err)
	require.Equal(t, role.ID, a.RoleID)
	p, err := c.Users.Permission(ctx, name, "experiment", "0")
	require.NoError(t, err)
	require.Equal(t, PermissionManage, p)
	roles, err := mlops.Collect(c.Roles.OfUser(ctx, name))
	require.NoError(t, err)
	require.Len(t, roles, 1)
	require.Equal(t, roleName, roles[0].Name)
	users, err := mlops.Collect(c.Roles.Assignments(ctx, role.ID))
	require.NoError(t, err)
	require.Equal(t, []Assignment{a}, users)

	role, err = c.Roles.Update(ctx, role.ID, roleName+"-2", "")
	require.NoError(t, err)
	require.Equal(t, roleName+"-2", role.Name)
	role, err = c.Roles.Get(ctx, role.ID)
	require.NoError(t, err)
	require.Equal(t, "readers", role.Description)
	found := false
	for r, err := range c.Roles.All(ctx, "default") {
		require.NoError(t, err)
		found = found || r.ID == role.ID
	}
	require.True(t, found)

	require.NoError(t, c.Roles.Unassign(ctx, name, role.ID))
	require.NoError(t, c.Roles.RemovePermission(ctx, g.ID))
	require.NoError(t, c.Roles.Delete(ctx, role.ID))
	_, err = c.Roles.Get(ctx, role.ID)
	is(t, err, mlops.ErrNotFound)
	require.NoError(t, c.Users.Delete(ctx, name))
}
