package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

const tries = 4

// bucket answers each request with the next code, and with the last one from then on; "" takes the object.
func bucket(t *testing.T, codes ...string) (o object, asked *int) {
	t.Helper()
	asked = new(int)
	status := map[string]int{"": http.StatusOK, "AccessDenied": http.StatusForbidden, "PreconditionFailed": http.StatusPreconditionFailed, "NoSuchBucket": http.StatusNotFound}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		code := codes[min(*asked, len(codes)-1)]
		*asked++
		w.WriteHeader(status[code])
		if code != "" {
			_, _ = fmt.Fprintf(w, "<Error><Code>%s</Code></Error>", code)
		}
	}))
	t.Cleanup(server.Close)
	atOnce := retry.NewStandard(func(o *retry.StandardOptions) {
		o.MaxAttempts, o.Backoff = tries, retry.BackoffDelayerFunc(func(int, error) (time.Duration, error) { return 0, nil })
	})
	client := s3.New(s3.Options{Region: "eu-west-1", BaseEndpoint: &server.URL, UsePathStyle: true, Credentials: aws.AnonymousCredentials{}, Retryer: atOnce}, patient)
	return object{client, "artifacts", "cluster/certificate.zip"}, asked
}

func TestCertificateIsKeptOnceTheRoleMayKeepIt(t *testing.T) {
	for _, c := range []struct {
		codes []string
		kept  bool
		fault string
		asked int
	}{
		{[]string{""}, true, "", 1},
		{[]string{"AccessDenied", "AccessDenied", ""}, true, "", 3},
		{[]string{"AccessDenied", "PreconditionFailed"}, false, "", 2},
		{[]string{"AccessDenied"}, false, "AccessDenied", tries},
		{[]string{"NoSuchBucket"}, false, "NoSuchBucket", 1},
	} {
		o, asked := bucket(t, c.codes...)
		kept, err := o.PutNew(t.Context(), []byte("zip"))
		if kept != c.kept || *asked != c.asked || (err == nil) != (c.fault == "") || err != nil && !strings.Contains(err.Error(), c.fault) {
			t.Errorf("%q: kept %v after %d, %v", c.codes, kept, *asked, err)
		}
	}
}
