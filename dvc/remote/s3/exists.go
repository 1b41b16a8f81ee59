package s3

import (
	"context"
	"errors"
	"iter"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"golang.org/x/sync/errgroup"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/remote"
)

const (
	page = 1000 // keys that one listing tells at most
	few  = 8    // keys that are always asked for one by one
)

// Missing asks for a few keys one by one. Of many, it lists the first page of
// where they lie: that decides the keys it covers, and its density tells how
// many pages there are. Then it lists the rest, in parallel, or asks for what
// is left of the keys, whichever is fewer requests.
//
// S3 REST: HeadObject, ListObjectsV2
func (s *Store) Missing(ctx context.Context, keys []string) ([]string, error) {
	bases := map[string]map[string]bool{} // folder of hashes: keys looked for there
	var single []string
	for _, key := range keys {
		if err := remote.CheckKey(key); err != nil {
			return nil, err
		}
		base, ok := hashed(key)
		if !ok {
			single = append(single, key)
			continue
		}
		if bases[base] == nil {
			bases[base] = map[string]bool{}
		}
		bases[base][key] = true
	}
	var missing []string
	for base, want := range bases {
		if len(want) > few {
			absent, unknown, err := s.list(ctx, base, want)
			if err != nil {
				return nil, wrap(ctx, "Missing", err)
			}
			missing, single = append(missing, absent...), append(single, unknown...)
			continue
		}
		single = slices.AppendSeq(single, maps.Keys(want))
	}
	gone, err := s.ask(ctx, single)
	return append(missing, gone...), err
}

var inFolder = regexp.MustCompile(`^[0-9a-f]{2}/`)

// hashed tells in which folder, such as "files/md5/", the folders 00 to ff lie
// one of which holds key.
func hashed(key string) (base string, ok bool) {
	for _, known := range []string{"files/md5/", "runs/", ""} {
		if rest, found := strings.CutPrefix(key, known); found && inFolder.MatchString(rest) {
			return known, true
		}
	}
	return "", false
}

// ask sends a HEAD for each key.
func (s *Store) ask(ctx context.Context, keys []string) ([]string, error) {
	var mu sync.Mutex
	var out []string
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(s.jobs)
	for _, key := range keys {
		g.Go(func() error {
			if gctx.Err() != nil {
				return gctx.Err()
			}
			_, err := s.head(gctx, key)
			if err = wrap(gctx, "Missing", err); errors.Is(err, mlops.ErrNotFound) {
				if e, _ := errors.AsType[*mlops.Error](err); e.Code == "NoSuchBucket" {
					return err
				}
				mu.Lock()
				defer mu.Unlock()
				out = append(out, key)
				return nil
			}
			return err
		})
	}
	err := g.Wait()
	if ctx.Err() != nil {
		err = wrap(ctx, "Missing", ctx.Err())
	}
	return out, err
}

func (s *Store) head(ctx context.Context, key string) (*s3.HeadObjectOutput, error) {
	return s.s3.HeadObject(ctx, &s3.HeadObjectInput{
		Bucket: &s.bucket, Key: aws.String(s.prefix + key), SSECustomerAlgorithm: s.extra.alg, SSECustomerKey: s.extra.key, SSECustomerKeyMD5: s.extra.keyMD5,
	})
}

// Stat asks for an object.
//
// S3 REST: HeadObject
func (s *Store) Stat(ctx context.Context, key string) (remote.Object, error) {
	if err := remote.CheckKey(key); err != nil {
		return remote.Object{}, err
	}
	h, err := s.head(ctx, key)
	if err != nil {
		return remote.Object{}, wrap(ctx, "Stat", err)
	}
	return remote.Object{Key: key, SizeBytes: aws.ToInt64(h.ContentLength), ETag: strings.Trim(aws.ToString(h.ETag), `"`)}, nil
}

