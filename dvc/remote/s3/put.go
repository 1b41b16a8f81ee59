package s3

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"io"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/remote"
)

const small = 1 << 20 // what is read once, into memory

var buffers = sync.Pool{New: func() any { b := make([]byte, small); return &b }}

// Put stores an object. Its bytes are hashed before they are sent, and the
// store compares them with their Content-MD5.
//
// S3 REST: PutObject; for objects above 16 MiB CreateMultipartUpload,
// UploadPart, CompleteMultipartUpload, AbortMultipartUpload
func (s *Store) Put(ctx context.Context, key string, data remote.Blob) error {
	body, sum := data.Body, data.MD5
	name, err := s.name(key)
	if err != nil {
		return err
	}
	raw, err := hex.DecodeString(sum)
	if err != nil || len(raw) != md5.Size {
		return fault(mlops.ErrInvalid, "%.60q is not an md5", sum)
	}
	size := body.Size()
	if size > partSize {
		return s.putParts(ctx, *name, data)
	}
	var send io.ReadSeeker
	h := md5.New()
	if size <= small {
		buf := buffers.Get().(*[]byte)
		defer buffers.Put(buf)
		b := (*buf)[:size]
		if n, err := body.ReadAt(b, 0); int64(n) < size {
			return err
		}
		h.Write(b)
		send = bytes.NewReader(b)
	} else {
		if _, err := io.Copy(h, io.NewSectionReader(body, 0, size)); err != nil {
			return err
		}
		send = io.NewSectionReader(body, 0, size)
	}
	if err := same(h.Sum(nil), sum); err != nil {
		return err
	}
	e := &s.extra
	_, err = s.s3.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &s.bucket, Key: name, Body: send, ContentLength: &size, ContentMD5: aws.String(base64.StdEncoding.EncodeToString(raw)),
		ServerSideEncryption: e.sse, SSEKMSKeyId: e.kmsKey, SSECustomerAlgorithm: e.alg, SSECustomerKey: e.key, SSECustomerKeyMD5: e.keyMD5,
		ACL: e.acl, GrantFullControl: e.full, GrantRead: e.read, GrantReadACP: e.racp, GrantWriteACP: e.wacp,
	}, unsigned)
	return wrap(ctx, "Put", err)
}

func same(got []byte, sum string) error {
	if g := hex.EncodeToString(got); g != sum {
		return fault(mlops.ErrInvalid, "object %s holds bytes with md5 %s", sum, g)
	}
	return nil
}
