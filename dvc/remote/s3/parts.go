package s3

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"golang.org/x/sync/errgroup"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/remote"
)

const (
	mostParts = 10_000
	worth     = 64 << 20 // an object for which parts of a killed program are looked for
	rounds    = 3        // how often a part is begun, each time with all its tries
)

// putParts stores a large object. The whole is hashed while its parts travel,
// and is completed only if the hash is right.
func (s *Store) putParts(ctx context.Context, name string, data remote.Blob) error {
	body, size := data.Body, data.Body.Size()
	step := max(partSize, (size+mostParts-1)/mostParts)
	id, have, err := s.resume(ctx, name, size)
	if err != nil {
		return wrap(ctx, "Put", err)
	}
	again := false
	if id == "" {
		if id, again, err = s.begin(ctx, name); err != nil {
			return wrap(ctx, "Put", err)
		}
	}
	parts := make([]types.CompletedPart, (size+step-1)/step)
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		h := md5.New()
		if _, err := io.Copy(h, reading{gctx, io.NewSectionReader(body, 0, size)}); err != nil {
			return err
		}
		return same(h.Sum(nil), data.MD5)
	})
	for i := range parts {
		g.Go(func() (err error) {
			select {
			case s.parts <- struct{}{}:
				defer func() { <-s.parts }()
			case <-gctx.Done():
				return gctx.Err()
			}
			from := int64(i) * step
			n := min(step, size-from)
			if parts[i], err = s.putPart(gctx, name, id, int32(i+1), io.NewSectionReader(body, from, n), have[int32(i+1)]); err == nil {
				data.Report(n)
			}
			return err
		})
	}
	if err = g.Wait(); err == nil && ctx.Err() == nil {
		_, err = s.s3.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
			Bucket: &s.bucket, Key: &name, UploadId: &id, MultipartUpload: &types.CompletedMultipartUpload{Parts: parts},
			SSECustomerAlgorithm: s.extra.alg, SSECustomerKey: s.extra.key, SSECustomerKeyMD5: s.extra.keyMD5,
		})
	}
	if err == nil {
		err = ctx.Err()
	}
	if err = wrap(ctx, "Put", err); err != nil && !(errors.Is(err, mlops.ErrNotFound) && s.there(ctx, name, size)) {
		return s.takeBack(ctx, name, id, err)
	}
	// An upload that is not found was completed: the answer got lost, or another
	// program continued it. One that was begun twice has a twin.
	if again {
		return s.abortAll(ctx, name)
	}
	return nil
}

// takeBack aborts an upload that could not be completed.
func (s *Store) takeBack(ctx context.Context, name, id string, err error) error {
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), 15*time.Second)
	defer cancel()
	if aerr := s.abort(late, name, id); aerr != nil {
		return fmt.Errorf("%w; its parts stay in the store until the next push, for they could not be taken back: %w", err, aerr)
	}
	return err
}

// begin starts an upload. again tells that it took more than one try: an answer
// that got lost may have left an unknown upload.
func (s *Store) begin(ctx context.Context, name string) (id string, again bool, err error) {
	e := &s.extra
	made, err := s.s3.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{
		Bucket: &s.bucket, Key: &name, ServerSideEncryption: e.sse, SSEKMSKeyId: e.kmsKey,
		SSECustomerAlgorithm: e.alg, SSECustomerKey: e.key, SSECustomerKeyMD5: e.keyMD5,
		ACL: e.acl, GrantFullControl: e.full, GrantRead: e.read, GrantReadACP: e.racp, GrantWriteACP: e.wacp,
	})
	if err != nil {
		return "", false, err
	}
	if r, ok := retry.GetAttemptResults(made.ResultMetadata); ok {
		again = len(r.Results) > 1
	}
	return aws.ToString(made.UploadId), again, nil
}

// abortAll takes back what was begun for an object that is there by now.
func (s *Store) abortAll(ctx context.Context, name string) error {
	out, err := s.s3.ListMultipartUploads(ctx, &s3.ListMultipartUploadsInput{Bucket: &s.bucket, Prefix: &name})
	if err != nil {
		return wrap(ctx, "Put", err)
	}
	for _, u := range out.Uploads {
		if aws.ToString(u.Key) != name {
			continue
		}
		if err := s.abort(ctx, name, aws.ToString(u.UploadId)); err != nil {
			return err
		}
	}
	return nil
}

