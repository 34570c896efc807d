package main

import (
	"context"
	"errors"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"github.com/sluice-data/sluice/internal/job"
)

type intake interface {
	Keys(ctx context.Context, keys []job.File) (changed bool, faults []error)
}

type promoter interface {
	Promote(ctx context.Context) error
}

// handler takes S3's notifications of the landing bucket.
type handler struct {
	bucket   string
	intake   intake
	promoter promoter
}

// notification is the part of S3's event that is read. The library's type refuses a whole event for one key that is not encoded right.
type notification struct {
	Records []struct {
		EventName string    `json:"eventName"`
		EventTime time.Time `json:"eventTime"`
		S3        struct {
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

// Handle takes in the objects that an event names. The event may come twice, late, or in any order; S3's test message has no records.
func (h *handler) Handle(ctx context.Context, event notification) error {
	var files []job.File
	for _, r := range event.Records {
		if !strings.HasPrefix(r.EventName, "ObjectCreated:") || r.S3.Bucket.Name != h.bucket {
			slog.WarnContext(ctx, "not a landed file", "event", r.EventName, "bucket", r.S3.Bucket.Name)
			continue
		}
		files = append(files, job.File{
			Bucket: h.bucket, Key: decoded(r.S3.Object.Key), Bytes: r.S3.Object.Size, ETag: r.S3.Object.ETag, VersionID: r.S3.Object.VersionID,
			Sequencer: job.Sequencer(r.S3.Object.Sequencer), LandedAt: r.EventTime,
		})
	}
	if len(files) == 0 {
		return nil
	}
	changed, faults := h.intake.Keys(ctx, files)
	if changed {
		// Also when something else went wrong: it must not keep this job back.
		faults = append(faults, h.promoter.Promote(ctx))
	}
	return errors.Join(faults...)
}

// decoded reads a key as S3's events encode it: like a form, a space as a plus sign. What is not encoded so is taken as it is.
func decoded(key string) string {
	text, err := url.QueryUnescape(key)
	if err != nil {
		return key
	}
	return text
}
