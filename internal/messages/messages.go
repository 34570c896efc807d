// Package messages sends and reads what the functions of a country tell each other, and people: tickets on SQS, events on SNS.
package messages

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	snstypes "github.com/aws/aws-sdk-go-v2/service/sns/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/sluice-data/sluice/internal/discovery"
	"github.com/sluice-data/sluice/internal/job"
)

// Version is the version of every message. A message of another one is not read.
const Version = 1

// Event is a message on a topic: on `jobs` for functions, on `alerts` for people.
type Event struct {
	Version int    `json:"version"`
	Type    string `json:"type"`
	Stack   string `json:"stack"`
	Country string `json:"country"`
	Feed    string `json:"feed,omitempty"`
	Day     string `json:"day,omitempty"`
	Token   int64  `json:"token"`
	File    string `json:"file,omitempty"`
	Source  string `json:"source,omitempty"` // Source is what failed, where that is no job: a function, a Glue job, a crawler, a state machine.
	Reason  string `json:"reason,omitempty"`
	Next    string `json:"next,omitempty"` // Next is what somebody who reads an alert can do.
}

// ParseEvent reads an event of this version.
func ParseEvent(text string) (Event, error) {
	var e Event
	if err := json.Unmarshal([]byte(text), &e); err != nil {
		return Event{}, fmt.Errorf("event: %w", err)
	}
	if e.Version != Version {
		return Event{}, fmt.Errorf("event: version %d is not %d: deploy all functions together", e.Version, Version)
	}
	return e, nil
}

// Topics publishes on a country's topics.
type Topics struct {
	sns     *sns.Client
	country discovery.Country
}

// NewTopics opens the topics of a country. It does not touch the network.
func NewTopics(client *sns.Client, country discovery.Country) Topics { return Topics{client, country} }

// Announce tells the country's functions of a job.
func (t Topics) Announce(ctx context.Context, kind job.NoticeType, id job.ID, token int64) error {
	return t.publish(ctx, t.country.Topics.Jobs, Event{Type: string(kind), Feed: id.Feed, Day: string(id.Day), Token: token}, "")
}

// Alert tells people. The event's country, stack and version are filled in.
func (t Topics) Alert(ctx context.Context, e Event) error {
	subject := fmt.Sprintf("sluice %s %s: %s", t.country.Stack, t.country.Country, e.Type)
	if e.Source != "" {
		subject += " " + e.Source
	}
	if e.Feed != "" {
		subject += " " + e.Feed + " " + e.Day
	}
	return t.publish(ctx, t.country.Topics.Alerts, e, subject)
}

func (t Topics) publish(ctx context.Context, topic string, e Event, subject string) error {
	e.Version, e.Stack, e.Country = Version, t.country.Stack, t.country.Country
	text, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("event %s: %w", e.Type, err)
	}
	in := &sns.PublishInput{
		TopicArn: &topic, Message: aws.String(string(text)),
		MessageAttributes: map[string]snstypes.MessageAttributeValue{"type": {DataType: aws.String("String"), StringValue: &e.Type}},
	}
	if subject != "" {
		in.Subject = aws.String(subject[:min(len(subject), 100)]) // SNS's limit; a subject is ASCII by its parts
	}
	if _, err := t.sns.Publish(ctx, in); err != nil {
		return fmt.Errorf("event %s: %w", e.Type, err)
	}
	slog.InfoContext(ctx, "told", "type", e.Type, "feed", e.Feed, "day", e.Day, "token", e.Token, "reason", e.Reason)
	return nil
}

// visibilitySeconds is how long a received ticket stays ours unless it is renewed, which happens every minute.
const visibilitySeconds = 300

// ticket is the body of a queued message.
type ticket struct {
	Version int    `json:"version"`
	Country string `json:"country"`
	Feed    string `json:"feed"`
	Day     string `json:"day"`
}

// Received is a ticket that was taken from the queue.
type Received struct {
	Job    job.ID
	Ticket job.Ticket
}

// Tickets is a country's queue of jobs that became ready.
type Tickets struct {
	sqs         *sqs.Client
	url         string
	deadLetters string
	country     string
}

// NewTickets opens the queue of a country. It does not touch the network.
func NewTickets(client *sqs.Client, country discovery.Country) Tickets {
	return Tickets{client, country.Queues.Tickets, country.Queues.DeadLetters, country.Country}
}

// Send queues the ticket of a job.
func (t Tickets) Send(ctx context.Context, id job.ID) error {
	text, err := json.Marshal(ticket{Version: Version, Country: t.country, Feed: id.Feed, Day: string(id.Day)})
	if err != nil {
		return fmt.Errorf("ticket of job %s: %w", id, err)
	}
	if _, err := t.sqs.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: &t.url, MessageBody: aws.String(string(text))}); err != nil {
		return fmt.Errorf("ticket of job %s: %w", id, err)
	}
	return nil
}

// Receive takes the tickets that are in the queue now, some hundreds at most. A message that is none goes to the dead letters, and keeps
// none of the others back.
func (t Tickets) Receive(ctx context.Context) ([]Received, error) {
	var all []Received
	var faults []error
	for range 50 {
		got, err := t.sqs.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: &t.url, MaxNumberOfMessages: 10, VisibilityTimeout: visibilitySeconds})
		if err != nil {
			faults = append(faults, fmt.Errorf("tickets: %w", err))
			break
		}
		if len(got.Messages) == 0 {
			break
		}
		for _, m := range got.Messages {
			id, err := t.parse(aws.ToString(m.Body))
			if err != nil {
				faults = append(faults, t.giveUp(ctx, m, err))
				continue
			}
			all = append(all, Received{id, job.Ticket{ID: aws.ToString(m.MessageId), Receipt: aws.ToString(m.ReceiptHandle)}})
		}
	}
	return all, errors.Join(faults...)
}

