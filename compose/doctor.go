package compose

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/shirou/gopsutil/v4/disk"
	"github.com/shirou/gopsutil/v4/mem"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/stackfile"
)

// Severity is how much a [Finding] matters.
type Severity string

// The severities of a finding.
const (
	SeverityOK   Severity = "ok"
	SeverityWarn Severity = "warn" // the stack works, less well or not for long
	SeverityFail Severity = "fail" // something does not work
)

// Finding is what one check of [Stack.Doctor] came to.
type Finding struct {
	Check    string   `json:"check"`
	Severity Severity `json:"state"` // the key is older than the name
	Message  string   `json:"message"`
	Fix      string   `json:"fix,omitempty"` // a command that helps; empty when nothing has to be done
}

// What the stack needs. The environments take 2.5 GB, the programs of
// PostgreSQL 0.1 GB, data and logs the rest; the idle stack has 2.5 GB in memory.
const (
	diskNeeded   = 5 << 30
	diskTight    = 2 << 30
	memoryNeeded = 4 << 30
)

// Doctor looks at what the stack needs and at what runs, and says for each
// finding what helps. It changes nothing. The error is only for a Doctor that
// could not look.
func (s *Stack) Doctor(ctx context.Context) ([]Finding, error) {
	r, err := s.carrier()
	if err != nil {
		return nil, err
	}
	return r.doctor(ctx)
}

func (s processes) doctor(ctx context.Context) ([]Finding, error) {
	st, err := s.Status(ctx)
	if err != nil {
		return nil, err
	}
	var out []Finding
	for _, check := range []func(context.Context, Status) []Finding{
		s.checkPython, s.checkUV, s.checkPostgres, s.checkHome, s.checkDisk, s.checkMemory,
		s.checkEnvironments, s.checkS3, s.checkState, s.checkDatabases, s.checkFiles,
		s.checkServices, s.checkPorts, s.checkMLflow,
	} {
		if err := ctx.Err(); err != nil {
			return out, err
		}
		out = append(out, check(ctx, st)...)
	}
	return out, nil
}

func (s *Stack) checkPython(ctx context.Context, _ Status) []Finding {
	p, err := findPython(ctx)
	if err == nil {
		return []Finding{{"python", SeverityOK, fmt.Sprintf("Python %s at %s", p.version(), p.Path), ""}}
	}
	fix := "apt-get install python3 python3-venv"
	if _, err := exec.LookPath("brew"); err == nil {
		fix = "brew install python@3.12"
	}
	state := SeverityFail
	if _, found := findUV(ctx, s.home); found {
		state = SeverityWarn // uv can fetch one
	}
	return []Finding{{"python", state, "no " + pythonRange + ": " + err.Error(), fix}}
}

func (s *Stack) checkUV(ctx context.Context, _ Status) []Finding {
	if _, found := findUV(ctx, s.home); found {
		return []Finding{{"uv", SeverityOK, "found", ""}}
	}
	return []Finding{{"uv", SeverityWarn, "not here yet; setup installs it into " + s.home, "mlopsctl setup"}}
}

func (s *Stack) checkPostgres(ctx context.Context, _ Status) []Finding {
	root, err := postgresRoot(s.home)
	if err != nil {
		return []Finding{{"postgres", SeverityFail, err.Error(), "unset " + postgresFolder}}
	}
	p := postgres{root: root}
	for _, bin := range postgresCandidates(root) {
		if major, err := p.versionOf(ctx, bin); err == nil && major >= postgresLeast && (p.dataMajor() == 0 || p.dataMajor() == major) {
			return []Finding{{"postgres", SeverityOK, fmt.Sprintf("PostgreSQL %d in %s", major, bin), ""}}
		}
	}
	if n := p.dataMajor(); n != 0 {
		return []Finding{{"postgres", SeverityFail, fmt.Sprintf("the data in %s is of PostgreSQL %d, whose programs are not here", p.data(), n), fmt.Sprintf("apt-get install postgresql-%d", n)}}
	}
	return []Finding{{"postgres", SeverityWarn, fmt.Sprintf("no PostgreSQL %d or later yet; setup fetches one", postgresLeast), "mlopsctl setup"}}
}

