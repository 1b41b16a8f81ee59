package client

import (
	"cmp"
	"context"
	"crypto/md5" //nolint:gosec // DVC's hash
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/mlops-integration/mlops"
)

// The lineage that a drift snapshot carries in its metadata, beside that of a
// deployment.
const (
	metaDeployment = "mlops.deployment"
	metaReference  = "mlops.reference_md5"
	metaCurrent    = "mlops.current_md5"
)

// About returns what names a deployment, or a model version, in the metadata of a
// drift report ([evidently.DriftOptions]): model, version, run, and the deployment.
// It is called as for [Project.Undeploy], or as [Client.ModelVersion] reads it.
func (p *Project) About(ctx context.Context, what string) (map[string]string, error) {
	if err := p.opened(); err != nil {
		return nil, err
	}
	if strings.ContainsAny(what, "@/") {
		v, err := p.ModelVersion(ctx, what)
		if err != nil {
			return nil, err
		}
		return map[string]string{metaModel: v.Name, metaVersion: v.Version, metaRun: v.RunID}, nil
	}
	name, err := p.deployed(ctx, what, "")
	if err != nil {
		return nil, err
	}
	for a, err := range p.Deployments(ctx) {
		if err != nil {
			return nil, err
		}
		if a.Name != name {
			continue
		}
		about := map[string]string{metaDeployment: a.Name}
		for _, key := range []string{metaModel, metaVersion, metaRun} {
			if v := a.Metadata[key]; v != "" {
				about[key] = v
			}
		}
		return about, nil
	}
	return nil, &mlops.Error{Kind: mlops.ErrNotFound, Message: fmt.Sprintf("project %s serves no %q; mlopsctl list-deployments shows what there is", p.join("/"), what)}
}

// digests adds the hashes of the compared files, as DVC has them, to metadata.
func digests(ctx context.Context, metadata map[string]string, reference, current string) error {
	var hashes [2]string
	var g errgroup.Group
	for i, path := range []string{reference, current} {
		g.Go(func() (err error) {
			hashes[i], err = md5Of(ctx, path)
			return err
		})
	}
	err := g.Wait()
	if err == nil {
		metadata[metaReference], metadata[metaCurrent] = hashes[0], hashes[1]
	}
	return err
}

var errNoFile = invalid("it is no regular file, which can be read twice")

func md5Of(ctx context.Context, path string) (string, error) {
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() { // a pipe can be read once only
		return "", cmp.Or(err, errNoFile)
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := md5.New() //nolint:gosec // DVC's hash
	buf := make([]byte, 1<<20)
	for {
		n, err := f.Read(buf)
		h.Write(buf[:n])
		if err == io.EOF {
			break
		}
		if err = cmp.Or(err, context.Cause(ctx)); err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
