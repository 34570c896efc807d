package main

import (
	"context"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/athena"

	"github.com/sluice-data/sluice/internal/discovery"
	"github.com/sluice-data/sluice/internal/sizing"
)

// place is one deployed country, opened: its names, and the services that hold its data and its ledger.
type place struct {
	code string
	discovery.Country
	ledger  ledger
	desk    desk
	objects objects
	athena  athenaClient

	switchboard switchboard
	clusters    clusters
	application application
}

// ledger is what the commands read of a country's ledger.
type ledger interface {
	// Jobs returns the jobs of a country; an empty feed or day stands for every one.
	Jobs(ctx context.Context, feed, day string) ([]job, error)
	// Runs returns the attempts at a job, the first one first.
	Runs(ctx context.Context, feed, day string) ([]attempt, error)
	// Files returns what was recorded of a job's files.
	Files(ctx context.Context, feed, day string) ([]file, error)
	// Rejected returns the objects that landed under a key that says no feed and day.
	Rejected(ctx context.Context) ([]file, error)
	// Feeds returns the country's feeds, as deployed.
	Feeds(ctx context.Context) (map[string]feed, error)
}

// objects stores files as objects.
type objects interface {
	Upload(ctx context.Context, bucket, key string, body io.Reader) error
	// Seal stores a file that is encrypted, with a data key of the key keyARN, before it leaves this machine.
	Seal(ctx context.Context, bucket, key, keyARN string, body io.ReadSeeker) error
}

// athenaClient is the part of Athena that a query needs.
type athenaClient interface {
	StartQueryExecution(ctx context.Context, in *athena.StartQueryExecutionInput, opts ...func(*athena.Options)) (*athena.StartQueryExecutionOutput, error)
	GetQueryExecution(ctx context.Context, in *athena.GetQueryExecutionInput, opts ...func(*athena.Options)) (*athena.GetQueryExecutionOutput, error)
	StopQueryExecution(ctx context.Context, in *athena.StopQueryExecutionInput, opts ...func(*athena.Options)) (*athena.StopQueryExecutionOutput, error)
	athena.GetQueryResultsAPIClient
}

// job is one feed of one day in one country, as `sluice jobs --json` prints it. A count that is not known yet is null.
type job struct {
	Country    string          `json:"country"`
	Feed       string          `json:"feed"`
	Day        string          `json:"day"`
	State      string          `json:"state"`
	Engine     string          `json:"engine"`
	Attempts   int64           `json:"attempts"`
	Reason     string          `json:"reason"`
	Input      *int64          `json:"input"`
	Validated  *int64          `json:"validated"`
	Invalid    *int64          `json:"invalid"`
	New        *int64          `json:"new"`
	Changed    *int64          `json:"changed"`
	Unchanged  *int64          `json:"unchanged"`
	Duplicate  *int64          `json:"duplicate"`
	Deleted    *int64          `json:"deleted"`
	Exported   *int64          `json:"exported"`
	StartedAt  *time.Time      `json:"startedAt"`
	FinishedAt *time.Time      `json:"finishedAt"`
	Sizing     sizing.Decision `json:"sizing"`

	closed   bool // closed says that readers have an output of the day, be it an earlier revision's.
	setAside bool // setAside says that the job was cancelled: new files do not open it.

	// What only one job's details show.
	revision int64
	retryAt  *time.Time
	acts     []done
}

// done is what somebody did to a job.
type done struct {
	Verb   string     `json:"verb"`
	By     string     `json:"by"`
	Reason string     `json:"reason"`
	At     *time.Time `json:"at"`
}

// attempt is one run of a job.
type attempt struct {
	Token      int64           `json:"token"`
	State      string          `json:"state"`
	Engine     string          `json:"engine"`
	Reason     string          `json:"reason"`
	ClusterID  string          `json:"clusterId"`
	StepID     string          `json:"stepId"`
	Order      string          `json:"order"`
	StartedAt  *time.Time      `json:"startedAt"`
	FinishedAt *time.Time      `json:"finishedAt"`
	Sizing     sizing.Decision `json:"sizing"`
}

// file is what the ledger knows of one object in the landing bucket.
type file struct {
	Country  string     `json:"country"`
	Bucket   string     `json:"bucket"`
	Key      string     `json:"key"`
	Bytes    int64      `json:"bytes"`
	State    string     `json:"state"`
	Reason   string     `json:"reason"`
	LandedAt *time.Time `json:"landedAt"`
}

// places opens the countries of the app's stack: one, or all of them.
func (a *app) places(ctx context.Context, asked string) ([]place, error) {
	found, err := a.discover(ctx, a.stack)
	if err != nil {
		return nil, err
	}
	codes, err := found.codes(asked)
	if err != nil {
		return nil, err
	}
	var list []place
	for _, code := range codes {
		p, err := a.connect(ctx, found[code].Country)
		if err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	return list, nil
}

// feed finds a feed of the country, or says which feeds there are.
func (p place) feed(ctx context.Context, name string) (feed, error) {
	feeds, err := p.ledger.Feeds(ctx)
	if err != nil {
		return feed{}, err
	}
	f, ok := feeds[name]
	if !ok {
		return feed{}, usagef("no feed %q in country %q; it has %s", name, p.code, listed(slices.Sorted(maps.Keys(feeds))))
	}
	return f, nil
}