// putPart sends one part until the store has it. A part that the store has
// already, of the same bytes, is not sent.
func (s *Store) putPart(ctx context.Context, name, id string, number int32, body *io.SectionReader, have types.Part) (types.CompletedPart, error) {
	if aws.ToInt64(have.Size) == body.Size() {
		h := md5.New()
		if _, err := io.Copy(h, reading{ctx, body}); err != nil {
			return types.CompletedPart{}, err
		}
		if strings.Trim(aws.ToString(have.ETag), `"`) == hex.EncodeToString(h.Sum(nil)) {
			return types.CompletedPart{PartNumber: &number, ETag: have.ETag}, nil
		}
	}
	var opts []func(*s3.Options)
	if s.https {
		opts = append(opts, unsigned)
	}
	for round := 1; ; round++ {
		out, err := s.s3.UploadPart(ctx, &s3.UploadPartInput{
			Bucket: &s.bucket, Key: &name, UploadId: &id, PartNumber: &number, ContentLength: aws.Int64(body.Size()), Body: io.NewSectionReader(body, 0, body.Size()),
			SSECustomerAlgorithm: s.extra.alg, SSECustomerKey: s.extra.key, SSECustomerKeyMD5: s.extra.keyMD5,
		}, opts...)
		if err == nil {
			return types.CompletedPart{PartNumber: &number, ETag: out.ETag}, nil
		}
		err = wrap(ctx, "Put", err)
		if round == rounds || ctx.Err() != nil || !(errors.Is(err, mlops.ErrUnavailable) || errors.Is(err, mlops.ErrRateLimited)) {
			return types.CompletedPart{}, err
		}
		t := time.NewTimer(time.Second << round)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return types.CompletedPart{}, err
		}
	}
}

// resume finds the upload of this object that a killed program left, and the
// parts it has.
func (s *Store) resume(ctx context.Context, name string, size int64) (string, map[int32]types.Part, error) {
	if size < worth || s.extra.key != nil {
		return "", nil, nil
	}
	out, err := s.s3.ListMultipartUploads(ctx, &s3.ListMultipartUploadsInput{Bucket: &s.bucket, Prefix: &name})
	if err != nil {
		return "", nil, ctx.Err() // it is only to save work: who may not list starts over
	}
	for _, u := range out.Uploads {
		if aws.ToString(u.Key) != name {
			continue
		}
		have := map[int32]types.Part{}
		pages := s3.NewListPartsPaginator(s.s3, &s3.ListPartsInput{Bucket: &s.bucket, Key: &name, UploadId: u.UploadId})
		for pages.HasMorePages() {
			p, err := pages.NextPage(ctx)
			if err != nil {
				return "", nil, ctx.Err()
			}
			for _, part := range p.Parts {
				have[aws.ToInt32(part.PartNumber)] = part
			}
		}
		return aws.ToString(u.UploadId), have, nil
	}
	return "", nil, nil
}

// there reports whether the store has an object of this size.
func (s *Store) there(ctx context.Context, name string, size int64) bool {
	out, err := s.s3.HeadObject(ctx, &s3.HeadObjectInput{
		Bucket: &s.bucket, Key: &name, SSECustomerAlgorithm: s.extra.alg, SSECustomerKey: s.extra.key, SSECustomerKeyMD5: s.extra.keyMD5,
	})
	return err == nil && aws.ToInt64(out.ContentLength) == size
}

func (s *Store) abort(ctx context.Context, name, id string) error {
	_, err := s.s3.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &s.bucket, Key: &name, UploadId: &id})
	if err = wrap(ctx, "Discard", err); errors.Is(err, mlops.ErrNotFound) {
		return nil
	}
	return err
}

// Unfinished lists the uploads that were begun below the remote's prefix: by
// killed programs, and by those that are at work.
//
// S3 REST: ListMultipartUploads
func (s *Store) Unfinished(ctx context.Context) iter.Seq2[remote.Upload, error] {
	return func(yield func(remote.Upload, error) bool) {
		pages := s3.NewListMultipartUploadsPaginator(s.s3, &s3.ListMultipartUploadsInput{Bucket: &s.bucket, Prefix: &s.prefix})
		for pages.HasMorePages() {
			p, err := pages.NextPage(ctx)
			if err != nil {
				yield(remote.Upload{}, wrap(ctx, "Unfinished", err))
				return
			}
			for _, u := range p.Uploads {
				if !yield(remote.Upload{Key: strings.TrimPrefix(aws.ToString(u.Key), s.prefix), ID: aws.ToString(u.UploadId), Began: aws.ToTime(u.Initiated)}, nil) {
					return
				}
			}
		}
	}
}

// Discard takes the parts of an unfinished upload back.
//
// S3 REST: AbortMultipartUpload
func (s *Store) Discard(ctx context.Context, u remote.Upload) error {
	name, err := s.name(u.Key)
	if err != nil {
		return err
	}
	return s.abort(ctx, *name, u.ID)
}

// reading ends with its context.
type reading struct {
	ctx context.Context
	r   io.Reader
}

func (r reading) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}
