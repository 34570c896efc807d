// Command keep-certificate is invoked by the deployment. It makes the certificate under which the nodes of EMR clusters talk to each
// other, unless it is there.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"

	"github.com/sluice-data/sluice/internal/discovery"
	"github.com/sluice-data/sluice/internal/lambdaenv"
)

func main() { lambdaenv.Start(wire) }

func wire(country discovery.Country, cfg aws.Config) (any, error) {
	return (&handler{country.Region, object{s3.NewFromConfig(lambdaenv.NewRole(cfg), patient), country.Buckets.Artifacts, country.Compute.CertificateKey}, time.Now}).Handle, nil
}

// patient has calls repeated that the function may not make: the deployment invokes it as soon as it is there, and what a new role may do
// gets around in some seconds. https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html#troubleshoot_general_eventual-consistency
// So are those that met another deployment's. https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
func patient(o *s3.Options) {
	o.Retryer = retry.AddWithErrorCodes(o.Retryer, "AccessDenied", "ConditionalRequestConflict")
}

// object is an object in S3.
type object struct {
	s3          *s3.Client
	bucket, key string
}

func (o object) PutNew(ctx context.Context, body []byte) (bool, error) {
	_, err := o.s3.PutObject(ctx, &s3.PutObjectInput{Bucket: &o.bucket, Key: &o.key, Body: bytes.NewReader(body), IfNoneMatch: aws.String("*")})
	if refused := smithy.APIError(nil); errors.As(err, &refused) && refused.ErrorCode() == "PreconditionFailed" {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("put s3://%s/%s: %w", o.bucket, o.key, err)
	}
	return true, nil
}
