package client

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// mostName is how long the name of an application may be.
const mostName = 200

// appPrefix begins the names of the project's applications.
func (p *Project) appPrefix() string { return p.join(".") + "." }

// app is the cluster-wide name of a deployment that is called as it is listed,
// "project.name", or by its own name. "." cannot be part of a project's name,
// nor of what servedName makes, so that two projects never meet.
func (p *Project) app(name string) string {
	prefix := p.appPrefix()
	if strings.HasPrefix(name, prefix) && listedForm(name) {
		return name
	}
	return prefix + servedName(name, mostName-len(prefix))
}

// deployed finds the application that a user calls name: as it is listed, by
// its own name, or by that of its model. Earlier versions folded names to lower
// case and left dots in them; what they deployed keeps its name. With a model
// given, an application of that name counts only if it serves the model.
func (p *Project) deployed(ctx context.Context, name, model string) (string, error) {
	if name == "" {
		return "", errWhichDeployment
	}
	app, prefix := p.app(name), p.appPrefix()
	if model != "" {
		app = prefix + servedName(name, mostName-len(prefix))
	}
	if app == prefix+strings.ToLower(name) {
		return app, nil // it was never called otherwise
	}
	found := app
	for a, err := range p.Serve.Applications(ctx) {
		if err != nil {
			return "", err
		}
		serves := a.Metadata[metaModel]
		switch {
		case a.Metadata[metaProject] != p.join("/"):
		case a.Name == app:
			return app, nil
		case a.Name == prefix+name && (model == "" || serves == model):
			found = a.Name
		case a.Name == prefix+strings.ToLower(name) && serves == name:
			found = a.Name
		}
	}
	return found, nil
}

// listedForm reports whether name can be that of an application.
func listedForm(name string) bool {
	return !strings.ContainsFunc(name, func(r rune) bool { return !plain(r) && r != '.' && r != '~' })
}

func plain(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '-' || r == '_'
}

// servedName makes the name of a registered model one that can be a part of a
// route: letters, digits, "-" and "_" stay, every other byte becomes "~" and
// its two hex digits. Two models never get one name. What is longer than most
// ends in "~x" and a hash of the whole.
func servedName(model string, most int) string {
	var b strings.Builder
	for _, c := range []byte(model) {
		if plain(rune(c)) {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "~%02X", c)
		}
	}
	if b.Len() <= most {
		return b.String()
	}
	sum := sha256.Sum256([]byte(model))
	tail := "~x" + hex.EncodeToString(sum[:16])
	return b.String()[:most-len(tail)] + tail
}
