package warehouse

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"cloud.google.com/go/auth"
	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/sluice-data/sluice/internal/discovery"
	"github.com/sluice-data/sluice/internal/job"
	"github.com/sluice-data/sluice/internal/ledger"
)

// played is Google: a bucket, and jobs that end at the second look. Calls can be made to fail, before or after they took effect.
type played struct {
	sync.Mutex
	objects map[string]string
	jobs    map[string]*bqJob
	done    map[string]bool
	ended   map[string]string // what a job ends with, by id: "" or a reason
	loaded  []string          // loaded are the runs whose rows replaced those before, in this order
	rows    string
	calls   []string
	fail    map[int]string // by number of the call: "before" or "after"
}

func (p *played) RoundTrip(r *http.Request) (*http.Response, error) {
	p.Lock()
	defer p.Unlock()
	n := len(p.calls)
	p.calls = append(p.calls, r.Method+" "+r.URL.Host+r.URL.Path)
	if r.Header.Get("Authorization") != "Bearer token" {
		return answer(http.StatusUnauthorized, "no token"), nil
	}
	if p.fail[n] == "before" {
		return nil, errors.New("connection refused")
	}
	status, body := p.serve(r)
	if p.fail[n] == "after" {
		return nil, errors.New("connection reset")
	}
	return answer(status, body), nil
}

func answer(status int, body any) *http.Response {
	if message, ok := body.(string); ok {
		body = map[string]any{"error": map[string]any{"message": message}}
	}
	text, _ := json.Marshal(body)
	return &http.Response{StatusCode: status, Body: io.NopCloser(bytes.NewReader(text)), Header: http.Header{}}
}

func (p *played) serve(r *http.Request) (int, any) {
	body, _ := io.ReadAll(r.Body)
	id := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
	switch {
	case strings.HasPrefix(r.URL.Path, "/upload/storage/v1/b/loads-1/o"):
		name := r.URL.Query().Get("name")
		if _, there := p.objects[name]; there && r.URL.Query().Get("ifGenerationMatch") == "0" {
			return http.StatusPreconditionFailed, "exists"
		}
		p.objects[name] = string(body)
		return http.StatusOK, map[string]string{"size": fmt.Sprint(len(body))}
	case r.Method == http.MethodGet && r.URL.Path == "/storage/v1/b/loads-1/o":
		// A page holds one object; its token is the object's name.
		names := slices.DeleteFunc(slices.Sorted(maps.Keys(p.objects)), func(name string) bool {
			return !strings.HasPrefix(name, r.URL.Query().Get("prefix")) || name <= r.URL.Query().Get("pageToken")
		})
		page := map[string]any{}
		if len(names) > 0 {
			page["items"] = []map[string]string{{"name": names[0], "size": fmt.Sprint(len(p.objects[names[0]]))}}
		}
		if len(names) > 1 {
			page["nextPageToken"] = names[0]
		}
		return http.StatusOK, page
	case r.Method == http.MethodDelete:
		name, _ := url.PathUnescape(strings.TrimPrefix(r.URL.EscapedPath(), "/storage/v1/b/loads-1/o/"))
		if _, there := p.objects[name]; !there {
			return http.StatusNotFound, "no such object"
		}
		delete(p.objects, name)
		return http.StatusNoContent, nil
	case r.Method == http.MethodPost && r.URL.Path == "/bigquery/v2/projects/prj/jobs":
		var j bqJob
		_ = json.Unmarshal(body, &j)
		if p.jobs[j.Reference.ID] != nil {
			return http.StatusConflict, "duplicate"
		}
		p.jobs[j.Reference.ID] = &j
		return http.StatusOK, map[string]any{"jobReference": j.Reference, "status": map[string]string{"state": "RUNNING"}}
	case r.Method == http.MethodGet && p.jobs[id] != nil && r.URL.Query().Get("location") == "EU":
		p.end(id)
		status := map[string]any{"state": "DONE"}
		if reason := p.ended[id]; reason != "" {
			status["errorResult"] = map[string]string{"reason": reason, "message": "it said no"}
		}
		statistics := map[string]any{}
		if p.jobs[id].Configuration.Load != nil {
			statistics["load"] = map[string]string{"outputRows": p.rows}
		}
		return http.StatusOK, map[string]any{"jobReference": p.jobs[id].Reference, "status": status, "statistics": statistics}
	}
	return http.StatusNotFound, r.Method + " " + r.URL.String()
}

