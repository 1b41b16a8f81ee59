package s3store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"golang.org/x/sync/errgroup"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/mlflow"
)

const (
	mostParts = 10_000
	rounds    = 6 // how often a part is begun, each time with all its tries
)

// putParts stores a large object. At most Options.Parallel parts are on their
// way; none is held in memory.
func (s *Store) putParts(ctx context.Context, bucket, key string, src mlflow.Source) error {
	const op = "Upload"
	step := max(s.partSize, (src.Size()+mostParts-1)/mostParts)
	made, err := s.s3.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{
		Bucket: &bucket, Key: &key, ContentType: contentType(key), ExpectedBucketOwner: s.owner, ChecksumAlgorithm: types.ChecksumAlgorithmCrc32,
		ServerSideEncryption: s.extra.ServerSideEncryption, SSEKMSKeyId: s.extra.SSEKMSKeyId, StorageClass: s.extra.StorageClass, ACL: s.extra.ACL,
	})
	if err != nil {
		return wrap(ctx, op, err)
	}
	parts := make([]types.CompletedPart, (src.Size()+step-1)/step)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(s.parallel)
	for i := range parts {
		g.Go(func() (err error) {
			from := int64(i) * step
			parts[i], err = s.putPart(gctx, &s3.UploadPartInput{Bucket: &bucket, Key: &key, UploadId: made.UploadId, PartNumber: aws.Int32(int32(i + 1)), ExpectedBucketOwner: s.owner},
				io.NewSectionReader(src, from, min(step, src.Size()-from)))
			return err
		})
	}
	if err = g.Wait(); err == nil {
		_, err = s.s3.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
			Bucket: &bucket, Key: &key, UploadId: made.UploadId, MultipartUpload: &types.CompletedMultipartUpload{Parts: parts}, ExpectedBucketOwner: s.owner,
		})
		if err = wrap(ctx, op, err); err == nil {
			return s.whole(ctx, bucket, key, src.Size())
		}
	}
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), 15*time.Second)
	defer cancel()
	if _, aerr := s.s3.AbortMultipartUpload(late, &s3.AbortMultipartUploadInput{Bucket: &bucket, Key: &key, UploadId: made.UploadId, ExpectedBucketOwner: s.owner}); aerr != nil {
		if aerr = wrap(late, op, aerr); !errors.Is(aerr, mlops.ErrNotFound) {
			return fmt.Errorf("%w; its parts stay in s3://%s, for they could not be taken back: %w", err, bucket, aerr)
		}
	}
	return err
}

// putPart sends one part until the store has it.
func (s *Store) putPart(ctx context.Context, in *s3.UploadPartInput, body *io.SectionReader) (types.CompletedPart, error) {
	for round := 1; ; round++ {
		part := *in
		part.Body, part.ContentLength, part.ChecksumAlgorithm = io.NewSectionReader(body, 0, body.Size()), aws.Int64(body.Size()), types.ChecksumAlgorithmCrc32
		out, err := s.s3.UploadPart(ctx, &part)
		if err == nil {
			return types.CompletedPart{PartNumber: in.PartNumber, ETag: out.ETag, ChecksumCRC32: out.ChecksumCRC32}, nil
		}
		err = wrap(ctx, "Upload", err)
		if round == rounds || ctx.Err() != nil || !(errors.Is(err, mlops.ErrUnavailable) || errors.Is(err, mlops.ErrRateLimited)) {
			return types.CompletedPart{}, err
		}
		t := time.NewTimer(min(10*time.Second, time.Second<<round))
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return types.CompletedPart{}, err
		}
	}
}

// whole compares the size of an object with what was sent.
func (s *Store) whole(ctx context.Context, bucket, key string, size int64) error {
	out, err := s.s3.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &bucket, Key: &key, ExpectedBucketOwner: s.owner})
	if err != nil {
		return wrap(ctx, "Upload", err)
	}
	if n := aws.ToInt64(out.ContentLength); n != size {
		return fault("Upload", mlops.ErrUnavailable, fmt.Sprintf("the store has %d of %d bytes", n, size), nil)
	}
	return nil
}