// list looks for keys below base. unknown are those that are cheaper to ask for
// than to find in the listing.
func (s *Store) list(ctx context.Context, base string, want map[string]bool) (absent, unknown []string, err error) {
	const end = "ff~" // behind the last hash
	strike := func(keys []string) (last string) {
		for _, k := range keys {
			last = strings.TrimPrefix(k, s.prefix)
			delete(want, last)
		}
		return strings.TrimPrefix(last, base)
	}
	first, err := s.page(ctx, base, "0", "")
	if err != nil {
		return nil, nil, err
	}
	last := strike(first.keys)
	if !first.more || last > end {
		return slices.Collect(maps.Keys(want)), nil, nil
	}
	for key := range want {
		if strings.TrimPrefix(key, base) <= last { // it would have been on the page
			absent = append(absent, key)
			delete(want, key)
		}
	}
	at := position(last)
	pages := int((1 - at) / at)
	if len(want) < pages {
		return absent, slices.Collect(maps.Keys(want)), nil
	}
	var mu sync.Mutex
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(s.jobs)
	parts := min(max(1, pages/2), 4*s.jobs)
	for i, from := 0, last; i < parts; i++ {
		to := end
		if i < parts-1 {
			to = bound(at + (1-at)*float64(i+1)/float64(parts))
		}
		after := from
		from = to
		g.Go(func() error {
			for token := ""; ; {
				p, err := s.page(gctx, base, after, token)
				if err != nil {
					return err
				}
				mu.Lock()
				reached := strike(p.keys)
				mu.Unlock()
				if !p.more || reached > to {
					return nil
				}
				token = p.next
			}
		})
	}
	if err := g.Wait(); err != nil {
		return nil, nil, err
	}
	return slices.AppendSeq(absent, maps.Keys(want)), nil, nil
}

// position is where between the first and the last hash a name like "3f/ab…"
// lies: above 0, at most 1.
func position(name string) float64 {
	hex := strings.ReplaceAll(name, "/", "")
	n, err := strconv.ParseUint(hex[:min(len(hex), 8)], 16, 64)
	if err != nil {
		return 1
	}
	return max(float64(n)/(1<<32), 1e-9)
}

// bound is the name at a position.
func bound(at float64) string {
	hex := strconv.FormatUint(1<<32+uint64(min(max(at, 0), 1)*(1<<32-1)), 16)[1:]
	return hex[:2] + "/" + hex[2:]
}

type listed struct {
	keys []string
	more bool
	next string
}

// page lists keys below base: those that follow base+after, or token.
func (s *Store) page(ctx context.Context, base, after, token string) (listed, error) {
	in := &s3.ListObjectsV2Input{Bucket: &s.bucket, Prefix: aws.String(s.prefix + base), StartAfter: aws.String(s.prefix + base + after)}
	if token != "" {
		in.ContinuationToken = &token
	}
	out, err := s.s3.ListObjectsV2(ctx, in)
	if err != nil {
		return listed{}, wrap(ctx, "Missing", err)
	}
	l := listed{more: aws.ToBool(out.IsTruncated), next: aws.ToString(out.NextContinuationToken), keys: make([]string, len(out.Contents))}
	for i, o := range out.Contents {
		l.keys[i] = aws.ToString(o.Key)
	}
	if l.more && (l.next == "" || len(l.keys) == 0) {
		return l, fault(mlops.ErrInvalid, "the store breaks a listing off without saying where it continues")
	}
	return l, nil
}

// List yields the objects below prefix.
//
// S3 REST: ListObjectsV2
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[remote.Object, error] {
	return func(yield func(remote.Object, error) bool) {
		pages := s3.NewListObjectsV2Paginator(s.s3, &s3.ListObjectsV2Input{Bucket: &s.bucket, Prefix: aws.String(s.prefix + prefix)})
		for pages.HasMorePages() {
			p, err := pages.NextPage(ctx)
			if err != nil {
				yield(remote.Object{}, wrap(ctx, "List", err))
				return
			}
			for _, o := range p.Contents {
				key := strings.TrimPrefix(aws.ToString(o.Key), s.prefix)
				if key == "" || strings.HasSuffix(key, "/") {
					continue // the marker of a folder
				}
				if !yield(remote.Object{Key: key, SizeBytes: aws.ToInt64(o.Size), ETag: strings.Trim(aws.ToString(o.ETag), `"`)}, nil) {
					return
				}
			}
		}
	}
}

// Remove deletes an object.
//
// S3 REST: DeleteObject
func (s *Store) Remove(ctx context.Context, key string) error {
	name, err := s.name(key)
	if err != nil {
		return err
	}
	_, err = s.s3.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &s.bucket, Key: name})
	if err = wrap(ctx, "Remove", err); errors.Is(err, mlops.ErrNotFound) {
		return nil
	}
	return err
}