// end has a job take effect, once.
func (p *played) end(id string) {
	j := p.jobs[id]
	if load := j.Configuration.Load; load != nil && !p.done[id] && p.ended[id] == "" {
		p.loaded = append(p.loaded, strings.Split(load.SourceURIs[0], "/")[5])
	}
	p.done[id] = true
}

type token struct{}

func (token) Token(context.Context) (*auth.Token, error) {
	return &auth.Token{Value: "token", Type: "Bearer"}, nil
}

type files map[string]string

func (f files) Read(_ context.Context, uri string) (io.ReadCloser, int64, error) {
	text, ok := f[uri]
	if !ok {
		return nil, 0, fmt.Errorf("no %s", uri)
	}
	return io.NopCloser(strings.NewReader(text)), int64(len(text)), nil
}

func newPlayed() (*played, *Warehouse) {
	p := &played{objects: map[string]string{}, jobs: map[string]*bqJob{}, done: map[string]bool{}, ended: map[string]string{}, rows: "3", fail: map[int]string{}}
	w := New(discovery.Google{Project: "prj", Dataset: "sluice_us", Location: "EU", LoadBucket: "loads-1"}, token{}, files{"s3://c/a.parquet": "AAA", "s3://c/b.parquet": "BB"})
	w.http.Transport = p
	w.pause = func(context.Context, int) error { return nil }
	return p, w
}

var manifest = Manifest{Feed: "flights", Day: "2013-01-01", Token: 2, Revision: 1, Rows: 3,
	Files: []ManifestFile{{"s3://c/a.parquet", 3, 2}, {"s3://c/b.parquet", 2, 1}}}

