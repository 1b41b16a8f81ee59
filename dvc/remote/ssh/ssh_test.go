package ssh

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/pkg/sftp"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/remote"
	"github.com/mlops-integration/mlops/dvc/remote/remotetest"
)

// place is an SSH server and how to log in there.
type place struct {
	host, port, dir, key string
}

func newKey(t *testing.T, file, passphrase string) ssh.Signer {
	t.Helper()
	_, priv, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	block, err := ssh.MarshalPrivateKey(priv, "")
	if passphrase != "" {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(priv, "", []byte(passphrase))
	}
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o700))
	require.NoError(t, os.WriteFile(file, pem.EncodeToMemory(block), 0o600))
	s, err := ssh.NewSignerFromKey(priv)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file+".pub", ssh.MarshalAuthorizedKey(s.PublicKey()), 0o600))
	return s
}

func know(t *testing.T, home, host, port string, key ssh.PublicKey) {
	t.Helper()
	line := knownhosts.Line([]string{knownhosts.Normalize(net.JoinHostPort(host, port))}, key) + "\n"
	require.NoError(t, os.MkdirAll(filepath.Join(home, ".ssh"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(home, ".ssh", "known_hosts"), []byte(line), 0o600))
}

// start starts a server that is made of x/crypto/ssh and pkg/sftp, and a home
// whose keys it takes. It has a second host key, which is not known.
func start(t *testing.T) place {
	t.Helper()
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("SSH_AUTH_SOCK", "")
	file := filepath.Join(home, ".ssh", "id_ed25519")
	mine, host := newKey(t, file, ""), newKey(t, filepath.Join(t.TempDir(), "host"), "")
	conf := &ssh.ServerConfig{
		PublicKeyCallback: func(c ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			if c.User() == "me" && string(key.Marshal()) == string(mine.PublicKey().Marshal()) {
				return nil, nil
			}
			return nil, fmt.Errorf("not you")
		},
		PasswordCallback: func(c ssh.ConnMetadata, password []byte) (*ssh.Permissions, error) {
			if c.User() == "me" && string(password) == "sesame" {
				return nil, nil
			}
			return nil, fmt.Errorf("not you")
		},
	}
	conf.AddHostKey(host)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serve(c, conf)
		}
	}()
	_, port, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	know(t, home, "127.0.0.1", port, host.PublicKey())
	return place{"127.0.0.1", port, t.TempDir(), file}
}

func serve(c net.Conn, conf *ssh.ServerConfig) {
	defer c.Close()
	conn, chans, reqs, err := ssh.NewServerConn(c, conf)
	if err != nil {
		return
	}
	defer conn.Close()
	go ssh.DiscardRequests(reqs)
	for ch := range chans {
		session, requests, err := ch.Accept()
		if err != nil {
			return
		}
		go func() {
			for r := range requests {
				_ = r.Reply(r.Type == "subsystem", nil)
			}
		}()
		go func() {
			s, err := sftp.NewServer(session)
			if err == nil {
				_ = s.Serve()
			}
			_ = session.Close()
		}()
	}
}

func (p place) config(opts ...string) remote.Config {
	c := remote.Config{Name: "far", URL: "ssh://me@" + net.JoinHostPort(p.host, p.port) + p.dir, Options: map[string]string{}}
	for i := 0; i < len(opts); i += 2 {
		c.Options[opts[i]] = opts[i+1]
	}
	return c
}

func conform(t *testing.T, p place, user string) {
	remotetest.Conformance(t, func(t *testing.T) remote.Store {
		c := p.config("keyfile", p.key, "user", user)
		c.URL = "ssh://" + user + "@" + net.JoinHostPort(p.host, p.port) + filepath.Join(p.dir, remotetest.Random())
		s, err := New(t.Context(), c)
		require.NoError(t, err)
		t.Cleanup(func() { _ = s.sftp.Close() })
		return s
	})
}

func TestAnSFTPServerConformsAsRemote(t *testing.T) { conform(t, start(t), "me") }

// sshd finds OpenSSH's server; on Debian it is unpacked, not installed.
func sshd(t *testing.T) string {
	t.Helper()
	for _, p := range []string{"/usr/sbin/sshd", "/usr/bin/sshd"} {
		if _, err := os.Stat(p); err == nil {
			return p
		}
	}
	if _, err := exec.LookPath("dpkg-deb"); err != nil || runtime.GOOS != "linux" {
		t.Skip("no sshd on this machine")
	}
	dir := remotetest.Install(t, "openssh-server", func(tmp string) {
		cmd := exec.Command("sh", "-c", `apt-get download openssh-server openssh-sftp-server libwrap0 >&2 && for d in *.deb; do dpkg-deb -x "$d" . || exit 1; done`)
		cmd.Dir = tmp
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Skipf("no sshd on this machine, and none to be had: %s", out)
		}
	})
	return filepath.Join(dir, "usr", "sbin", "sshd")
}

