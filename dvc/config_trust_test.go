package dvc

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/internal/config"
	"github.com/mlops-integration/mlops/dvc/internal/dvcfile"
	"github.com/mlops-integration/mlops/dvc/internal/ini"
)

// track writes a file and has git track it.
func track(t *testing.T, r *Repo, rel, text string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(r.abs(rel)), 0o755))
	require.NoError(t, os.WriteFile(r.abs(rel), []byte(text), 0o644))
	out, err := exec.CommandContext(t.Context(), "git", "-C", r.dir, "add", "-f", rel).CombinedOutput()
	require.NoError(t, err, "%s", out)
}

func TestTheCommittedConfigurationNamesNothingOfThisMachine(t *testing.T) {
	away := t.TempDir()
	for _, tt := range []struct {
		name, option, val string
		plant             func(*Repo)
		says              string // "" is allowed
	}{
		{"a configuration with a program", "configpath", "../aws", func(r *Repo) { track(t, r, "aws", "[default]\ncredential_process = ./evil\n") }, "credential_process"},
		{"written otherwise", "configpath", "../aws", func(r *Repo) { track(t, r, "aws", "[profile x]\n\tCredential_Process=./evil\n") }, "credential_process"},
		{"credentials with a program", "credentialpath", "../aws", func(r *Repo) { track(t, r, "aws", "[default]\ncredential_process = ./evil\n") }, "credential_process"},
		{"a file that would be sent away", "configpath", "../aws", func(r *Repo) { track(t, r, "aws", "[default]\nrole_arn=x\nweb_identity_token_file=/etc/shadow\n") }, "web_identity_token_file"},
		{"an executable in Google's JSON", "credentialpath", "../g.json", func(r *Repo) {
			track(t, r, "g.json", `{"type": "external_account", "credential\u005fsource": {"executable": {"command": "evil"}}}`)
		}, "credential_source"},
		{"not in git", "configpath", "../aws", func(r *Repo) {
			require.NoError(t, os.WriteFile(r.abs("aws"), []byte("[default]\nregion = eu\n"), 0o644))
		}, "git does not track"},
		{"outside", "credentialpath", away + "/keys", func(*Repo) {}, "no file of the repository"},
		{"above", "keyfile", "../../id", func(*Repo) {}, "no file of the repository"},
		{"at home", "keyfile", "~/.ssh/id_rsa", func(*Repo) {}, "no file of the repository"},
		{"behind a symlink", "configpath", "../l/aws", func(r *Repo) {
			require.NoError(t, os.Symlink(away, r.abs("l")))
			track(t, r, "x", "")
		}, "git does not track"},
		{"a symlink in git", "key_path", "../k", func(r *Repo) {
			require.NoError(t, os.Symlink(away, r.abs("k")))
			require.NoError(t, exec.Command("git", "-C", r.dir, "add", "k").Run())
		}, "git does not track"},
		{"a program", "bearer_token_command", "./evil", func(*Repo) {}, "a program"},
		{"plain data", "configpath", "../aws", func(r *Repo) { track(t, r, "aws", "[default]\nregion = eu\n") }, ""},
		{"a certificate", "cert_path", "../c.pem", func(r *Repo) { track(t, r, "c.pem", "x") }, ""},
		{"a profile of the user's", "profile", "team", func(*Repo) {}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text := "['remote \"s\"']\n    url = s3://b/x\n    " + tt.option + " = " + tt.val + "\n"
			r := configured(t, text)
			tt.plant(r)
			_, err := r.remoteConfig("s")
			if tt.says == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, mlops.ErrForbidden)
			require.ErrorContains(t, err, tt.says)
			require.ErrorContains(t, err, "modify --local s "+tt.option)
			require.NoError(t, r.ModifyRemote(t.Context(), "s", tt.option, filepath.Join(r.dir, "mine"), LevelLocal), "the line that the error names")
			_, err = r.remoteConfig("s")
			require.NoError(t, err)
			track(t, r, ".dvc/config.local", configText(t, r, "config.local"))
			_, err = r.remoteConfig("s")
			require.ErrorIs(t, err, mlops.ErrForbidden, "a commit may bring config.local, too")
			require.NoError(t, os.Remove(r.abs(".dvc/config.local")))
			require.NoError(t, exec.Command("git", "-C", r.dir, "rm", "-q", "--cached", ".dvc/config.local").Run())
			require.NoError(t, r.ModifyRemote(t.Context(), "s", tt.option, filepath.Join(r.dir, "mine"), LevelGlobal))
			require.NoError(t, os.WriteFile(r.abs(".dvc/config"), []byte("['remote \"s\"']\n    url = s3://b/x\n"), 0o644))
			_, err = r.remoteConfig("s")
			require.NoError(t, err)
		})
	}
}

