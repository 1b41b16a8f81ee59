package ssh

import (
	"bufio"
	"errors"
	"net"
	"net/url"
	"os"
	"os/user"
	"path"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/remote"
)

// login is how to get to a remote.
type login struct {
	name       string // of the remote
	host, port string
	user       string
	dir        string
	keys       []string // files
	must       bool     // keys were named: a missing one is an error
	agent      bool
	password   mlops.Secret
	passphrase mlops.Secret
	timeout    time.Duration
	jobs       int
}

func sshDir(file string) string {
	home, _ := os.UserHomeDir()
	return filepath.Join(home, ".ssh", file)
}

// parse reads the remote's options, and of ~/.ssh/config what they leave open.
func parse(c remote.Config) (*login, error) {
	u, err := url.Parse(c.URL)
	if err != nil || u.Hostname() == "" || u.Path == "" {
		return nil, fail(mlops.ErrInvalid, "remote %q: want ssh://user@host:port/path", c.Name)
	}
	l := &login{name: c.Name, dir: path.Clean(u.Path), password: c.Secret("password"), passphrase: c.Secret("passphrase")}
	for _, key := range []string{"gss_auth", "ask_password", "ask_passphrase"} {
		if on, err := c.Bool(key, false); err != nil {
			return nil, err
		} else if on {
			return nil, fail(mlops.ErrUnsupported, "remote %q: %s is not spoken here; use a key, an agent, or a password in .dvc/config.local", c.Name, key)
		}
	}
	if l.agent, err = c.Bool("allow_agent", true); err != nil {
		return nil, err
	}
	if l.timeout, err = c.Seconds("timeout", 30*time.Second); err != nil {
		return nil, err
	}
	if l.jobs, err = c.Int("jobs", 16); err != nil {
		return nil, err
	}
	if _, err = c.Int("port", 22); err != nil {
		return nil, err
	}
	if l.password == "" {
		if p, ok := u.User.Password(); ok {
			l.password = mlops.Secret(p)
		} else {
			l.password = mlops.Secret(os.Getenv("MLOPS_DVC_SSH_PASSWORD"))
		}
	}
	first := func(values ...string) string {
		for _, v := range values {
			if v != "" {
				return v
			}
		}
		return ""
	}
	conf := hostConfig(sshDir("config"), u.Hostname())
	me := ""
	if who, err := user.Current(); err == nil {
		me = who.Username
	}
	l.host = first(conf["hostname"], u.Hostname())
	l.user = first(u.User.Username(), c.Options["user"], conf["user"], me)
	l.port = first(u.Port(), c.Options["port"], conf["port"], "22")
	if key := first(c.Options["keyfile"], conf["identityfile"]); key != "" {
		if rest, ok := strings.CutPrefix(key, "~/"); ok {
			home, _ := os.UserHomeDir()
			key = filepath.Join(home, rest)
		}
		l.keys, l.must = []string{key}, true
	} else {
		l.keys = []string{sshDir("id_ed25519"), sshDir("id_ecdsa"), sshDir("id_rsa")}
	}
	return l, nil
}

// hostConfig reads what an ssh_config says of a host: the first value of each
// keyword counts. Match blocks are passed over.
func hostConfig(file, host string) map[string]string {
	out := map[string]string{}
	f, err := os.Open(file)
	if err != nil {
		return out
	}
	defer f.Close()
	applies := true
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		key, value, ok := strings.Cut(strings.Replace(line, "=", " ", 1), " ")
		if !ok || strings.HasPrefix(line, "#") {
			continue
		}
		key, value = strings.ToLower(key), strings.Trim(strings.TrimSpace(value), `"`)
		switch key {
		case "host":
			applies = false
			for _, pattern := range strings.Fields(value) {
				negated := strings.HasPrefix(pattern, "!")
				if ok, _ := path.Match(strings.TrimPrefix(pattern, "!"), host); ok {
					applies = !negated
					if negated {
						break
					}
				}
			}
		case "match":
			applies = false
		default:
			if _, have := out[key]; applies && !have {
				out[key] = value
			}
		}
	}
	return out
}

