package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/sluice-data/sluice/internal/compute/parameters"
	"github.com/sluice-data/sluice/internal/discovery"
	"github.com/sluice-data/sluice/internal/driver"
	jobs "github.com/sluice-data/sluice/internal/job"
	ledgers "github.com/sluice-data/sluice/internal/ledger"
	"github.com/sluice-data/sluice/internal/messages"
	"github.com/sluice-data/sluice/internal/store"
)

// desk is where people ask something of a country's jobs.
type desk interface {
	// Who is the caller, as AWS knows them.
	Who(ctx context.Context) (string, error)
	// Do does one thing to one job and returns the job as it is then.
	Do(ctx context.Context, id jobs.ID, verb jobs.Verb, by, reason string) (jobs.Job, error)
	// Backfill does the days of a feed again, or at last.
	Backfill(ctx context.Context, feed string, from, to jobs.Day, by, reason string) ([]driver.Filled, error)
	// Rehearse says what Backfill would do.
	Rehearse(ctx context.Context, feed string, from, to jobs.Day) ([]driver.Filled, error)
	// Explain says why a job does not run.
	Explain(ctx context.Context, id jobs.ID) (jobs.State, []jobs.Why, error)
	// DeadLetters takes up what was given up.
	DeadLetters(ctx context.Context) ([]messages.DeadLetter, error)
	// Wake makes jobs go on that would do so at the next tick, given one as Do left it.
	Wake(ctx context.Context, j jobs.Job) error
}

// countryDesk applies the rules with the caller's own credentials, as the functions do with theirs.
type countryDesk struct {
	code     string
	sts      *sts.Client
	ledger   *ledgers.Ledger
	intake   driver.Intake
	promoter driver.Promoter
	letters  messages.DeadLetters
	off      driver.Switch
}

func newCountryDesk(cfg aws.Config, c discovery.Country) (countryDesk, error) {
	zone, err := c.Location()
	if err != nil {
		return countryDesk{}, err
	}
	book := ledgers.New(dynamodb.NewFromConfig(cfg), c.Tables)
	landing := store.NewBucket(s3.NewFromConfig(cfg), c.Buckets.Landing)
	topics := messages.NewTopics(sns.NewFromConfig(cfg), c)
	queue := sqs.NewFromConfig(cfg)
	return countryDesk{
		code: c.Country, sts: sts.NewFromConfig(cfg), ledger: book, letters: messages.NewDeadLetters(queue, c),
		intake: driver.Intake{Ledger: book, Landing: landing, Alerts: topics, Zone: zone, Now: time.Now},
		promoter: driver.Promoter{Ledger: book, Landing: landing, Tickets: messages.NewTickets(queue, c), Topics: topics, Zone: zone,
			Parallel: c.Parallel, Now: time.Now},
		off: parameters.Of(ssm.NewFromConfig(cfg), c),
	}, nil
}

func (d countryDesk) Who(ctx context.Context) (string, error) {
	who, err := d.sts.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return "", fmt.Errorf("caller identity: %w", err)
	}
	return aws.ToString(who.Arn), nil
}

func (d countryDesk) operator(by string) driver.Operator {
	return driver.Operator{Ledger: d.ledger, Days: d.intake, By: by, Now: time.Now}
}

func (d countryDesk) Do(ctx context.Context, id jobs.ID, verb jobs.Verb, by, reason string) (jobs.Job, error) {
	return d.operator(by).Do(ctx, id, verb, reason)
}

func (d countryDesk) Backfill(ctx context.Context, feed string, from, to jobs.Day, by, reason string) ([]driver.Filled, error) {
	return d.operator(by).Backfill(ctx, feed, from, to, reason)
}

func (d countryDesk) Rehearse(ctx context.Context, feed string, from, to jobs.Day) ([]driver.Filled, error) {
	return d.operator("").Rehearse(ctx, feed, from, to)
}

func (d countryDesk) Explain(ctx context.Context, id jobs.ID) (jobs.State, []jobs.Why, error) {
	j, err := d.ledger.Get(ctx, id)
	if errors.Is(err, ledgers.ErrNoJob) {
		return d.explainNoJob(ctx, id)
	}
	if err != nil {
		return "", nil, err
	}
	b, err := d.promoter.Board(ctx)
	if err != nil {
		return "", nil, err
	}
	if b.Off, err = d.off.Off(ctx); err != nil {
		return "", nil, err
	}
	b.Country = d.code
	b.Jobs[id] = j // it may have ended long ago
	return j.State, jobs.Explain(b, id), nil
}

func (d countryDesk) explainNoJob(ctx context.Context, id jobs.ID) (jobs.State, []jobs.Why, error) {
	if err := id.Day.Check(time.Now(), d.intake.Zone); err != nil {
		return "", []jobs.Why{{Kind: jobs.WhyNoDay, Text: err.Error(), Next: "put its files under the day that they are of"}}, nil
	}
	feeds, err := d.ledger.Feeds(ctx)
	if err != nil {
		return "", nil, err
	}
	found, err := d.intake.Landing.List(ctx, id.String()+"/", "")
	if err != nil {
		return "", nil, err
	}
	var files []jobs.File
	for _, f := range found {
		if _, name, err := jobs.ParseKey(f.Key); err == nil {
			f.Name = name
			files = append(files, f)
		}
	}
	var unread []jobs.Why
	if u := jobs.UnreadOf(found); u.ID != "" {
		unread = []jobs.Why{{Kind: jobs.WhyUnread, Text: u.Text, Next: "put the files under good names, and delete these objects"}}
	}
	missing := feeds[id.Feed].Missing(id.Day, files, time.Now(), d.intake.Zone)
	if missing == "" {
		return "", append([]jobs.Why{{Kind: jobs.WhyNoDay, Text: "the day is complete, and its job not yet there",
			Next: "a sweep creates it, within the hour at the latest; sluice redrive --dead-letters sweeps at once"}}, unread...), nil
	}
	next := "sluice put delivers it"
	if len(files) > 0 {
		next = "sluice put delivers what it lacks; where that will never come, give the day up: " + jobs.Board{Country: d.code}.Command(jobs.Cancel, id)
	}
	return "", append([]jobs.Why{{Kind: jobs.WhyNoDay, Text: "the day is not complete: " + missing, Next: next}}, unread...), nil
}

func (d countryDesk) DeadLetters(ctx context.Context) ([]messages.DeadLetter, error) {
	letters, err := d.letters.Redrive(ctx)
	if err != nil {
		return letters, err
	}
	_, err = d.intake.Sweep(ctx, true)
	return letters, err
}

func (d countryDesk) Wake(ctx context.Context, j jobs.Job) error { return d.promoter.Wake(ctx, j) }
