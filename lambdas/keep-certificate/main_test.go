package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// atOnce repeats calls without waiting.
func atOnce(o *s3.Options) {
	o.UsePathStyle = true
	o.Retryer = retry.NewStandard(func(s *retry.StandardOptions) {
		s.Backoff = retry.BackoffDelayerFunc(func(int, error) (time.Duration, error) { return 0, nil })
	})
}

func TestPutIsRepeatedUntilTheRoleMayAndNoOtherPutIsUnderWay(t *testing.T) {
	for _, c := range []struct {
		answers []string // of S3; "" is success.
		kept    bool
		refused bool
	}{
		{answers: []string{"AccessDenied", "ConditionalRequestConflict", ""}, kept: true},
		{answers: []string{"ConditionalRequestConflict", "PreconditionFailed"}},
		{answers: []string{"NoSuchBucket"}, refused: true},
	} {
		left := slices.Clone(c.answers)
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			code := left[0]
			left = left[1:]
			if code != "" {
				w.WriteHeader(map[string]int{"AccessDenied": 403, "ConditionalRequestConflict": 409, "PreconditionFailed": 412, "NoSuchBucket": 404}[code])
				_, _ = fmt.Fprintf(w, "<Error><Code>%s</Code></Error>", code)
			}
		}))
		client := s3.NewFromConfig(aws.Config{Region: "eu-west-1", BaseEndpoint: &server.URL,
			Credentials: credentials.NewStaticCredentialsProvider("a", "b", "")}, atOnce, patient)
		kept, err := object{client, "artifacts", "certificate.zip"}.PutNew(t.Context(), []byte("zip"))
		server.Close()
		if kept != c.kept || (err != nil) != c.refused || len(left) > 0 {
			t.Errorf("%q: kept %v, %v, %q not asked for", c.answers, kept, err, left)
		}
	}
}
