package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"github.com/sluice-data/sluice/internal/discovery"
	"github.com/sluice-data/sluice/internal/job"
)

type intake interface {
	Keys(ctx context.Context, keys []job.File) (changed bool, faults []error)
	GaveUp(ctx context.Context, key string, why error) error
}

type promoter interface {
	Promote(ctx context.Context) error
}

// handler takes S3's notifications of the landing bucket from their queue.
type handler struct {
	bucket   string
	intake   intake
	promoter promoter
}

// notification is the part of S3's event that is read. The library's type refuses a whole event for one key that is not encoded right.
type notification struct {
	Records []struct {
		EventVersion string    `json:"eventVersion"`
		EventName    string    `json:"eventName"`
		EventTime    time.Time `json:"eventTime"`
		S3           struct {
			Bucket struct {
				Name string `json:"name"`
			} `json:"bucket"`
			Object struct {
				Key       string `json:"key"`
				Size      int64  `json:"size"`
				ETag      string `json:"eTag"`
				VersionID string `json:"versionId"`
				Sequencer string `json:"sequencer"`
			} `json:"object"`
		} `json:"s3"`
	} `json:"Records"`
}

// Handle takes in the objects that the events of a batch name. Events may come twice, late, or in any order. A message that fails, and no
// other, is returned to its queue, and goes to the dead letters when it fails again and again; people are told of that one.
func (h *handler) Handle(ctx context.Context, batch events.SQSEvent) (events.SQSEventResponse, error) {
	var keys []job.File
	var from []int // the message that each key came with
	faults := make([]error, len(batch.Records))
	for n, message := range batch.Records {
		var files []job.File
		files, faults[n] = h.read(ctx, message.Body)
		for range files {
			from = append(from, n)
		}
		keys = append(keys, files...)
	}
	var promoted error
	if len(keys) > 0 {
		changed, wrong := h.intake.Keys(ctx, keys)
		for k, err := range wrong {
			faults[from[k]] = errors.Join(faults[from[k]], err)
		}
		if changed {
			// Also when something else went wrong: it must not keep this job back.
			promoted = h.promoter.Promote(ctx)
		}
	}
	response := events.SQSEventResponse{BatchItemFailures: []events.SQSBatchItemFailure{}} // a list, also when it is empty
	for n, err := range faults {
		if fault := errors.Join(err, promoted); fault != nil && last(batch.Records[n]) {
			var key string
			if k := slices.Index(from, n); k >= 0 {
				key = keys[k].Key
			}
			if err := h.intake.GaveUp(ctx, key, fault); err != nil {
				slog.ErrorContext(ctx, "not told", "message", batch.Records[n].MessageId, "error", err.Error())
			}
		}
		if err != nil {
			id := batch.Records[n].MessageId
			slog.ErrorContext(ctx, "not taken in", "message", id, "error", err.Error())
			response.BatchItemFailures = append(response.BatchItemFailures, events.SQSBatchItemFailure{ItemIdentifier: id})
		}
	}
	return response, promoted
}

// last tells whether a message goes to the dead letters when it fails this time.
func last(m events.SQSMessage) bool {
	receives, err := strconv.Atoi(m.Attributes["ApproximateReceiveCount"])
	return err == nil && receives >= discovery.EventReceives
}

// read returns the objects that a message tells of, also when it tells of something else as well. S3's test message has no records.
func (h *handler) read(ctx context.Context, body string) ([]job.File, error) {
	var event notification
	if err := json.Unmarshal([]byte(body), &event); err != nil {
		return nil, fmt.Errorf("event: %w", err)
	}
	var files []job.File
	var faults []error
	for _, r := range event.Records {
		if !strings.HasPrefix(r.EventVersion, "2.") { // AWS changes the number before the dot when something means something else
			faults = append(faults, fmt.Errorf("event: version %q is not 2.x: deploy a receive-file that reads it", r.EventVersion))
			continue
		}
		if !strings.HasPrefix(r.EventName, "ObjectCreated:") || r.S3.Bucket.Name != h.bucket || r.S3.Object.Key == "" {
			slog.WarnContext(ctx, "not a landed file", "event", r.EventName, "bucket", r.S3.Bucket.Name)
			continue
		}
		files = append(files, job.File{
			Bucket: h.bucket, Key: decoded(r.S3.Object.Key), Bytes: r.S3.Object.Size, ETag: r.S3.Object.ETag, VersionID: r.S3.Object.VersionID,
			Sequencer: job.Sequencer(r.S3.Object.Sequencer), LandedAt: r.EventTime,
		})
	}
	return files, errors.Join(faults...)
}

// decoded reads a key as S3's events encode it: like a form, a space as a plus sign. What is not encoded so is taken as it is.
func decoded(key string) string {
	text, err := url.QueryUnescape(key)
	if err != nil {
		return key
	}
	return text
}
