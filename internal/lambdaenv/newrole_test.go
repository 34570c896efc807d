package lambdaenv

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
)

func TestCallsThatANewRoleMayNotMakeYetAreRepeated(t *testing.T) {
	for _, c := range []struct {
		name    string
		code    string // of the answers before the first that is right
		refused int    // how many of these come
		done    bool
		asked   int
	}{
		{"at once", "", 0, true, 1},
		{"a right that gets around", "AccessDeniedException", newRoleAttempts - 1, true, newRoleAttempts},
		{"S3's word for it", "AccessDenied", 2, true, 3},
		{"SNS's word for it", "AuthorizationError", 2, true, 3},
		{"a right that is lacking", "AccessDeniedException", 100, false, newRoleAttempts},
		{"a call that is wrong", "ValidationException", 100, false, 1},
	} {
		asked := 0
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/x-amz-json-1.1")
			if asked++; asked <= c.refused {
				w.WriteHeader(http.StatusBadRequest)
				_, _ = fmt.Fprintf(w, `{"__type": %q}`, c.code)
				return
			}
			_, _ = fmt.Fprint(w, "{}")
		}))
		cfg := aws.Config{Region: "eu-west-1", BaseEndpoint: &server.URL, Credentials: credentials.NewStaticCredentialsProvider("a", "b", ""), RetryMaxAttempts: attempts,
			Retryer: func() aws.Retryer {
				return retry.NewStandard(func(o *retry.StandardOptions) {
					o.Backoff = retry.BackoffDelayerFunc(func(int, error) (time.Duration, error) { return 0, nil })
				})
			}}
		_, err := ssm.NewFromConfig(NewRole(cfg)).PutParameter(t.Context(), &ssm.PutParameterInput{Name: aws.String("a"), Value: aws.String("b")})
		server.Close()
		if (err == nil) != c.done || asked != c.asked {
			t.Errorf("%s: asked %d times, %v; want %d times, done %v", c.name, asked, err, c.asked, c.done)
		}
	}
}