func (s *base) checkDisk(ctx context.Context, _ Status) []Finding {
	dir := s.home
	for _, err := os.Stat(dir); err != nil && dir != filepath.Dir(dir); _, err = os.Stat(dir) {
		dir = filepath.Dir(dir)
	}
	u, err := disk.UsageWithContext(ctx, dir)
	if err != nil {
		return []Finding{{"disk", SeverityWarn, err.Error(), ""}}
	}
	need := uint64(diskNeeded)
	if len(pythons(s.home)) >= len(servers) {
		need = diskTight // everything is installed
	}
	return []Finding{diskFinding(s.home, u.Free, need)}
}

func diskFinding(home string, free, need uint64) Finding {
	text := fmt.Sprintf("%.1f GB free for %s", float64(free)/1e9, home)
	if free < need {
		return Finding{"disk", SeverityFail, fmt.Sprintf("%s, %.1f GB are needed", text, float64(need)/1e9), "MLOPS_HOME=/a/larger/disk mlopsctl setup"}
	}
	return Finding{"disk", SeverityOK, text, ""}
}

func (s *Stack) checkMemory(ctx context.Context, st Status) []Finding {
	m, err := mem.VirtualMemoryWithContext(ctx)
	if err != nil {
		return []Finding{{"memory", SeverityWarn, err.Error(), ""}}
	}
	return []Finding{memoryFinding(m.Available, m.Total, st.State)}
}

func memoryFinding(available, total uint64, stack State) Finding {
	text := fmt.Sprintf("%.1f GB of %.1f GB available", float64(available)/1e9, float64(total)/1e9)
	if available < memoryNeeded && stack == StateStopped {
		return Finding{"memory", SeverityWarn, fmt.Sprintf("%s, the whole stack wants %.1f GB", text, float64(memoryNeeded)/1e9), "mlopsctl start --light"}
	}
	return Finding{"memory", SeverityOK, text, ""}
}

func (s *Stack) checkEnvironments(context.Context, Status) []Finding {
	var out []Finding
	for _, v := range servers {
		d, err := lockDrift(s.home, v)
		switch {
		case err != nil:
			out = append(out, Finding{"environment " + v, SeverityFail, err.Error(), "mlopsctl setup"})
		case d != "":
			out = append(out, Finding{"environment " + v, SeverityWarn, d, "mlopsctl setup"})
		default:
			out = append(out, Finding{"environment " + v, SeverityOK, "as locked", ""})
		}
	}
	return out
}

// checkS3 looks for the program of the service s3, if that belongs to the stack.
func (s *Stack) checkS3(context.Context, Status) []Finding {
	rec, err := readState(s.home)
	if err != nil || !slices.Contains(rec.Optional, "s3") {
		return nil
	}
	if _, err := os.Stat(gatewayProgram(s.home)); err != nil {
		return []Finding{{"s3", SeverityWarn, "versitygw " + gatewayVersion + " is not here; start builds it", "mlopsctl setup s3"}}
	}
	return []Finding{{"s3", SeverityOK, "versitygw " + gatewayVersion, ""}}
}

// checkState looks for what a supervisor left that is not there any more.
func (s *Stack) checkState(_ context.Context, st Status) []Finding {
	_, noFile := stackfile.Read(s.home)
	var damage error
	if b, err := os.ReadFile(statePath(s.home)); err == nil {
		_, damage = decodeState(b)
	}
	switch {
	case damage != nil:
		return []Finding{{"state", SeverityFail, statePath(s.home) + " cannot be read, so that servers may run that no command knows: " + damage.Error(), "mlopsctl stop"}}
	case st.Supervisor.PID == 0 && st.State != StateStopped:
		return []Finding{{"state", SeverityFail, st.Message, "mlopsctl start"}}
	case st.Supervisor.PID == 0 && !errors.Is(noFile, mlops.ErrNotFound):
		return []Finding{{"state", SeverityWarn, "the stack is stopped, but " + stackfile.Path(s.home) + " says where it is", "mlopsctl stop"}}
	case st.Supervisor.PID == 0:
		return []Finding{{"state", SeverityOK, "the stack is stopped", ""}}
	}
	return []Finding{{"state", SeverityOK, fmt.Sprintf("supervisor %d watches since %s", st.Supervisor.PID, st.Supervisor.Since.Format(time.RFC3339)), ""}}
}