func TestOpenSSHConformsAsRemote(t *testing.T) {
	remotetest.Live(t)
	bin := sshd(t)
	root := filepath.Dir(filepath.Dir(filepath.Dir(bin)))
	lib, err := filepath.Glob(filepath.Join(root, "usr", "lib", "*-linux-gnu"))
	require.NoError(t, err)
	home := t.TempDir()
	t.Setenv("SSH_AUTH_SOCK", "")
	p := place{host: "127.0.0.1", port: remotetest.FreePort(t), dir: t.TempDir(), key: filepath.Join(home, ".ssh", "id_ed25519")}
	newKey(t, p.key, "")
	host := newKey(t, filepath.Join(home, "host"), "")
	who := remotetest.Run(t, nil, "id", "-un")
	conf := filepath.Join(home, "sshd_config")
	require.NoError(t, os.WriteFile(conf, fmt.Appendf(nil, "ListenAddress 127.0.0.1:%s\nHostKey %s\nAuthorizedKeysFile %s.pub\nStrictModes no\nUsePAM no\nPermitRootLogin yes\nPidFile none\nSubsystem sftp internal-sftp\n",
		p.port, filepath.Join(home, "host"), p.key), 0o600))
	if os.Getuid() == 0 {
		if _, err := os.Stat("/run/sshd"); err != nil && os.Mkdir("/run/sshd", 0o755) == nil {
			t.Cleanup(func() { _ = os.Remove("/run/sshd") })
		}
		if err := exec.Command("id", "sshd").Run(); err != nil {
			t.Skip("sshd run by root needs a user sshd")
		}
	}
	srv := &remotetest.Server{Args: []string{bin, "-D", "-e", "-f", conf}}
	for _, l := range lib {
		srv.Env = append(srv.Env, "LD_LIBRARY_PATH="+l)
	}
	srv.Start(t, func(ctx context.Context) error {
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(p.host, p.port))
		if err == nil {
			err = c.Close()
		}
		return err
	})
	t.Setenv("HOME", home)
	know(t, home, p.host, p.port, host.PublicKey())
	conform(t, p, who)
}

func TestLoggingIn(t *testing.T) {
	p := start(t)
	home := os.Getenv("HOME")
	locked := filepath.Join(home, "locked")
	newKey(t, locked, "open")
	none := filepath.Join(home, "none")
	for _, tt := range []struct {
		name string
		opts []string
		want error
	}{
		{"by the default key", nil, nil},
		{"by a password", []string{"keyfile", locked, "passphrase", "open", "password", "sesame"}, nil},
		{"by a wrong password", []string{"keyfile", locked, "passphrase", "open", "password", "wrong"}, mlops.ErrUnauthenticated},
		{"by a key that the server does not take", []string{"keyfile", locked, "passphrase", "open"}, mlops.ErrUnauthenticated},
		{"by a key without its passphrase", []string{"keyfile", locked}, mlops.ErrInvalid},
		{"by a key that is not there", []string{"keyfile", none}, mlops.ErrInvalid},
		{"by asking", []string{"ask_password", "true"}, mlops.ErrUnsupported},
		{"with a wrong port", []string{"port", "x"}, mlops.ErrInvalid},
		{"with a wrong timeout", []string{"timeout", "x"}, mlops.ErrInvalid},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := remote.Open(t.Context(), p.config(tt.opts...))
			if tt.want != nil {
				require.ErrorIs(t, err, tt.want)
				require.NotContains(t, err.Error(), "sesame")
				return
			}
			require.NoError(t, err)
			_, err = s.Missing(t.Context(), []string{"files/md5/00/00"})
			require.NoError(t, err)
		})
	}
	t.Run("by ~/.ssh/config", func(t *testing.T) {
		require.NoError(t, os.WriteFile(filepath.Join(home, ".ssh", "config"),
			[]byte("Host other\n  HostName 127.0.0.2\nHost alias !x\n  HostName 127.0.0.1\n  Port = "+p.port+"\n  User me\n  IdentityFile ~/.ssh/id_ed25519\n"), 0o600))
		s, err := New(t.Context(), remote.Config{Name: "far", URL: "ssh://alias" + p.dir})
		require.NoError(t, err)
		require.NoError(t, s.sftp.Close())
	})
	t.Run("at a server that is not known", func(t *testing.T) {
		_, err := New(t.Context(), remote.Config{Name: "far", URL: "ssh://me@localhost:" + p.port + p.dir})
		require.ErrorIs(t, err, mlops.ErrUnauthenticated)
		require.ErrorContains(t, err, "ssh-keyscan")
	})
	t.Run("at a server with another key", func(t *testing.T) {
		know(t, home, p.host, p.port, newKey(t, none, "").PublicKey())
		_, err := New(t.Context(), p.config())
		require.ErrorIs(t, err, mlops.ErrUnauthenticated)
		require.ErrorContains(t, err, "not the known one")
		require.NoError(t, os.Remove(filepath.Join(home, ".ssh", "known_hosts")))
		_, err = New(t.Context(), p.config())
		require.ErrorIs(t, err, mlops.ErrUnauthenticated)
	})
	_, err := New(t.Context(), remote.Config{Name: "far", URL: "ssh://host"})
	require.ErrorIs(t, err, mlops.ErrInvalid)
}