// A .dvc file comes with the repository as well, and has options of its own.
func TestADVCFileNamesNothingOfThisMachine(t *testing.T) {
	r := configured(t, "['remote \"s\"']\n    url = s3://b/x\n")
	require.NoError(t, r.Set(t.Context(), "remote.s.secret_access_key", "hunter2", LevelLocal))
	for _, tt := range []struct{ path, option string }{
		{"s3://b/x", "configpath"}, {"s3://b/x", "credentialpath"}, {"ssh://h/x", "keyfile"}, {"remote://s/x", "configpath"},
		{"remote://s/x", "endpointurl"}, // where the secret would go
	} {
		text := "md5: " + strings.Repeat("0", 32) + "\nfrozen: true\ndeps:\n- path: " + tt.path + "\n  fs_config:\n    " + tt.option + ": http://127.0.0.1:1\nouts:\n- hash: md5\n  path: x\n"
		f, err := dvcfile.Parse("x.dvc", []byte(text))
		require.NoError(t, err)
		_, _, err = r.located(f.Imports, r.dir)
		require.ErrorIs(t, err, mlops.ErrForbidden, "%v", tt)
		if tt.option == "endpointurl" {
			continue
		}
		d := *f.Imports
		d.Node = nil // the user's own call
		_, _, err = r.located(&d, r.dir)
		require.NoError(t, err, "%v", tt)
	}
}

// places are what a commit may change, before and after.
func TestACommitDoesNotLeadCredentialsToAnotherHost(t *testing.T) {
	for _, tt := range []struct {
		name, option, before, after string
		held                        bool
	}{
		{"another host", "password", "url = https://ours.example/x", "url = https://theirs.example/x", true},
		{"another port", "password", "url = https://ours.example/x", "url = https://ours.example:8443/x", true},
		{"no TLS any more", "password", "url = https://ours.example/x", "url = http://ours.example/x", true},
		{"ssh", "password", "url = ssh://ours/x", "url = ssh://theirs/x", true},
		{"ssh's port", "password", "url = ssh://ours/x", "url = ssh://ours/x\n    port = 2222", true},
		{"S3's endpoint", "sse_customer_key", "url = s3://b/x", "url = s3://b/x\n    endpointurl = https://theirs.example", true},
		{"Azure's account", "sas_token", "url = azure://b/x\n    account_name = ours", "url = azure://b/x\n    account_name = theirs", true},
		{"Google's endpoint", "credentialpath", "url = gs://b/x", "url = gs://b/x\n    endpointurl = https://theirs.example", true},
		{"from a directory", "password", "url = /mnt/x", "url = https://theirs.example/x", true},
		{"by another remote", "password", "url = https://ours.example/x", "url = remote://t\n['remote \"t\"']\n    url = https://theirs.example", true},
		{"another path", "password", "url = https://ours.example/x", "url = https://ours.example/y", false},
		{"another bucket", "secret_access_key", "url = s3://b/x", "url = s3://c/y", false},
		{"another letter case", "password", "url = https://ours.example/x", "url = https://Ours.Example/x", false},
		{"another option", "password", "url = https://ours.example/x", "url = https://ours.example/x\n    jobs = 3", false},
	} {
		for _, at := range []Level{LevelLocal, LevelGlobal} {
			for _, first := range []string{"set", "used"} { // by us; by dvc, and used by us
				t.Run(tt.name+" "+string(at)+" "+first, func(t *testing.T) {
					commit := func(r *Repo, text string) {
						require.NoError(t, os.WriteFile(r.abs(".dvc/config"), []byte("['remote \"s\"']\n    "+text+"\n"), 0o644))
					}
					r := configured(t, "")
					commit(r, tt.before)
					if first == "set" {
						require.NoError(t, r.ModifyRemote(t.Context(), "s", tt.option, "/hunter2", at))
					} else {
						require.NoError(t, editFile(levelNamed(r.levels(), config.Level(at)), func(_ config.File, data []byte, sections []ini.Section) ([]byte, error) {
							return ini.Set(data, sections, config.RemoteSection("s"), tt.option, "/hunter2"), nil
						}))
						_, err := r.remoteConfig("s")
						require.NoError(t, err)
					}
					commit(r, tt.after)
					c, err := r.remoteConfig("s")
					if !tt.held {
						require.NoError(t, err)
						require.Equal(t, "/hunter2", c.Options[tt.option])
						return
					}
					require.ErrorIs(t, err, mlops.ErrForbidden)
					require.NotContains(t, err.Error(), "hunter2")
					_, err = r.openPlace(t.Context(), &mover{}, "s")
					require.ErrorIs(t, err, mlops.ErrForbidden, "the door that push, pull and status use")
					commit(r, tt.before)
					_, err = r.remoteConfig("s")
					require.NoError(t, err, "the URL is what it was")
					commit(r, tt.after)
					require.NoError(t, r.ModifyRemote(t.Context(), "s", tt.option, "/hunter2", at), "set for there")
					_, err = r.remoteConfig("s")
					require.NoError(t, err)
				})
			}
		}
	}
}

