package compose

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// What the whole stack wants of an engine.
const (
	apiNeeded          = "1.41" // Docker 20.10
	engineMemoryNeeded = 8 << 30
)

// doctor looks at the engine, the compose plugin and what runs.
func (d *docker) doctor(ctx context.Context) ([]Finding, error) {
	engine := d.checkEngine(ctx)
	out := []Finding{engine, d.checkPlugin(ctx)}
	out = append(out, d.checkDisk(ctx, Status{})...)
	if engine.Severity == SeverityFail {
		return out, ctx.Err()
	}
	out = append(out, d.checkEngineMemory(ctx))
	st, err := d.status(ctx)
	if err != nil {
		return out, err
	}
	out = append(out, d.checkServices(ctx, st)...)
	return append(out, d.checkMLflow(ctx, st)...), nil
}

func (d *docker) checkEngine(ctx context.Context) Finding {
	b, err := d.docker(ctx, nil, "version", "--format", "{{json .Server}}")
	if err != nil {
		return Finding{"engine", SeverityFail, err.Error(), "mlopsctl start --runtime process"}
	}
	var v struct{ Version, APIVersion string }
	if err := json.Unmarshal(b, &v); err != nil {
		return Finding{"engine", SeverityFail, "what docker version says cannot be read: " + err.Error(), "docker version"}
	}
	return engineFinding(v.Version, v.APIVersion)
}

func engineFinding(version, api string) Finding {
	text := fmt.Sprintf("Docker %s, API %s", version, api)
	if older(api, apiNeeded) {
		return Finding{"engine", SeverityFail, fmt.Sprintf("%s; API %s is the oldest that serves", text, apiNeeded), "update Docker"}
	}
	return Finding{"engine", SeverityOK, text, ""}
}

// older compares versions number by number.
func older(a, b string) bool {
	x, y := strings.Split(a, "."), strings.Split(b, ".")
	for i := range min(len(x), len(y)) {
		m, _ := strconv.Atoi(x[i])
		n, _ := strconv.Atoi(y[i])
		if m != n {
			return m < n
		}
	}
	return len(x) < len(y)
}

func (d *docker) checkPlugin(ctx context.Context) Finding {
	b, err := d.docker(ctx, nil, "compose", "version", "--short")
	if err != nil {
		return Finding{"compose plugin", SeverityFail, err.Error(), "apt-get install docker-compose-plugin"}
	}
	return pluginFinding(strings.TrimSpace(string(b)))
}

// pluginFinding takes a plugin that was built without a version as it is.
func pluginFinding(version string) Finding {
	number := strings.TrimPrefix(version, "v")
	if number != "" && number[0] >= '0' && number[0] <= '9' && older(number, "2.20") {
		return Finding{"compose plugin", SeverityFail, version + "; 2.20 is the oldest that serves", "update docker-compose-plugin"}
	}
	return Finding{"compose plugin", SeverityOK, version, ""}
}

func (d *docker) checkEngineMemory(ctx context.Context) Finding {
	b, err := d.docker(ctx, nil, "info", "--format", "{{.MemTotal}}")
	if err != nil {
		return Finding{"engine memory", SeverityWarn, err.Error(), "docker info"}
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return Finding{"engine memory", SeverityWarn, "docker info does not tell", "docker info"}
	}
	return engineMemoryFinding(n)
}

func engineMemoryFinding(total uint64) Finding {
	text := fmt.Sprintf("the engine has %.1f GB", float64(total)/1e9)
	if total < engineMemoryNeeded {
		return Finding{"engine memory", SeverityWarn, fmt.Sprintf("%s, the whole stack wants %.1f GB", text, float64(engineMemoryNeeded)/1e9), "mlopsctl start mlflow"}
	}
	return Finding{"engine memory", SeverityOK, text, ""}
}
