package s3store

import (
	"context"
	"errors"
	"fmt"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"

	"github.com/mlops-integration/mlops"
)

const service = "mlflow"

// kinds maps the codes of S3. Codes that are not here leave the decision to
// the status.
var kinds = map[string]error{
	"NoSuchKey": mlops.ErrNotFound, "NoSuchBucket": mlops.ErrNotFound, "NoSuchUpload": mlops.ErrNotFound, "NotFound": mlops.ErrNotFound,
	"AccessDenied": mlops.ErrForbidden, "InvalidAccessKeyId": mlops.ErrUnauthenticated, "SignatureDoesNotMatch": mlops.ErrUnauthenticated,
	"ExpiredToken": mlops.ErrUnauthenticated, "InvalidToken": mlops.ErrUnauthenticated, "PreconditionFailed": mlops.ErrConflict,
	"SlowDown": mlops.ErrRateLimited, "RequestTimeout": mlops.ErrUnavailable, "BadDigest": mlops.ErrUnavailable,
	"InternalError": mlops.ErrUnavailable, "ServiceUnavailable": mlops.ErrUnavailable,
}

func fault(op string, kind error, msg string, cause error) error {
	return &mlops.Error{Kind: kind, Service: service, Op: op, Message: msg, Cause: cause}
}

// wrap turns an error of the SDK into ours; nil stays nil.
func wrap(ctx context.Context, op string, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return &mlops.Error{Service: service, Op: op, Cause: context.Cause(ctx)}
	}
	e := &mlops.Error{Service: service, Op: op, Cause: err}
	if r, ok := errors.AsType[*awshttp.ResponseError](err); ok && r.HTTPResponse() != nil {
		e.Status = r.HTTPStatusCode()
	}
	if a, ok := errors.AsType[smithy.APIError](err); ok {
		e.Code, e.Message, e.Kind = a.ErrorCode(), a.ErrorMessage(), kinds[a.ErrorCode()]
	}
	if e.Message == "" {
		e.Message = fmt.Sprintf("S3: %v", err)
	}
	if e.Kind == nil {
		e.Kind = mlops.KindOfStatus(e.Status)
	}
	return e
}
