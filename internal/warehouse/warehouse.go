// Package warehouse brings a day's curated rows to BigQuery, each exactly once whatever is repeated.
//
// The day's Parquet files are copied to Cloud Storage, several at a time, then one load job replaces the day's partition as a whole. The
// job's id is made of the run and the try: asking for it again finds it instead of loading again. Who is called again after it ran out of
// time goes on with what is not copied yet. Before a newer run's load the older one's id is waited for or taken, so that it can come no more.
package warehouse

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"

	"cloud.google.com/go/auth"
	"golang.org/x/sync/errgroup"

	"github.com/sluice-data/sluice/internal/discovery"
	"github.com/sluice-data/sluice/internal/job"
	"github.com/sluice-data/sluice/internal/ledger"
)

// DayColumn is the column that BigQuery's tables are partitioned by.
const DayColumn = "_day"

// Manifest lists the files that hold a day's curated rows.
type Manifest struct {
	Feed     string         `json:"feed"`
	Day      job.Day        `json:"day"`
	Token    int64          `json:"token"`
	Revision int64          `json:"revision"`
	Rows     int64          `json:"rows"`
	Files    []ManifestFile `json:"files"`
}

// ManifestFile is one Parquet file.
type ManifestFile struct {
	URI   string `json:"uri"`
	Bytes int64  `json:"bytes"`
	Rows  int64  `json:"rows"`
}

// Source reads objects by their URI.
type Source interface {
	Read(ctx context.Context, uri string) (body io.ReadCloser, bytes int64, err error)
}

// Warehouse is the BigQuery dataset of one country.
type Warehouse struct {
	google
	settings discovery.Google
	source   Source
}

// New opens the dataset of a country. It does not touch the network.
func New(g discovery.Google, creds auth.TokenProvider, source Source) *Warehouse {
	return &Warehouse{google{&http.Client{}, creds, pause}, g, source}
}

// Load replaces a day's rows by those of a manifest, once, and returns how many BigQuery says it has taken. It returns ledger.ErrChanged when
// the run was fenced off.
func (w *Warehouse) Load(ctx context.Context, m Manifest) (int64, error) {
	rows, err := w.load(ctx, m)
	if err == nil && rows != m.Rows {
		err = fmt.Errorf("BigQuery took %d rows, the manifest has %d", rows, m.Rows)
	}
	if err != nil {
		return 0, fmt.Errorf("warehouse: %s/%s#%d: %w", m.Feed, m.Day, m.Token, err)
	}
	return rows, nil
}

// Fence returns when the rows of a run are in BigQuery, or can never come there: then the id of its load is that of a query that reads nothing.
func (w *Warehouse) Fence(ctx context.Context, id job.ID, token int64) error {
	if _, err := w.run(ctx, id, token, configuration{Query: &queryConfiguration{Query: "SELECT 1"}}); err != nil {
		return fmt.Errorf("warehouse: fence %s#%d: %w", id, token, err)
	}
	return nil
}

func (w *Warehouse) load(ctx context.Context, m Manifest) (int64, error) {
	id := job.ID{Feed: m.Feed, Day: m.Day}
	if len(m.Files) == 0 {
		// A load job needs a file. Deleting a whole partition is one statement.
		_, err := w.run(ctx, id, m.Token, w.emptying(m))
		return 0, err
	}
	folder := fmt.Sprintf("%s/%s/%d/", m.Feed, m.Day, m.Token)
	names, uris := make([]string, len(m.Files)), make([]string, len(m.Files))
	for i, f := range m.Files {
		names[i] = fmt.Sprintf("%s%05d-%s", folder, i, path.Base(f.URI))
		uris[i] = "gs://" + w.settings.LoadBucket + "/" + names[i]
	}
	if len(uris) > maxURIs {
		uris = []string{"gs://" + w.settings.LoadBucket + "/" + folder + "*"}
	}
	if err := w.copyAll(ctx, m.Files, folder, names); err != nil {
		return 0, err
	}
	done, err := w.run(ctx, id, m.Token, w.loading(m, uris))
	if err != nil {
		return 0, err
	}
	if done.Statistics.Load.OutputRows == "" {
		return 0, fmt.Errorf("load job: the day was restated meanwhile: %w", ledger.ErrChanged)
	}
	rows, err := strconv.ParseInt(done.Statistics.Load.OutputRows, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("load job: rows %q: %w", done.Statistics.Load.OutputRows, err)
	}
	w.release(ctx, names)
	return rows, nil
}

const (
	// maxURIs is how many a load job can name: https://cloud.google.com/bigquery/quotas#load_jobs
	maxURIs = 10_000
	// copiesAtOnce is how many files are copied side by side: one alone would leave most of a function's network unused.
	copiesAtOnce = 8
)

