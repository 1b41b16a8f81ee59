package compose

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/compose/internal/proc"
	"github.com/mlops-integration/mlops/internal/stackfile"
)

// toyVariable makes a supervisor of this test binary know the toy, and names
// its first port.
const toyVariable = "MLOPS_TEST_TOY"

// toyService and toyBlock are all that a new service needs: a recipe, which its
// file would add with "func init() { added = append(added, toyService) }", and a block of compose.yaml.
func toyService() service {
	var first int
	_, _ = fmt.Sscan(os.Getenv(toyVariable), &first)
	return service{
		name:  "toy",
		ports: []port{{name: "http", first: first, inside: 9000}},
		command: func(s *site) (command, error) {
			return command{path: os.Args[0], env: []string{
				roleVariable + "=/toy", fmt.Sprintf("PORT=%d", s.port("toy", "http")),
				"GOCOVERDIR=" + s.home, "GORACE=" + os.Getenv("GORACE"),
			}}, nil
		},
		ready: func(ctx context.Context, s *site) error {
			status, body, err := probe(ctx, "GET", s.url("toy", "http"), mlops.Auth{}, 5*time.Second)
			if err == nil && (status != 200 || proc.MarkVariable+"="+string(body) != proc.Mark(s.home, "toy")) {
				err = fmt.Errorf("%q answers", body)
			}
			return err
		},
		endpoints: func(s *site) map[string]stackfile.Endpoint {
			return map[string]stackfile.Endpoint{"toy": {URL: s.url("toy", "http")}}
		},
	}
}

const toyBlock = `
  toy:
    <<: [*common, *small]
    image: ${MLOPS_IMAGE_DEBIAN:-debian:12}
    networks: [front]
    ports: ["127.0.0.1:${MLOPS_PORT_TOY:-9000}:9000"]
    healthcheck:
      <<: *health
      test: ["CMD", "/bin/true"]
`

// addToy adds the toy for one test.
func addToy(t *testing.T) {
	t.Helper()
	before := added
	t.Cleanup(func() { added = before })
	added = append(slices.Clone(before), toyService)
}

func TestANewServiceIsOneRecipe(t *testing.T) {
	number := freePort(t)
	t.Setenv(toyVariable, fmt.Sprint(number))
	addToy(t)
	s, err := New(Options{Home: t.TempDir(), Command: os.Args[0], Runtime: ProcessRuntime})
	require.NoError(t, err)
	s.timing = testTiming
	t.Cleanup(func() { require.NoError(t, s.Stop(context.Background(), StopOptions{})) })

	toy := StartOptions{Services: []string{"toy"}}
	p, err := s.Plan(t.Context(), toy)
	require.NoError(t, err)
	require.Equal(t, Plan{[]Step{{"start", "toy", "not running"}}}, p)
	st, err := s.Start(t.Context(), toy)
	require.NoError(t, err)
	require.Equal(t, StateReady, of(st, "toy").State)
	require.Equal(t, map[string]int{"http": number}, of(st, "toy").Ports)
	st, err = s.Status(t.Context())
	require.NoError(t, err)
	require.Equal(t, fmt.Sprintf("http://127.0.0.1:%d", number), of(st, "toy").URL)
	file, err := stackfile.Read(s.home)
	require.NoError(t, err)
	require.Equal(t, of(st, "toy").URL, file.Endpoints["toy"].URL)
	var said bytes.Buffer
	require.NoError(t, s.Logs(t.Context(), &said, LogOptions{Services: []string{"toy"}}))
	require.Contains(t, said.String(), "toy begins")

	kill(t, of(st, "toy").PID)
	eventually(t, "it is started again", func() bool {
		now, err := s.Status(t.Context())
		return err == nil && of(now, "toy").State == StateReady && of(now, "toy").PID != of(st, "toy").PID
	})
	require.NoError(t, s.Stop(t.Context(), StopOptions{Services: []string{"toy"}}))
	require.Empty(t, proc.Listeners(number))

	stranger, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", number))
	require.NoError(t, err)
	defer stranger.Close()
	found, err := s.Doctor(t.Context())
	require.NoError(t, err)
	require.True(t, slices.ContainsFunc(found, func(f Finding) bool { return f.Check == "port toy/http" && f.Severity == SeverityWarn }), "doctor does not know its port")
}

func TestANewServiceIsOneBlockInContainers(t *testing.T) {
	t.Setenv(toyVariable, "9000")
	addToy(t)
	b, err := dockerFiles.ReadFile("docker/compose.yaml")
	require.NoError(t, err)
	before, after, ok := bytes.Cut(b, []byte("\nnetworks:\n"))
	require.True(t, ok)
	agree(t, slices.Concat(before, []byte(toyBlock), []byte("\nnetworks:\n"), after))

	engineOf(t)
	d, err := dockerStack(t).containers()
	require.NoError(t, err)
	want, err := resolve(d.services(false), []string{"toy"}, true)
	require.NoError(t, err)
	require.NoError(t, d.choosePorts(Status{}, want, reserved{}))
	env, err := d.environ()
	require.NoError(t, err)
	require.Contains(t, env, fmt.Sprintf("MLOPS_PORT_TOY=%d", d.record.Ports["toy/http"]))
}
