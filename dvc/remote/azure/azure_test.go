package azure

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/remote"
	"github.com/mlops-integration/mlops/dvc/remote/remotetest"
)

// azurite is the version of the emulator that the tests run.
const azurite = "3.35.0"

func TestAzureConformsAsRemote(t *testing.T) {
	remotetest.Live(t)
	if _, err := exec.LookPath("npm"); err != nil {
		t.Skip("the emulator of Azure needs npm")
	}
	dir := remotetest.Install(t, "azurite-"+azurite, func(tmp string) {
		remotetest.Run(t, nil, "npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", tmp, "azurite@"+azurite)
	})
	port := remotetest.FreePort(t)
	at := "http://127.0.0.1:" + port
	const key = "a2V5" // of an account of the emulator's own: "key"
	srv := &remotetest.Server{
		Args: []string{filepath.Join(dir, "node_modules", ".bin", "azurite-blob"), "--silent", "--skipApiVersionCheck", "--blobHost", "127.0.0.1", "--blobPort", port, "--location", t.TempDir()},
		Env:  []string{"AZURITE_ACCOUNTS=acc:" + key},
	}
	srv.Start(t, remotetest.Answers(at))
	text := "DefaultEndpointsProtocol=http;AccountName=acc;AccountKey=" + key + ";BlobEndpoint=" + at + "/acc;"
	c, err := container.NewClientFromConnectionString(text, "data", nil)
	require.NoError(t, err)
	_, err = c.Create(t.Context(), nil)
	require.NoError(t, err)
	remotetest.Conformance(t, func(t *testing.T) remote.Store {
		s, err := New(remote.Config{Name: "a", URL: "azure://data/" + remotetest.Random(), Options: map[string]string{"connection_string": text}})
		require.NoError(t, err)
		return s
	})
	s, err := New(remote.Config{Name: "a", URL: "azure://data/x", Options: map[string]string{"connection_string": "DefaultEndpointsProtocol=http;AccountName=acc;AccountKey=d3Jvbmc=;BlobEndpoint=" + at + "/acc;"}})
	require.NoError(t, err)
	_, err = s.Get(t.Context(), "files/md5/00/00")
	require.Error(t, err)
	require.NotContains(t, err.Error(), "d3Jvbmc=")
}

func TestWrongOptionsOfAnAzureRemoteAreNamedAndSecretsAreNot(t *testing.T) {
	for _, name := range []string{"AZURE_STORAGE_CONNECTION_STRING", "AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_KEY", "AZURE_STORAGE_SAS_TOKEN"} {
		t.Setenv(name, "")
	}
	const secret = "!Sesame"
	for _, opts := range [][]string{
		{}, {"jobs", "x"}, {"read_timeout", "x"}, {"connection_timeout", "x"}, {"connection_string", secret}, {"account_name", "a", "account_key", secret},
		{"account_name", "a", "allow_anonymous_login", "x"}, {"account_name", "a", "client_id", "i", "tenant_id", "?", "client_secret", secret},
	} {
		c := remote.Config{Name: "a", URL: "azure://data/x", Options: map[string]string{}}
		for i := 0; i < len(opts); i += 2 {
			c.Options[opts[i]] = opts[i+1]
		}
		_, err := remote.Open(t.Context(), c)
		require.ErrorIs(t, err, mlops.ErrInvalid, opts)
		require.NotContains(t, err.Error(), secret)
	}
	for _, opts := range [][]string{{"allow_anonymous_login", "true"}, {"account_key", "a2V5"}, {"sas_token", "?sig=x"}, {"client_id", "i", "tenant_id", "t", "client_secret", "s"}, {}} {
		c := remote.Config{Name: "a", URL: "azure://data/x", Options: map[string]string{"account_name": "acc"}}
		for i := 0; i < len(opts); i += 2 {
			c.Options[opts[i]] = opts[i+1]
		}
		s, err := New(c)
		require.NoError(t, err, opts)
		require.Equal(t, "x/", s.prefix)
	}
	_, err := New(remote.Config{Name: "a", URL: "azure://"})
	require.ErrorIs(t, err, mlops.ErrInvalid)
}