const storage = "https://storage.googleapis.com"

// copyAll brings files to Cloud Storage, but for those that an earlier invocation brought there before its time was over.
func (w *Warehouse) copyAll(ctx context.Context, files []ManifestFile, folder string, names []string) error {
	there, err := w.list(ctx, folder)
	if err != nil {
		return fmt.Errorf("copies: %w", err)
	}
	copies, once := errgroup.WithContext(ctx)
	copies.SetLimit(copiesAtOnce)
	for i, f := range files {
		if there[names[i]] == strconv.FormatInt(f.Bytes, 10) {
			continue
		}
		copies.Go(func() error { return w.copy(once, f, names[i]) })
	}
	return copies.Wait()
}

// list returns the sizes of the objects in a folder, by name.
func (w *Warehouse) list(ctx context.Context, folder string) (map[string]string, error) {
	there := map[string]string{}
	query := url.Values{"prefix": {folder}, "fields": {"items(name,size),nextPageToken"}}
	for {
		var page struct {
			Items []struct {
				Name string `json:"name"`
				Size string `json:"size"`
			} `json:"items"`
			Next string `json:"nextPageToken"`
		}
		if err := w.call(ctx, http.MethodGet, storage+"/storage/v1/b/"+url.PathEscape(w.settings.LoadBucket)+"/o?"+query.Encode(), nil, &page); err != nil {
			return nil, err
		}
		for _, object := range page.Items {
			there[object.Name] = object.Size
		}
		if page.Next == "" {
			return there, nil
		}
		query.Set("pageToken", page.Next)
	}
}

// copy brings one file to Cloud Storage. Objects appear there whole or not at all, so one that exists is left as it is.
func (w *Warehouse) copy(ctx context.Context, f ManifestFile, name string) error {
	address := storage + "/upload/storage/v1/b/" + url.PathEscape(w.settings.LoadBucket) + "/o?" +
		url.Values{"uploadType": {"media"}, "name": {name}, "ifGenerationMatch": {"0"}}.Encode()
	for attempt := 0; ; attempt++ {
		err := w.upload(ctx, f, address)
		switch {
		case err == nil, isStatus(err, http.StatusPreconditionFailed):
			return nil
		case !passing(err) || attempt == tries-1:
			return fmt.Errorf("copy %s: %w", f.URI, err)
		}
		if err := w.pause(ctx, attempt); err != nil {
			return err
		}
	}
}

func (w *Warehouse) upload(ctx context.Context, f ManifestFile, address string) (err error) {
	body, size, err := w.source.Read(ctx, f.URI)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	if size != f.Bytes {
		return fmt.Errorf("it has %d bytes, the manifest says %d", size, f.Bytes)
	}
	var made struct {
		Size string `json:"size"`
	}
	if err := w.send(ctx, http.MethodPost, address, "application/vnd.apache.parquet", body, size, &made); err != nil {
		return err
	}
	if made.Size != strconv.FormatInt(size, 10) {
		return fmt.Errorf("%d bytes were sent, %s arrived", size, made.Size)
	}
	return nil
}

// release deletes the copies. It may fail: the bucket's own rule deletes them after some days.
func (w *Warehouse) release(ctx context.Context, names []string) {
	for _, name := range names {
		err := w.send(ctx, http.MethodDelete, storage+"/storage/v1/b/"+url.PathEscape(w.settings.LoadBucket)+"/o/"+url.PathEscape(name), "", http.NoBody, 0, nil)
		if err != nil && !isStatus(err, http.StatusNotFound) {
			slog.WarnContext(ctx, "copy not deleted", "name", name, "error", err.Error())
		}
	}
}

// bqJob is BigQuery's Job, as far as it is needed.
type bqJob struct {
	Reference     jobReference  `json:"jobReference"`
	Configuration configuration `json:"configuration"`
	Status        *struct {
		State       string `json:"state"`
		ErrorResult *struct {
			Reason  string `json:"reason"`
			Message string `json:"message"`
		} `json:"errorResult"`
	} `json:"status,omitempty"`
	Statistics struct {
		Load struct {
			OutputRows string `json:"outputRows"`
		} `json:"load"`
	} `json:"statistics"`
}

type jobReference struct {
	Project  string `json:"projectId"`
	ID       string `json:"jobId"`
	Location string `json:"location,omitempty"`
}

type tableReference struct {
	Project string `json:"projectId"`
	Dataset string `json:"datasetId"`
	Table   string `json:"tableId"`
}

