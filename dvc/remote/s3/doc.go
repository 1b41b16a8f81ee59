// Package s3 keeps a DVC remote in S3, or in what speaks like it.
//
//	import _ "github.com/mlops-integration/mlops/dvc/remote/s3"
//
// The remote's section of .dvc/config is read with dvc's own keys: endpointurl,
// region, profile, credentialpath, configpath, access_key_id,
// secret_access_key, session_token, use_ssl, ssl_verify,
// allow_anonymous_login, sse, sse_kms_key_id, sse_customer_algorithm,
// sse_customer_key, acl, grant_full_control, grant_read, grant_read_acp,
// grant_write_acp, read_timeout, connect_timeout and jobs. What is not there
// comes from where the AWS tools take it: environment, profiles, SSO, roles.
//
// An object up to 16 MiB is one PUT with its Content-MD5, so that the store
// itself refuses bytes that are not what the name says. A larger one goes in
// parts; a part that does not get through is sent again, what cannot be
// completed is taken back, and the parts that a killed program left are used
// by the next push of the same object. Objects are read in ranges, a broken
// one from where it broke, a large one some ranges at a time.
//
// Tested against versitygw 1.8. Amazon's own S3, SSE with KMS and customer
// keys, and grants are unverified.
package s3
