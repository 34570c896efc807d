package gcp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/sluice-data/sluice/local/plugins/internal/native"
)

// EndpointVar is the environment variable with the URL of the local Google's operator port.
const EndpointVar = "SLUICE_GOOGLE_ENDPOINT"

// operatorToken is what the local Google expects of operators.
const operatorToken = "local"

// client speaks to the hosts of Google through the operator port, whose paths begin with the host.
type client struct {
	endpoint string
	project  string
	http     http.Client
}

// apiError is an answer of Google that is not a success.
type apiError struct {
	Code    int
	Message string
}

func (e *apiError) Error() string {
	return fmt.Sprintf("google answered %d: %s", e.Code, e.Message)
}

// do sends a request and reads the answer; path is `<host>/<path>`.
func (c *client) do(ctx context.Context, method, path string, body any) (native.Object, error) {
	return c.doIf(ctx, method, path, "", body)
}

// doIf is do for a resource that must still have the etag.
func (c *client) doIf(ctx context.Context, method, path, etag string, body any) (native.Object, error) {
	if c.endpoint == "" {
		return nil, errors.New("no local Google: start the local cloud, and set " + EndpointVar + " to its endpoint")
	}
	var content io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		content = bytes.NewReader(encoded)
	}
	request, err := http.NewRequestWithContext(ctx, method, c.endpoint+"/"+path, content)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+operatorToken)
	request.Header.Set("Content-Type", "application/json")
	if etag != "" {
		request.Header.Set("If-Match", etag)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	if response.StatusCode == http.StatusNotFound && method != http.MethodPost {
		return nil, native.ErrNotFound
	}
	if response.StatusCode >= 300 {
		var failure struct{ Error apiError }
		if json.Unmarshal(answer, &failure) != nil || failure.Error.Message == "" {
			failure.Error.Message = string(answer)
		}
		failure.Error.Code = response.StatusCode
		return nil, &failure.Error
	}
	result := native.Object{}
	if len(answer) > 0 {
		err = json.Unmarshal(answer, &result)
	}
	return result, err
}

// gone says that what a POST did not find is not there; do leaves a POST's 404 alone, because it may be a missing parent.
func gone(err error) error {
	var failure *apiError
	if errors.As(err, &failure) && failure.Code == http.StatusNotFound {
		return native.ErrNotFound
	}
	return err
}

// changePolicy reads a policy, changes it and writes it, again when somebody else wrote meanwhile.
func (c *client) changePolicy(ctx context.Context, read, write func() error) error {
	for attempt := range 10 {
		if err := read(); err != nil {
			return err
		}
		err := write()
		var failure *apiError
		if !errors.As(err, &failure) || failure.Code != http.StatusConflict && failure.Code != http.StatusPreconditionFailed {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Duration(attempt+1) * 20 * time.Millisecond):
		}
	}
	return errors.New("policy changed ten times while it was being changed; try again")
}