type configuration struct {
	Load  *loadConfiguration  `json:"load,omitempty"`
	Query *queryConfiguration `json:"query,omitempty"`
}

type loadConfiguration struct {
	SourceURIs        []string       `json:"sourceUris"`
	SourceFormat      string         `json:"sourceFormat"`
	Destination       tableReference `json:"destinationTable"`
	CreateDisposition string         `json:"createDisposition"`
	WriteDisposition  string         `json:"writeDisposition"`
	DecimalTypes      []string       `json:"decimalTargetTypes"`
}

type queryConfiguration struct {
	Query        string `json:"query"`
	UseLegacySQL bool   `json:"useLegacySql"`
}

func (w *Warehouse) loading(m Manifest, uris []string) configuration {
	return configuration{Load: &loadConfiguration{
		SourceURIs: uris, SourceFormat: "PARQUET",
		Destination:       tableReference{w.settings.Project, w.settings.Dataset, m.Feed + "$" + m.Day.Compact()},
		CreateDisposition: "CREATE_NEVER", WriteDisposition: "WRITE_TRUNCATE",
		// Without the second a decimal that needs it would be read as NUMERIC, which a BIGNUMERIC column does not take.
		DecimalTypes: []string{"NUMERIC", "BIGNUMERIC"},
	}}
}

func (w *Warehouse) emptying(m Manifest) configuration {
	// All parts come from the deployment or are checked: nothing here is anybody's text.
	return configuration{Query: &queryConfiguration{Query: fmt.Sprintf("DELETE FROM `%s.%s.%s` WHERE %s = DATE '%s'",
		w.settings.Project, w.settings.Dataset, m.Feed, DayColumn, m.Day)}}
}

// passingReasons are BigQuery's reasons for the failure of a job that another try may not meet.
var passingReasons = []string{"backendError", "internalError", "jobBackendError", "jobInternalError", "rateLimitExceeded", "jobRateLimitExceeded", "tableUnavailable"}

// run has BigQuery do a job exactly once and waits for its end. An id whose job failed stays taken, so the next try has the next id.
func (w *Warehouse) run(ctx context.Context, id job.ID, token int64, c configuration) (bqJob, error) {
	// The bucket's name is another one in each deployment: job ids are remembered long after a dataset is gone.
	name := fmt.Sprintf("%s_%s_%s_%d", w.settings.LoadBucket, id.Feed, id.Day.Compact(), token)
	fresh := 0
	for try := 0; ; try++ {
		done, found, err := w.once(ctx, bqJob{Configuration: c, Reference: jobReference{
			Project: w.settings.Project, Location: w.settings.Location, ID: fmt.Sprintf("%s_%d", name, try),
		}})
		if err != nil {
			return bqJob{}, err
		}
		failed := done.Status.ErrorResult
		if failed == nil {
			return done, nil
		}
		slog.WarnContext(ctx, "BigQuery job failed", "id", done.Reference.ID, "reason", failed.Reason, "message", failed.Message)
		if found {
			continue // an earlier invocation's
		}
		if fresh++; fresh == tries || !slices.Contains(passingReasons, failed.Reason) {
			return bqJob{}, fmt.Errorf("job %s: %s: %s", done.Reference.ID, failed.Reason, failed.Message)
		}
		if err := w.pause(ctx, fresh); err != nil {
			return bqJob{}, err
		}
	}
}

// once starts a job, or finds the one that has its id already, and waits for its end.
func (w *Warehouse) once(ctx context.Context, j bqJob) (done bqJob, found bool, err error) {
	address := "https://bigquery.googleapis.com/bigquery/v2/projects/" + url.PathEscape(w.settings.Project) + "/jobs"
	got := bqJob{}
	err = w.call(ctx, http.MethodPost, address, map[string]any{"jobReference": j.Reference, "configuration": j.Configuration}, &got)
	found = isStatus(err, http.StatusConflict)
	if err != nil && !found {
		return bqJob{}, false, fmt.Errorf("job %s: %w", j.Reference.ID, err)
	}
	at := address + "/" + url.PathEscape(j.Reference.ID) + "?" + url.Values{"location": {j.Reference.Location}}.Encode()
	for attempt := 0; got.Status == nil || got.Status.State != "DONE"; attempt++ {
		if attempt > 0 {
			if err := w.pause(ctx, attempt-1); err != nil {
				return bqJob{}, found, fmt.Errorf("job %s: %w", j.Reference.ID, err)
			}
		}
		got = bqJob{}
		if err := w.call(ctx, http.MethodGet, at, nil, &got); err != nil {
			return bqJob{}, found, fmt.Errorf("job %s: %w", j.Reference.ID, err)
		}
	}
	return got, found, nil
}
