package warehouse

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"cloud.google.com/go/auth"
	"cloud.google.com/go/auth/credentials/externalaccount"
	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/sluice-data/sluice/internal/discovery"
)

// google calls Google's REST APIs. Their Go clients would bring gRPC, Arrow and OpenTelemetry along: 7 MB of zip for six calls.
type google struct {
	http  *http.Client
	creds auth.TokenProvider
	pause func(ctx context.Context, attempt int) error
}

// refusal is an error that Google answered with.
type refusal struct {
	status  int
	message string
}

func (r *refusal) Error() string { return fmt.Sprintf("%d: %s", r.status, r.message) }

func isStatus(err error, status int) bool {
	var r *refusal
	return errors.As(err, &r) && r.status == status
}

// Identity makes Google credentials out of the function's own AWS credentials, by workload identity federation: no key is kept
// anywhere. It does not touch the network.
func Identity(g discovery.Google, cfg aws.Config) (auth.TokenProvider, error) {
	creds, err := externalaccount.NewCredentials(&externalaccount.Options{
		Audience:         g.Audience,
		SubjectTokenType: "urn:ietf:params:aws:token-type:aws4_request",
		ServiceAccountImpersonationURL: "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/" +
			url.PathEscape(g.ServiceAccount) + ":generateAccessToken",
		AwsSecurityCredentialsProvider: supplier{cfg},
		Scopes:                         []string{"https://www.googleapis.com/auth/cloud-platform"},
	})
	if err != nil {
		return nil, fmt.Errorf("google identity: %w", err)
	}
	return creds, nil
}

// supplier hands the function's AWS credentials to Google's library.
type supplier struct{ cfg aws.Config }

func (s supplier) AwsRegion(context.Context, *externalaccount.RequestOptions) (string, error) {
	return s.cfg.Region, nil
}

func (s supplier) AwsSecurityCredentials(ctx context.Context, _ *externalaccount.RequestOptions) (*externalaccount.AwsSecurityCredentials, error) {
	c, err := s.cfg.Credentials.Retrieve(ctx)
	if err != nil {
		return nil, err
	}
	return &externalaccount.AwsSecurityCredentials{AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, SessionToken: c.SessionToken}, nil
}

// tries is how often a call is made that Google could not serve.
const tries = 5

// call sends a JSON request and decodes the answer; all calls made by it may be repeated.
func (g google) call(ctx context.Context, method, address string, in, out any) error {
	var text []byte
	if in != nil {
		var err error
		if text, err = json.Marshal(in); err != nil {
			return err
		}
	}
	for attempt := 0; ; attempt++ {
		err := g.send(ctx, method, address, "application/json", bytes.NewReader(text), int64(len(text)), out)
		if err == nil || !passing(err) || attempt == tries-1 {
			return err
		}
		if err := g.pause(ctx, attempt); err != nil {
			return err
		}
	}
}

// passing tells whether an error may be gone at the next try.
func passing(err error) bool {
	var r *refusal
	if errors.As(err, &r) {
		return r.status == http.StatusTooManyRequests || r.status == http.StatusRequestTimeout || r.status >= 500 && r.status != http.StatusNotImplemented
	}
	var lost *url.Error // the connection, not an answer
	return errors.As(err, &lost) && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded)
}

func (g google) send(ctx context.Context, method, address, kind string, body io.Reader, size int64, out any) (err error) {
	token, err := g.creds.Token(ctx)
	if err != nil {
		return fmt.Errorf("google identity: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, method, address, body)
	if err != nil {
		return err
	}
	req.ContentLength = size
	req.Header.Set("Authorization", token.Type+" "+token.Value)
	req.Header.Set("Content-Type", kind)
	resp, err := g.http.Do(req)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 10<<20))
	if err != nil {
		return err
	}
	if resp.StatusCode >= 300 {
		var told struct {
			Error struct {
				Message string `json:"message"`
			} `json:"error"`
		}
		if json.Unmarshal(text, &told) != nil || told.Error.Message == "" {
			told.Error.Message = string(text[:min(len(text), 500)])
		}
		return &refusal{resp.StatusCode, told.Error.Message}
	}
	if out == nil || len(text) == 0 {
		return nil
	}
	return json.Unmarshal(text, out)
}

// pause waits 1, 2, 4, 8, then always 15 seconds.
func pause(ctx context.Context, attempt int) error {
	wait := 15 * time.Second
	if attempt < 4 {
		wait = time.Second << attempt
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(wait):
		return nil
	}
}