func (s *base) checkServices(_ context.Context, st Status) []Finding {
	var out []Finding
	for _, v := range st.Services {
		switch v.State {
		case StateFailed, StateBackoff, StateUnhealthy:
			out = append(out, Finding{"service " + v.Name, SeverityFail, v.Message, "mlopsctl logs " + v.Name})
		}
	}
	return out
}

// checkPorts names who holds a port that a stopped service would have.
func (s *Stack) checkPorts(_ context.Context, st Status) []Finding {
	var out []Finding
	running := map[int]bool{}
	for _, v := range st.Services {
		if v.State != StateStopped {
			for _, n := range v.Ports {
				running[n] = true
			}
		}
	}
	for _, v := range s.recipes(st.Light) {
		for _, p := range v.ports {
			if v.optional || running[p.first] || portFree(p.first) {
				continue
			}
			who := holders(p.first)
			fix := "mlopsctl start"
			if len(who) > 0 && who[0].PID != 0 {
				fix = fmt.Sprintf("ps -p %d", who[0].PID)
			}
			out = append(out, Finding{"port " + v.name + "/" + p.name, SeverityWarn, heldText(p.first, who) + "; the next free one is used", fix})
		}
	}
	if len(out) == 0 {
		out = append(out, Finding{"ports", SeverityOK, "none is held by others", ""})
	}
	return out
}

// checkMLflow asks MLflow by the address that programs use: it refuses host
// names that it was not told of. The answer's date shows how the clocks agree.
func (s *base) checkMLflow(ctx context.Context, _ Status) []Finding {
	st, err := stackfile.Read(s.home)
	if err != nil {
		return nil
	}
	e, ok := st.Endpoints[stackfile.MLflow]
	if !ok {
		return nil
	}
	pw, err := e.Secret()
	if err != nil {
		return []Finding{{"mlflow", SeverityFail, err.Error(), "chmod 600 " + quoted(e.SecretFile)}}
	}
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", e.URL+"/api/2.0/mlflow/experiments/get?experiment_id=0", nil)
	if err != nil {
		return []Finding{{"mlflow", SeverityFail, err.Error(), "mlopsctl restart mlflow"}}
	}
	mlops.Auth{Username: e.Username, Password: pw}.Apply(req.Header)
	resp, err := probes.Do(req)
	if err != nil {
		return []Finding{{"mlflow", SeverityFail, err.Error(), "mlopsctl logs mlflow"}}
	}
	resp.Body.Close()
	out := []Finding{{"mlflow host header", SeverityOK, e.URL + " is answered", ""}}
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusForbidden:
		out[0] = Finding{"mlflow host header", SeverityFail, e.URL + " is refused: the server does not allow this host name", "mlopsctl restart mlflow"}
	default:
		out[0] = Finding{"mlflow host header", SeverityFail, fmt.Sprintf("%s answered %d", e.URL, resp.StatusCode), "mlopsctl logs mlflow"}
	}
	return append(out, clockFinding(resp.Header.Get("Date"), time.Now()))
}

// clockFinding compares a server's date, of one second's resolution, with ours.
func clockFinding(date string, now time.Time) Finding {
	there, err := http.ParseTime(date)
	if err != nil {
		return Finding{"clock", SeverityWarn, "the server sends no date", ""}
	}
	skew := now.Sub(there).Round(time.Second)
	if slices.Max([]time.Duration{skew, -skew}) > 5*time.Second {
		return Finding{"clock", SeverityFail, fmt.Sprintf("the server's clock differs by %s; logins expire early or late", skew), "sudo sntp -sS time.apple.com || sudo timedatectl set-ntp true"}
	}
	if now.Year() < 2025 {
		return Finding{"clock", SeverityFail, "the clock says " + strings.TrimSpace(now.Format(time.RFC1123)), "sudo timedatectl set-ntp true"}
	}
	return Finding{"clock", SeverityOK, "agrees with the server's", ""}
}
