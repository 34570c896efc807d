package awshttp

import (
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// writable is a body like the SDK's after it was closed: it reads as ended, but writing it out fails.
type writable struct{ io.Reader }

func (writable) WriteTo(io.Writer) (int64, error) { return 0, io.EOF }
func (writable) Close() error                     { return nil }

type doer func(*http.Request) (*http.Response, error)

func (d doer) Do(r *http.Request) (*http.Response, error) { return d(r) }

func TestBodyIsReadNotWritten(t *testing.T) {
	request, err := http.NewRequest(http.MethodPost, "http://example.com", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Body = writable{strings.NewReader("text")}
	var got string
	sent := errors.New("sent")
	_, err = New(doer(func(r *http.Request) (*http.Response, error) {
		var b strings.Builder
		if _, err := io.Copy(&b, r.Body); err != nil {
			t.Error(err)
		}
		got = b.String()
		return nil, sent
	})).Do(request)
	if got != "text" || !errors.Is(err, sent) {
		t.Errorf("read %q, %v", got, err)
	}
}

func TestRequestWithoutBodyStaysAsItIs(t *testing.T) {
	for _, body := range []io.ReadCloser{nil, http.NoBody} {
		request := &http.Request{Body: body}
		_, _ = New(doer(func(r *http.Request) (*http.Response, error) {
			if r.Body != body {
				t.Errorf("body %v became %v", body, r.Body)
			}
			return nil, nil
		})).Do(request)
	}
}

func TestServerWhoseCertificateNobodyVouchesForGetsNothing(t *testing.T) {
	asked := false
	server := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	defer server.Close()
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // it complains of the client that went away
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := New(nil).Do(request)
	if err == nil {
		_ = response.Body.Close()
	}
	var unknown x509.UnknownAuthorityError
	if !errors.As(err, &unknown) || asked {
		t.Errorf("asked %v, %v", asked, err)
	}
}