// errorAttribute is where Lambda, and we, say in a dead letter why it is one.
const errorAttribute = "ErrorMessage"

// giveUp moves a message to the dead letters at once, with the reason: it would not become a ticket by being received again. Whoever dies in
// between leaves it in both queues.
func (t Tickets) giveUp(ctx context.Context, m sqstypes.Message, why error) error {
	slog.ErrorContext(ctx, "not a ticket", "message", aws.ToString(m.MessageId), "error", why.Error())
	_, err := t.sqs.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: &t.deadLetters, MessageBody: m.Body, MessageAttributes: map[string]sqstypes.MessageAttributeValue{
		errorAttribute: {DataType: aws.String("String"), StringValue: aws.String(why.Error())}}})
	if err != nil {
		return fmt.Errorf("message %s that is no ticket: %w", aws.ToString(m.MessageId), err)
	}
	return t.Delete(ctx, aws.ToString(m.ReceiptHandle))
}

func (t Tickets) parse(body string) (job.ID, error) {
	var got ticket
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		return job.ID{}, fmt.Errorf("not a ticket: %w", err)
	}
	if got.Version != Version {
		return job.ID{}, fmt.Errorf("ticket: version %d is not %d: deploy all functions together", got.Version, Version)
	}
	if got.Country != t.country {
		return job.ID{}, fmt.Errorf("ticket of country %q came to %q", got.Country, t.country)
	}
	return job.ParseID(got.Feed + "/" + got.Day)
}

// Renew keeps received tickets from appearing again. A ticket that cannot be renewed appears again by itself, which is no error.
func (t Tickets) Renew(ctx context.Context, receipts []string) error {
	var faults []error
	for some := range slices.Chunk(receipts, 10) { // the limit of one call
		in := &sqs.ChangeMessageVisibilityBatchInput{QueueUrl: &t.url}
		for i, receipt := range some {
			in.Entries = append(in.Entries, sqstypes.ChangeMessageVisibilityBatchRequestEntry{
				Id: aws.String(strconv.Itoa(i)), ReceiptHandle: &receipt, VisibilityTimeout: visibilitySeconds})
		}
		if _, err := t.sqs.ChangeMessageVisibilityBatch(ctx, in); err != nil {
			faults = append(faults, fmt.Errorf("tickets: %w", err)) // the others are renewed all the same
		}
	}
	return errors.Join(faults...)
}

// Delete takes a ticket off the queue. One whose receipt is no longer good appears again, and is deleted then.
func (t Tickets) Delete(ctx context.Context, receipt string) error {
	_, err := t.sqs.DeleteMessage(ctx, &sqs.DeleteMessageInput{QueueUrl: &t.url, ReceiptHandle: &receipt})
	if invalid := (*sqstypes.ReceiptHandleIsInvalid)(nil); errors.As(err, &invalid) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("ticket: %w", err)
	}
	return nil
}

// DeadLetter is a message that was given up: a ticket that was received too often, or an event that a function failed on.
type DeadLetter struct {
	ID    string `json:"id"`
	Job   string `json:"job"`   // Job is a ticket's job; empty: it is no ticket of ours.
	Error string `json:"error"` // Error is what the function failed with.
	Body  string `json:"body"`
}

// DeadLetters is a country's queue of messages that were given up.
type DeadLetters struct {
	sqs     *sqs.Client
	url     string
	tickets Tickets
}

// NewDeadLetters opens the queue of a country. It does not touch the network.
func NewDeadLetters(client *sqs.Client, country discovery.Country) DeadLetters {
	return DeadLetters{client, country.Queues.DeadLetters, NewTickets(client, country)}
}

// Redrive empties the queue and returns what was in it. Tickets are queued again. An event is only taken away: what it told is in the
// landing bucket, the engine or the ledger, where the next sweep finds it.
func (d DeadLetters) Redrive(ctx context.Context) ([]DeadLetter, error) {
	var all []DeadLetter
	for {
		got, err := d.sqs.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: &d.url, MaxNumberOfMessages: 10, MessageAttributeNames: []string{"All"},
			WaitTimeSeconds: 1}) // without waiting SQS asks some of its servers only, and a full queue may look empty
		if err != nil {
			return all, fmt.Errorf("dead letters: %w", err)
		}
		if len(got.Messages) == 0 {
			return all, nil
		}
		for _, m := range got.Messages {
			letter := DeadLetter{ID: aws.ToString(m.MessageId), Body: aws.ToString(m.Body), Error: aws.ToString(m.MessageAttributes[errorAttribute].StringValue)}
			if id, err := d.tickets.parse(letter.Body); err == nil {
				letter.Job = id.String()
				if err := d.tickets.Send(ctx, id); err != nil {
					return all, err
				}
			}
			if _, err := d.sqs.DeleteMessage(ctx, &sqs.DeleteMessageInput{QueueUrl: &d.url, ReceiptHandle: m.ReceiptHandle}); err != nil {
				return all, fmt.Errorf("dead letter %s: %w", letter.ID, err)
			}
			all = append(all, letter)
		}
	}
}