// client is the configuration of the connection.
func (l *login) client() (*ssh.ClientConfig, error) {
	known, err := knownhosts.New(sshDir("known_hosts"))
	if err != nil {
		return nil, fail(mlops.ErrUnauthenticated, "remote %q: %v; make the server's key known: ssh-keyscan -p %s %s >> ~/.ssh/known_hosts, and compare it", l.name, err, l.port, l.host)
	}
	conf := &ssh.ClientConfig{User: l.user, HostKeyCallback: known, HostKeyAlgorithms: algorithms(known, net.JoinHostPort(l.host, l.port)), Timeout: l.timeout}
	var signers []ssh.Signer
	for _, file := range l.keys {
		pem, err := os.ReadFile(file)
		if err != nil {
			if l.must {
				return nil, fail(mlops.ErrInvalid, "remote %q: %v", l.name, err)
			}
			continue
		}
		s, err := ssh.ParsePrivateKey(pem)
		if _, locked := errors.AsType[*ssh.PassphraseMissingError](err); locked && l.passphrase != "" {
			s, err = ssh.ParsePrivateKeyWithPassphrase(pem, []byte(l.passphrase))
		}
		if err != nil {
			if l.must {
				return nil, fail(mlops.ErrInvalid, "remote %q: key %s cannot be used: %v", l.name, file, err)
			}
			continue
		}
		signers = append(signers, s)
	}
	if sock := os.Getenv("SSH_AUTH_SOCK"); l.agent && sock != "" {
		if conn, err := net.Dial("unix", sock); err == nil {
			if more, err := agent.NewClient(conn).Signers(); err == nil {
				signers = append(signers, more...) // the agent's connection lives as long as they may sign
			}
		}
	}
	if len(signers) > 0 {
		conf.Auth = append(conf.Auth, ssh.PublicKeys(signers...))
	}
	if l.password != "" {
		conf.Auth = append(conf.Auth, ssh.Password(string(l.password)), ssh.KeyboardInteractive(func(_, _ string, questions []string, _ []bool) ([]string, error) {
			answers := make([]string, len(questions))
			for i := range answers {
				answers[i] = string(l.password)
			}
			return answers, nil
		}))
	}
	if len(conf.Auth) == 0 {
		return nil, fail(mlops.ErrUnauthenticated, "remote %q: there is no key, agent or password to log in with at %s", l.name, l.host)
	}
	return conf, nil
}

// algorithms are those of the host keys that are known: asked for another one,
// a known server would look like a stranger.
func algorithms(known ssh.HostKeyCallback, addr string) []string {
	err := known(addr, &net.TCPAddr{IP: net.IPv4zero}, noKey{})
	e, ok := errors.AsType[*knownhosts.KeyError](err)
	if !ok {
		return nil
	}
	var out []string
	for _, k := range e.Want {
		if t := k.Key.Type(); t == ssh.KeyAlgoRSA {
			out = append(out, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256, t)
		} else {
			out = append(out, t)
		}
	}
	return out
}

// noKey is a key without an owner.
type noKey struct{}

func (noKey) Type() string                        { return "none" }
func (noKey) Marshal() []byte                     { return []byte("none") }
func (noKey) Verify([]byte, *ssh.Signature) error { return errors.New("no key") }

// explain says what a failed handshake means.
func (l *login) explain(err error) error {
	if e, ok := errors.AsType[*knownhosts.KeyError](err); ok {
		if len(e.Want) == 0 {
			return fail(mlops.ErrUnauthenticated, "remote %q: the key of %s is not known; compare it, then: ssh-keyscan -p %s %s >> ~/.ssh/known_hosts", l.name, l.host, l.port, l.host)
		}
		return fail(mlops.ErrUnauthenticated, "remote %q: the key of %s is not the known one (known_hosts:%d): another machine may be answering", l.name, l.host, e.Want[0].Line)
	}
	if strings.Contains(err.Error(), "unable to authenticate") {
		return fail(mlops.ErrUnauthenticated, "remote %q: %s does not let %s in", l.name, l.host, l.user)
	}
	return &mlops.Error{Kind: mlops.ErrUnavailable, Service: "dvc", Op: "SSH", Cause: err}
}
