// Package awshttp is the HTTP client of our AWS clients.
//
// The SDK closes a request's body as soon as the response's head is there. net/http may still be asking that body whether there is more
// of it; a closed body that the SDK made writable (io.WriterTo) then answers with an error instead of an end, and net/http drops the
// connection with the response still on it. A server nearby and a busy processor are enough for it to happen in one call of fifty.
package awshttp

import (
	"io"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
)

// Client sends requests whose bodies can only be read. The zero value is not usable; make one with New.
type Client struct{ next aws.HTTPClient }

// New wraps a client; nil stands for the SDK's own.
func New(next aws.HTTPClient) Client {
	if next == nil {
		next = awshttp.NewBuildableClient()
	}
	return Client{next}
}

// Do sends a request.
func (c Client) Do(request *http.Request) (*http.Response, error) {
	if request.Body != nil && request.Body != http.NoBody {
		request.Body = struct{ io.ReadCloser }{request.Body} // hides WriteTo: reading a closed body ends it
	}
	return c.next.Do(request)
}