func TestLoadReplacesTheDaysPartition(t *testing.T) {
	p, w := newPlayed()
	rows, err := w.Load(t.Context(), manifest)
	if err != nil || rows != 3 {
		t.Fatalf("got %d, %v", rows, err)
	}
	got, _ := json.Marshal(p.jobs["loads-1_flights_20130101_2_0"])
	const want = `{"jobReference":{"projectId":"prj","jobId":"loads-1_flights_20130101_2_0","location":"EU"},"configuration":{"load":{` +
		`"sourceUris":["gs://loads-1/flights/2013-01-01/2/00000-a.parquet","gs://loads-1/flights/2013-01-01/2/00001-b.parquet"],"sourceFormat":"PARQUET",` +
		`"destinationTable":{"projectId":"prj","datasetId":"sluice_us","tableId":"flights$20130101"},"createDisposition":"CREATE_NEVER","writeDisposition":"WRITE_TRUNCATE",` +
		`"decimalTargetTypes":["NUMERIC","BIGNUMERIC"]}},` +
		`"statistics":{"load":{"outputRows":""}}}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if len(p.objects) != 0 {
		t.Errorf("copies were left: %v", p.objects)
	}
}

func TestLoadingAgainLoadsNothing(t *testing.T) {
	p, w := newPlayed()
	for range 3 {
		if rows, err := w.Load(t.Context(), manifest); err != nil || rows != 3 {
			t.Fatalf("got %d, %v", rows, err)
		}
	}
	if len(p.jobs) != 1 {
		t.Errorf("%d jobs", len(p.jobs))
	}
}

func TestCopyingGoesOnWhereItWasInterrupted(t *testing.T) {
	p, w := newPlayed()
	p.objects["flights/2013-01-01/2/00000-a.parquet"] = "AAA"
	p.objects["flights/2013-01-01/2/00001-b.parquet"] = "BB"
	if rows, err := w.Load(t.Context(), manifest); err != nil || rows != 3 {
		t.Fatalf("got %d, %v", rows, err)
	}
	if slices.ContainsFunc(p.calls, func(c string) bool { return strings.Contains(c, "/upload/") }) {
		t.Errorf("copied again: %v", p.calls)
	}
}

func TestDayOfMoreFilesThanAJobCanNameIsLoadedByFolder(t *testing.T) {
	p, w := newPlayed()
	m := manifest
	m.Files = slices.Repeat(m.Files[:1], maxURIs+1)
	for i := range m.Files {
		p.objects[fmt.Sprintf("flights/2013-01-01/2/%05d-a.parquet", i)] = "AAA"
	}
	w.http.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
		if r.Method == http.MethodGet && strings.HasPrefix(r.URL.Path, "/storage/") { // all in one page
			items := []map[string]string{}
			for name := range p.objects {
				items = append(items, map[string]string{"name": name, "size": "3"})
			}
			return answer(http.StatusOK, map[string]any{"items": items}), nil
		}
		return p.RoundTrip(r)
	})
	if rows, err := w.Load(t.Context(), m); err != nil || rows != 3 {
		t.Fatalf("got %d, %v", rows, err)
	}
	if uris := p.jobs["loads-1_flights_20130101_2_0"].Configuration.Load.SourceURIs; !slices.Equal(uris, []string{"gs://loads-1/flights/2013-01-01/2/*"}) {
		t.Errorf("%d URIs, first %s", len(uris), uris[0])
	}
}

func TestRunThatIsFencedOffLoadsNothing(t *testing.T) {
	p, w := newPlayed()
	for range 2 {
		if err := w.Fence(t.Context(), job.ID{Feed: "flights", Day: "2013-01-01"}, 2); err != nil {
			t.Fatal(err)
		}
	}
	if rows, err := w.Load(t.Context(), manifest); !errors.Is(err, ledger.ErrChanged) {
		t.Errorf("got %d, %v", rows, err)
	}
	if j := p.jobs["loads-1_flights_20130101_2_0"]; len(p.jobs) != 1 || j.Configuration.Query == nil || j.Configuration.Query.Query != "SELECT 1" {
		t.Errorf("jobs: %+v", p.jobs)
	}
}

func TestFenceWaitsForALoadAndComesBehindThoseThatFailed(t *testing.T) {
	p, w := newPlayed()
	id := job.ID{Feed: "flights", Day: "2013-01-01"}
	p.ended["loads-1_flights_20130101_2_0"] = "invalid"
	if _, err := w.Load(t.Context(), manifest); err == nil {
		t.Fatal("it loads")
	}
	if err := w.Fence(t.Context(), id, 2); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Load(t.Context(), manifest); !errors.Is(err, ledger.ErrChanged) || len(p.jobs) != 2 {
		t.Errorf("%d jobs, %v", len(p.jobs), err)
	}
	p, w = newPlayed()
	p.jobs["loads-1_flights_20130101_2_0"] = &bqJob{Configuration: configuration{Load: &loadConfiguration{SourceURIs: []string{"gs://loads-1/flights/2013-01-01/2/a"}}}}
	if err := w.Fence(t.Context(), id, 2); err != nil || !slices.Equal(p.loaded, []string{"2"}) {
		t.Errorf("loaded when it returned: %v, %v", p.loaded, err)
	}
}

func TestLostCallsAndAnswersLoadOnce(t *testing.T) {
	_, undisturbed := newPlayed()
	p := undisturbed.http.Transport.(*played)
	if _, err := undisturbed.Load(t.Context(), manifest); err != nil {
		t.Fatal(err)
	}
	for n := range p.calls {
		for _, when := range []string{"before", "after"} {
			p, w := newPlayed()
			p.fail[n] = when
			if rows, err := w.Load(t.Context(), manifest); err != nil || rows != 3 {
				t.Errorf("call %d lost %s: got %d, %v", n, when, rows, err)
			}
			if len(p.jobs) != 1 {
				t.Errorf("call %d lost %s: %d jobs", n, when, len(p.jobs))
			}
		}
	}
}

func TestFailedJobIsFollowedByOneWithTheNextID(t *testing.T) {
	p, w := newPlayed()
	p.ended["loads-1_flights_20130101_2_0"] = "backendError"
	if rows, err := w.Load(t.Context(), manifest); err != nil || rows != 3 {
		t.Fatalf("got %d, %v", rows, err)
	}
	if p.jobs["loads-1_flights_20130101_2_1"] == nil || len(p.jobs) != 2 {
		t.Errorf("jobs: %v", p.jobs)
	}
}

func TestJobThatCannotWorkIsTriedOncePerCall(t *testing.T) {
	p, w := newPlayed()
	p.ended["loads-1_flights_20130101_2_0"] = "invalid"
	_, err := w.Load(t.Context(), manifest)
	if err == nil || err.Error() != "warehouse: flights/2013-01-01#2: job loads-1_flights_20130101_2_0: invalid: it said no" {
		t.Fatalf("got %v", err)
	}
	if len(p.jobs) != 1 {
		t.Errorf("%d jobs", len(p.jobs))
	}
	if rows, err := w.Load(t.Context(), manifest); err != nil || rows != 3 { // somebody mended the table
		t.Errorf("got %d, %v", rows, err)
	}
}

func TestOtherNumberOfRowsIsAnError(t *testing.T) {
	p, w := newPlayed()
	p.rows = "2"
	_, err := w.Load(t.Context(), manifest)
	if err == nil || err.Error() != "warehouse: flights/2013-01-01#2: BigQuery took 2 rows, the manifest has 3" {
		t.Errorf("got %v", err)
	}
}

func TestFileThatIsNotAsListedIsNotLoaded(t *testing.T) {
	p, w := newPlayed()
	m := manifest
	m.Files = []ManifestFile{{"s3://c/a.parquet", 4, 2}}
	_, err := w.Load(t.Context(), m)
	if err == nil || err.Error() != "warehouse: flights/2013-01-01#2: copy s3://c/a.parquet: it has 3 bytes, the manifest says 4" {
		t.Errorf("got %v", err)
	}
	if len(p.objects)+len(p.jobs) != 0 {
		t.Errorf("calls: %v", p.calls)
	}
}

func TestDayWithoutRowsEmptiesItsPartition(t *testing.T) {
	p, w := newPlayed()
	rows, err := w.Load(t.Context(), Manifest{Feed: "flights", Day: "2013-01-01", Token: 1})
	if err != nil || rows != 0 {
		t.Fatalf("got %d, %v", rows, err)
	}
	j := p.jobs["loads-1_flights_20130101_1_0"]
	if j == nil || j.Configuration.Query == nil || j.Configuration.Load != nil ||
		j.Configuration.Query.Query != "DELETE FROM `prj.sluice_us.flights` WHERE _day = DATE '2013-01-01'" || j.Configuration.Query.UseLegacySQL {
		t.Errorf("got %+v", j)
	}
}

func TestRefusalIsNotTriedAgain(t *testing.T) {
	p, w := newPlayed()
	w.settings.Project = "other"
	_, err := w.Load(t.Context(), manifest)
	if err == nil || !strings.Contains(err.Error(), "404: POST https://bigquery.googleapis.com/bigquery/v2/projects/other/jobs") {
		t.Errorf("got %v", err)
	}
	posts := slices.DeleteFunc(slices.Clone(p.calls), func(c string) bool { return !strings.HasSuffix(c, "/jobs") })
	if len(posts) != 1 {
		t.Errorf("calls: %v", p.calls)
	}
}

func TestIdentityIsMadeOfTheFunctionsRole(t *testing.T) {
	calls := map[string]string{}
	transport := http.DefaultTransport
	http.DefaultTransport = roundTrip(func(r *http.Request) (*http.Response, error) {
		body, _ := io.ReadAll(r.Body)
		calls[r.URL.Host+r.URL.Path] = string(body)
		if r.URL.Host == "sts.googleapis.com" {
			return answer(http.StatusOK, map[string]any{"access_token": "federated", "issued_token_type": "urn:ietf:params:oauth:token-type:access_token", "token_type": "Bearer", "expires_in": 3600}), nil
		}
		return answer(http.StatusOK, map[string]string{"accessToken": "impersonated", "expireTime": "2126-01-01T00:00:00Z"}), nil
	})
	defer func() { http.DefaultTransport = transport }()
	cfg := aws.Config{Region: "sa-east-1", Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "secret", SessionToken: "session"}, nil
	})}
	id, err := Identity(discovery.Google{Audience: "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/aws", ServiceAccount: "export@prj.iam.gserviceaccount.com"}, cfg)
	if err != nil {
		t.Fatal(err)
	}
	got, err := id.Token(t.Context())
	if err != nil || got.Value != "impersonated" || got.Type != "Bearer" {
		t.Fatalf("got %+v, %v", got, err)
	}
	sts, _ := url.ParseQuery(calls["sts.googleapis.com/v1/token"])
	subject, _ := url.QueryUnescape(sts.Get("subject_token"))
	for _, part := range []string{"https://sts.sa-east-1.amazonaws.com?Action=GetCallerIdentity", "Credential=AKIDEXAMPLE/", "session", "workloadIdentityPools/p/providers/aws"} {
		if !strings.Contains(subject, part) {
			t.Errorf("the subject token lacks %s: %s", part, subject)
		}
	}
	if _, asked := calls["iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/export@prj.iam.gserviceaccount.com:generateAccessToken"]; !asked {
		t.Errorf("calls: %v", calls)
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
