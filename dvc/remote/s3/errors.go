package s3

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"

	"github.com/mlops-integration/mlops"
)

// kinds maps the codes of S3. Codes that are not here leave the decision to
// the status.
var kinds = map[string]error{
	"NoSuchKey": mlops.ErrNotFound, "NoSuchBucket": mlops.ErrNotFound, "NoSuchUpload": mlops.ErrNotFound, "NotFound": mlops.ErrNotFound,
	"AccessDenied": mlops.ErrForbidden, "InvalidAccessKeyId": mlops.ErrUnauthenticated, "SignatureDoesNotMatch": mlops.ErrUnauthenticated,
	"ExpiredToken": mlops.ErrUnauthenticated, "InvalidToken": mlops.ErrUnauthenticated, "TokenRefreshRequired": mlops.ErrUnauthenticated,
	"RequestTimeTooSkewed": mlops.ErrUnauthenticated, "PreconditionFailed": mlops.ErrConflict,
	"SlowDown": mlops.ErrRateLimited, "RequestTimeout": mlops.ErrUnavailable, "BadDigest": mlops.ErrUnavailable,
	"InternalError": mlops.ErrUnavailable, "ServiceUnavailable": mlops.ErrUnavailable,
}

// hints tell what to do about a code.
var hints = map[string]string{
	"NoSuchBucket": "the bucket does not exist; make it, or correct the remote's url",
	"ExpiredToken": "the credentials have expired; renew them (aws sso login)",
}

// wrap turns an error of the SDK into ours; nil stays nil.
func wrap(ctx context.Context, op string, err error) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*mlops.Error](err); ok {
		return e
	}
	if ctx.Err() != nil {
		return &mlops.Error{Service: "dvc", Op: op, Cause: context.Cause(ctx)}
	}
	e := &mlops.Error{Service: "dvc", Op: op, Cause: err}
	if r, ok := errors.AsType[*awshttp.ResponseError](err); ok && r.HTTPResponse() != nil {
		e.Status = r.HTTPStatusCode()
		if region := r.HTTPResponse().Header.Get("X-Amz-Bucket-Region"); e.Status == http.StatusMovedPermanently && region != "" {
			e.Kind, e.Message = mlops.ErrInvalid, "the bucket is in region "+region+"; set the remote's region"
			return e
		}
	}
	if a, ok := errors.AsType[smithy.APIError](err); ok {
		e.Code, e.Message, e.Kind = a.ErrorCode(), a.ErrorMessage(), kinds[a.ErrorCode()]
		if h := hints[e.Code]; h != "" {
			e.Message = h
		}
	}
	if e.Message == "" {
		e.Message = fmt.Sprintf("S3: %v", err)
	}
	if e.Kind == nil {
		e.Kind = mlops.KindOfStatus(e.Status)
	}
	return e
}

// fault is an error that is not the store's.
func fault(kind error, format string, args ...any) error {
	return &mlops.Error{Kind: kind, Service: "dvc", Op: "S3", Message: fmt.Sprintf(format, args...)}
}