func TestTheLineThatTheErrorNamesLetsCredentialsGoThere(t *testing.T) {
	for _, after := range []string{"url = https://new.example/x", "url = https://old.example/x\n    endpointurl = https://new.example"} {
		r := configured(t, "['remote \"s\"']\n    url = https://old.example/x\n")
		require.NoError(t, r.Set(t.Context(), "remote.s.password", "hunter2", LevelLocal))
		require.NoError(t, os.WriteFile(r.abs(".dvc/config"), []byte("['remote \"s\"']\n    "+after+"\n"), 0o644))
		_, err := r.remoteConfig("s")
		_, line, found := strings.Cut(err.Error(), "mlopsctl dvc remote modify s ")
		require.True(t, found, err)
		option, val, _ := strings.Cut(line, " ")
		require.NoError(t, r.ModifyRemote(t.Context(), "s", option, val, ""))
		_, err = r.remoteConfig("s")
		require.NoError(t, err)
	}
}

func TestCredentialsBesideTheirURLAreNotHeldBack(t *testing.T) {
	r := configured(t, "['remote \"s\"']\n    url = https://one.example/x\n")
	for _, host := range []string{"two", "three"} {
		require.NoError(t, editFile(levelNamed(r.levels(), config.Local), func(_ config.File, data []byte, sections []ini.Section) ([]byte, error) {
			return []byte("['remote \"s\"']\n    url = https://" + host + ".example/x\n    password = hunter2\n"), nil
		}))
		_, err := r.remoteConfig("s")
		require.NoError(t, err)
	}
	require.NoError(t, os.WriteFile(r.abs(".dvc/config"), []byte("['remote \"s\"']\n    url = https://four.example/x\n    password = x\n"), 0o644))
	_, err := r.remoteConfig("s")
	require.NoError(t, err)
}

// One name in two repositories: the second may be a stranger's.
func TestAPasswordForAllRepositoriesStaysWithItsHost(t *testing.T) {
	r := configured(t, "['remote \"s\"']\n    url = https://ours.example/x\n")
	require.NoError(t, r.Set(t.Context(), "remote.s.password", "hunter2", LevelGlobal))
	dir := t.TempDir()
	require.NoError(t, exec.Command("git", "-C", dir, "init", "-q").Run())
	other, err := Init(dir)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(other.abs(".dvc/config"), []byte("['remote \"s\"']\n    url = https://theirs.example/x\n"), 0o644))
	_, err = other.remoteConfig("s")
	require.ErrorIs(t, err, mlops.ErrForbidden)
	require.NoError(t, os.WriteFile(other.abs(".dvc/config"), []byte("['remote \"s\"']\n    url = https://ours.example/y\n"), 0o644))
	_, err = other.remoteConfig("s")
	require.NoError(t, err)
}

func TestAHomeThatCannotBeWrittenStopsNothing(t *testing.T) {
	r := configured(t, "['remote \"s\"']\n    url = https://ours.example/x\n")
	require.NoError(t, os.WriteFile(os.Getenv("XDG_CONFIG_HOME"), nil, 0o600))
	require.NoError(t, r.Set(t.Context(), "remote.s.password", "hunter2", LevelLocal))
	_, err := r.remoteConfig("s")
	require.NoError(t, err)
}
