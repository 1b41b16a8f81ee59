package compose

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/stackfile"
)

// The S3 server is versitygw, of the version that the Docker runtime runs.
const (
	gatewayModule  = "github.com/versity/versitygw"
	gatewayVersion = "v1.8.0"
	gatewayRegion  = "us-east-1" // its default
)

// s3User is the access key; the secret key is the secret "s3".
const s3User = "mlops"

// s3Service is an S3 server on a folder of this machine. It is not started
// unless it is named: the other services need none.
func s3Service() service {
	return service{
		name:     "s3",
		optional: true,
		ports:    []port{{name: "http", first: 7070}},
		prepare:  s3Prepare,
		command: func(s *site) (command, error) {
			secret, _, err := s.secret("s3")
			return command{
				path: gatewayProgram(s.home),
				args: []string{"--quiet", "--port", "127.0.0.1:" + strconv.Itoa(s.port("s3", "http")), "--region", gatewayRegion, "posix", s.data("s3")},
				env:  []string{"ROOT_ACCESS_KEY=" + s3User, "ROOT_SECRET_KEY=" + string(secret)},
				dir:  s.data("s3"),
			}, err
		},
		ready: s3Ready,
		endpoints: func(s *site) map[string]stackfile.Endpoint {
			return map[string]stackfile.Endpoint{stackfile.S3: {URL: s.url("s3", "http"), Username: s3User, SecretFile: s.secretFile("s3")}}
		},
	}
}

// s3Prepare makes the bucket, which is a folder, and writes all that a client
// has to know into a credentials file of the AWS tools, a DVC remote's
// credentialpath: unlike an address in .dvc/config, it follows the port.
func s3Prepare(_ context.Context, s *site) error {
	secret, _, err := s.secret("s3")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(s.data("s3", stackfile.Bucket), 0o700); err != nil {
		return err
	}
	return writePrivate(filepath.Join(s.home, "secrets", "s3.aws"), strings.Join([]string{
		"# written by mlopsctl at each start",
		"[default]",
		"aws_access_key_id = " + s3User,
		"aws_secret_access_key = " + string(secret),
		"region = " + gatewayRegion,
		"endpoint_url = " + s.url("s3", "http"),
		"",
	}, "\n"))
}

// s3Ready takes only a versitygw that refuses strangers and has our bucket for
// our key.
func s3Ready(ctx context.Context, s *site) error {
	secret, _, err := s.secret("s3")
	if err != nil {
		return err
	}
	bucket := s.url("s3", "http") + "/" + stackfile.Bucket
	ask := func(key mlops.Secret) (*http.Response, error) {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, "HEAD", bucket, nil)
		if err != nil {
			return nil, err
		}
		if key != "" {
			signS3(req, s3User, key, time.Now())
		}
		resp, err := probes.Do(req)
		if err != nil {
			return nil, fmt.Errorf("no answer from %s: %w", req.URL.Host, err)
		}
		return resp, resp.Body.Close()
	}
	resp, err := ask("")
	if err != nil {
		return err
	}
	if who := resp.Header.Get("Server"); resp.StatusCode != http.StatusForbidden || who != "VERSITYGW" {
		return fmt.Errorf("%s is %q and answers %d to a stranger; that is not our S3", bucket, who, resp.StatusCode)
	}
	if resp, err = ask(secret); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %d to our key", bucket, resp.StatusCode)
	}
	return nil
}

// signS3 signs a request without query and body. The AWS SDK, which can do so,
// is for those who link an S3 driver.
// Source: https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
func signS3(req *http.Request, user string, key mlops.Secret, now time.Time) {
	const noBody = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" // SHA-256 of nothing
	mac := func(key []byte, text string) []byte {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(text))
		return h.Sum(nil)
	}
	at := now.UTC().Format("20060102T150405Z")
	scope := at[:8] + "/" + gatewayRegion + "/s3/aws4_request"
	const headers = "host;x-amz-content-sha256;x-amz-date"
	canonical := sha256.Sum256([]byte(strings.Join([]string{
		req.Method, req.URL.EscapedPath(), "",
		"host:" + req.URL.Host, "x-amz-content-sha256:" + noBody, "x-amz-date:" + at, "",
		headers, noBody,
	}, "\n")))
	k := []byte("AWS4" + string(key))
	for part := range strings.SplitSeq(scope, "/") {
		k = mac(k, part)
	}
	signature := hex.EncodeToString(mac(k, strings.Join([]string{"AWS4-HMAC-SHA256", at, scope, hex.EncodeToString(canonical[:])}, "\n")))
	req.Header.Set("X-Amz-Content-Sha256", noBody)
	req.Header.Set("X-Amz-Date", at)
	req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+user+"/"+scope+", SignedHeaders="+headers+", Signature="+signature)
}

// gatewayProgram is where setup installs versitygw.
func gatewayProgram(home string) string {
	return filepath.Join(home, "tools", "versitygw-"+gatewayVersion, "versitygw")
}

// ensureGateway builds versitygw from its Go module, which Go checks against
// its checksum database, unless it is there.
func (s *Stack) ensureGateway(ctx context.Context) error {
	program := gatewayProgram(s.home)
	there := func() bool {
		_, err := os.Stat(program)
		return err == nil
	}
	if there() {
		return nil
	}
	if err := makeHome(s.home); err != nil {
		return err
	}
	tools := filepath.Dir(filepath.Dir(program))
	if err := os.MkdirAll(tools, 0o755); err != nil {
		return err
	}
	free, err := lockFile(ctx, filepath.Join(s.home, "setup.lock"), func() {
		s.tell(Event{Service: "s3", State: StateWaiting, Message: "another setup is running; waiting for it"})
	})
	if err != nil {
		return err
	}
	defer free()
	if there() { // the other made it
		return nil
	}
	compiler, err := exec.LookPath("go")
	if err != nil {
		return &mlops.Error{Kind: mlops.ErrUnsupported, Service: "compose", Op: "setup", Message: "the service s3 is built from its Go module, and there is no go on PATH; install Go"}
	}
	s.tell(Event{Service: "s3", State: StatePreparing, Message: "building versitygw " + gatewayVersion})
	began := time.Now()
	fresh, err := os.MkdirTemp(tools, "new-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(fresh)
	cmd := exec.CommandContext(ctx, compiler, "install", gatewayModule+"/cmd/versitygw@"+gatewayVersion)
	cmd.Env = append(os.Environ(), "GOBIN="+fresh, "GOFLAGS=")
	cmd.Dir = fresh
	if out, err := cmd.CombinedOutput(); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		return &mlops.Error{Kind: mlops.ErrUnavailable, Service: "compose", Op: "setup", Message: fmt.Sprintf("versitygw %s cannot be built: %s", gatewayVersion, lines[len(lines)-1]), Cause: err}
	}
	if err := os.Chmod(fresh, 0o755); err != nil {
		return err
	}
	if err := os.RemoveAll(filepath.Dir(program)); err != nil {
		return err
	}
	if err := os.Rename(fresh, filepath.Dir(program)); err != nil {
		return err
	}
	s.tell(Event{Service: "s3", State: StateReady, Message: fmt.Sprintf("built in %.0f s", time.Since(began).Seconds())})
	return nil
}
