package messages

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go/middleware"
	"pgregory.net/rapid"

	"github.com/sluice-data/sluice/internal/discovery"
	"github.com/sluice-data/sluice/internal/emulator"
	"github.com/sluice-data/sluice/internal/job"
)

var cfg aws.Config

func TestMain(m *testing.M) {
	os.Exit(emulator.Main(m, func(c aws.Config) { cfg = c }))
}

var flights = job.ID{Feed: "flights", Day: "2013-01-01"}

// open makes a country's queues.
func open(t *testing.T) (*sqs.Client, discovery.Country) {
	t.Helper()
	client := sqs.NewFromConfig(cfg)
	queue := func(name string) string {
		made, err := client.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: aws.String(t.Name() + name)})
		if err != nil {
			t.Fatal(err)
		}
		return *made.QueueUrl
	}
	return client, discovery.Country{Stack: "test", Country: "us", Queues: discovery.Queues{Tickets: queue("-tickets"), DeadLetters: queue("-dead")}}
}

func receive(t *testing.T, tickets Tickets) []Received {
	t.Helper()
	got, err := tickets.Receive(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestEventIsReadInThisVersionOnly(t *testing.T) {
	whole := Event{Version: 1, Type: "job.succeeded", Stack: "test", Country: "us", Feed: "flights", Day: "2013-01-01", Token: 7}
	for text, want := range map[string]struct {
		event Event
		err   string
	}{
		`{"version":1,"type":"job.succeeded","stack":"test","country":"us","feed":"flights","day":"2013-01-01","token":7}`:                 {whole, ""},
		`{"version":1,"type":"job.succeeded","stack":"test","country":"us","feed":"flights","day":"2013-01-01","token":7,"later":{"a":1}}`: {whole, ""},
		`{"version":2,"type":"job.succeeded"}`: {Event{}, "event: version 2 is not 1: deploy all functions together"},
		`{"version":-1}`:                       {Event{}, "event: version -1 is not 1: deploy all functions together"},
		`{"type":"job.succeeded"}`:             {Event{}, "event: version 0 is not 1: deploy all functions together"},
		`null`:                                 {Event{}, "event: version 0 is not 1: deploy all functions together"},
		`{"version":"1"}`:                      {Event{}, "event: json: cannot unmarshal string into Go struct field Event.version of type int"},
		`{"version":1,"token":99999999999999999999}`: {Event{}, "event: json: cannot unmarshal number 99999999999999999999 into Go struct field Event.token of type int64"},
		`{"version":1} {"version":1}`:                {Event{}, "event: invalid character '{' after top-level value"},
		`[]`:                                         {Event{}, "event: json: cannot unmarshal array into Go value of type messages.Event"},
		``:                                           {Event{}, "event: unexpected end of JSON input"},
		`job.succeeded`:                              {Event{}, "event: invalid character 'j' looking for beginning of value"},
	} {
		got, err := ParseEvent(text)
		if got != want.event || (err == nil) != (want.err == "") || err != nil && err.Error() != want.err {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
}

func TestTicketIsReadOnlyOfThisVersionAndCountry(t *testing.T) {
	tickets := NewTickets(nil, discovery.Country{Country: "us"})
	for text, want := range map[string]string{
		`{"version":1,"country":"us","feed":"flights","day":"2013-01-01"}`:            "",
		`{"version":2,"country":"us","feed":"flights","day":"2013-01-01"}`:            "ticket: version 2 is not 1: deploy all functions together",
		`{"country":"us","feed":"flights","day":"2013-01-01"}`:                        "ticket: version 0 is not 1: deploy all functions together",
		`{"version":1,"country":"br","feed":"flights","day":"2013-01-01"}`:            `ticket of country "br" came to "us"`,
		`{"version":1,"feed":"flights","day":"2013-01-01"}`:                           `ticket of country "" came to "us"`,
		`{"version":1,"country":"us","feed":"../x","day":"2013-01-01"}`:               `job "../x/2013-01-01" is not of the form feed/yyyy-mm-dd`,
		`{"version":1,"country":"us","feed":"","day":"2013-01-01"}`:                   `job "/2013-01-01" is not of the form feed/yyyy-mm-dd`,
		`{"version":1,"country":"us","feed":"flights","day":"2013-02-30"}`:            `job "flights/2013-02-30": day "2013-02-30" is not a date of the form yyyy-mm-dd`,
		`{"version":1,"country":"us","feed":"flights","day":"2013-01-01/data.csv"}`:   `job "flights/2013-01-01/data.csv": day "2013-01-01/data.csv" is not a date of the form yyyy-mm-dd`,
		`{"version":1,"country":"us","feed":"flights/2013-01-01","day":"2013-01-01"}`: `job "flights/2013-01-01/2013-01-01": day "2013-01-01/2013-01-01" is not a date of the form yyyy-mm-dd`,
		`{"Service":"Amazon S3","Event":"s3:TestEvent","Bucket":"landing"}`:           "ticket: version 0 is not 1: deploy all functions together",
		`{"version":1,"country":["us"],"feed":"flights","day":"2013-01-01"}`:          "not a ticket: json: cannot unmarshal array into Go struct field ticket.country of type string",
		`flights/2013-01-01`: "not a ticket: invalid character 'l' in literal false (expecting 'a')",
		``:                   "not a ticket: unexpected end of JSON input",
	} {
		id, err := tickets.parse(text)
		if want == "" && (err != nil || id != flights) || want != "" && (err == nil || err.Error() != want) {
			t.Errorf("%s: %s, %v", text, id, err)
		}
	}
}

// TestWhateverIsReadAsATicketIsAJob feeds anything to the reader: what it takes for a ticket is a feed and a day.
func TestWhateverIsReadAsATicketIsAJob(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tickets := NewTickets(nil, discovery.Country{Country: "us"})
		text := rapid.OneOf(rapid.String(), rapid.Map(rapid.SliceOfN(rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"us", "flights", "2013-01-01"})), 3, 3), func(v []string) string {
			body, _ := json.Marshal(ticket{Version, v[0], v[1], v[2]})
			return string(body)
		})).Draw(t, "text")
		id, err := tickets.parse(text)
		if again, fault := job.ParseID(id.String()); err == nil && (fault != nil || again != id) {
			t.Fatalf("%q is read as %q", text, id)
		}
	})
}

func TestTicketIsHeldUntilItIsDeleted(t *testing.T) {
	client, country := open(t)
	tickets := NewTickets(client, country)
	if err := tickets.Send(t.Context(), flights); err != nil {
		t.Fatal(err)
	}
	got := receive(t, tickets)
	if len(got) != 1 || got[0].Job != flights || got[0].Ticket.ID == "" || got[0].Ticket.Receipt == "" {
		t.Fatalf("received %+v", got)
	}
	if again := receive(t, tickets); len(again) != 0 {
		t.Errorf("received twice: %+v", again)
	}
	receipt := got[0].Ticket.Receipt
	visible := func(seconds int32) {
		t.Helper()
		if _, err := client.ChangeMessageVisibility(t.Context(), &sqs.ChangeMessageVisibilityInput{QueueUrl: &country.Queues.Tickets, ReceiptHandle: &receipt, VisibilityTimeout: seconds}); err != nil {
			t.Fatal(err)
		}
	}
	visible(0)
	if err := tickets.Renew(t.Context(), []string{receipt}); err != nil {
		t.Fatal(err)
	}
	if again := receive(t, tickets); len(again) != 0 {
		t.Errorf("received though it was renewed: %+v", again)
	}
	for range 2 { // whoever does it again changes nothing
		if err := tickets.Delete(t.Context(), receipt); err != nil {
			t.Fatal(err)
		}
	}
	if err := tickets.Delete(t.Context(), "no receipt"); err != nil {
		t.Errorf("a receipt that is no longer good: %v", err)
	}
	if err := tickets.Renew(t.Context(), []string{receipt, "no receipt"}); err != nil {
		t.Errorf("tickets that are gone: %v", err)
	}
	if again := receive(t, tickets); len(again) != 0 {
		t.Errorf("received after it was deleted: %+v", again)
	}
}

func TestMoreTicketsThanOneCallTakesAreReceivedAndRenewed(t *testing.T) {
	client, country := open(t)
	tickets := NewTickets(client, country)
	want := map[job.ID]bool{}
	for n := range 25 {
		id := job.ID{Feed: fmt.Sprintf("feed%d", n), Day: flights.Day}
		want[id] = true
		if err := tickets.Send(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	var receipts []string
	got := map[job.ID]bool{}
	for _, r := range receive(t, tickets) {
		got[r.Job] = true
		receipts = append(receipts, r.Ticket.Receipt)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("received %v", got)
	}
	if err := tickets.Renew(t.Context(), receipts); err != nil {
		t.Error(err)
	}
}

func TestMessageThatIsNoTicketIsKeptWithItsReason(t *testing.T) {
	client, country := open(t)
	tickets := NewTickets(client, country)
	const bad = `{"version":2,"country":"us","feed":"flights","day":"2013-01-01"}`
	for _, body := range []string{bad, "{"} {
		if _, err := client.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &country.Queues.Tickets, MessageBody: &body}); err != nil {
			t.Fatal(err)
		}
	}
	if err := tickets.Send(t.Context(), flights); err != nil {
		t.Fatal(err)
	}
	if got := receive(t, tickets); len(got) != 1 || got[0].Job != flights {
		t.Errorf("received %+v", got)
	}
	letters, err := NewDeadLetters(client, country).Redrive(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, l := range letters {
		got[l.Body] = l.Error + l.Job
	}
	want := map[string]string{bad: "ticket: version 2 is not 1: deploy all functions together", "{": "not a ticket: unexpected end of JSON input"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("dead letters: %+v", letters)
	}
}

func TestDeadTicketIsQueuedAgainAndAnythingElseOnlyShown(t *testing.T) {
	client, country := open(t)
	for _, body := range []string{`{"version":1,"country":"us","feed":"flights","day":"2013-01-01"}`, `{"version":1,"country":"br","feed":"flights","day":"2013-01-01"}`} {
		in := &sqs.SendMessageInput{QueueUrl: &country.Queues.DeadLetters, MessageBody: &body, MessageAttributes: map[string]sqstypes.MessageAttributeValue{
			errorAttribute: {DataType: aws.String("String"), StringValue: aws.String("it said no")}}}
		if _, err := client.SendMessage(t.Context(), in); err != nil {
			t.Fatal(err)
		}
	}
	letters, err := NewDeadLetters(client, country).Redrive(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var jobs []string
	for _, l := range letters {
		jobs = append(jobs, l.Job+" "+l.Error)
	}
	slices.Sort(jobs)
	if want := []string{" it said no", "flights/2013-01-01 it said no"}; !slices.Equal(jobs, want) {
		t.Errorf("taken: %q", jobs)
	}
	if got := receive(t, NewTickets(client, country)); len(got) != 1 || got[0].Job != flights {
		t.Errorf("queued again: %+v", got)
	}
	if letters, err := NewDeadLetters(client, country).Redrive(t.Context()); err != nil || len(letters) != 0 {
		t.Errorf("left: %+v, %v", letters, err)
	}
}

// published are the calls of a topic, answered without a network.
func published(t *testing.T, fault error) (Topics, *[]*sns.PublishInput) {
	t.Helper()
	var all []*sns.PublishInput
	client := sns.New(sns.Options{Region: "us-east-1", APIOptions: []func(*middleware.Stack) error{func(s *middleware.Stack) error {
		return s.Initialize.Add(middleware.InitializeMiddlewareFunc("played", func(_ context.Context, in middleware.InitializeInput, _ middleware.InitializeHandler) (middleware.InitializeOutput, middleware.Metadata, error) {
			all = append(all, in.Parameters.(*sns.PublishInput))
			return middleware.InitializeOutput{Result: &sns.PublishOutput{}}, middleware.Metadata{}, fault
		}), middleware.Before)
	}}})
	return NewTopics(client, discovery.Country{Stack: "test", Country: "us", Topics: discovery.Topics{Jobs: "arn:jobs", Alerts: "arn:alerts"}}), &all
}

func TestFunctionsAreToldOfAJobWithItsTypeAsAnAttribute(t *testing.T) {
	topics, sent := published(t, nil)
	if err := topics.Announce(t.Context(), job.NoticeSucceeded, flights, 7); err != nil {
		t.Fatal(err)
	}
	in := (*sent)[0]
	const want = `{"version":1,"type":"job.succeeded","stack":"test","country":"us","feed":"flights","day":"2013-01-01","token":7}`
	if *in.TopicArn != "arn:jobs" || *in.Message != want || in.Subject != nil || *in.MessageAttributes["type"].StringValue != "job.succeeded" || *in.MessageAttributes["type"].DataType != "String" {
		t.Errorf("published %+v %s", in, *in.Message)
	}
	if e, err := ParseEvent(*in.Message); err != nil || e.Feed != flights.Feed || e.Token != 7 {
		t.Errorf("read again: %+v, %v", e, err)
	}
}

func TestPeopleAreToldWithASubjectThatSNSTakes(t *testing.T) {
	for name, c := range map[string]struct {
		event Event
		want  string
	}{
		"a job":       {Event{Type: "job.dead", Feed: "flights", Day: "2013-01-01"}, "sluice test us: job.dead flights 2013-01-01"},
		"a function":  {Event{Type: "function.failed", Source: "receive-file"}, "sluice test us: function.failed receive-file"},
		"of a feed":   {Event{Type: "function.failed", Source: "export-table", Feed: "planes", Day: "2013-01-01"}, "sluice test us: function.failed export-table planes 2013-01-01"},
		"a long name": {Event{Type: "function.failed", Source: strings.Repeat("s", 64), Feed: strings.Repeat("f", 64), Day: "2013-01-01"}, ("sluice test us: function.failed " + strings.Repeat("s", 64) + " " + strings.Repeat("f", 64))[:100]},
		// What a stranger wrote is in the message only: a subject is printable ASCII.
		"a hostile file": {Event{Type: "file.rejected", File: "../é\n\x00", Reason: "é\n"}, "sluice test us: file.rejected"},
		// Nobody can speak for another country.
		"another country": {Event{Version: 9, Type: "job.dead", Stack: "prod", Country: "br"}, "sluice test us: job.dead"},
	} {
		topics, sent := published(t, nil)
		if err := topics.Alert(t.Context(), c.event); err != nil {
			t.Fatal(err)
		}
		in := (*sent)[0]
		want := c.event
		want.Version, want.Stack, want.Country = 1, "test", "us"
		if got, err := ParseEvent(*in.Message); err != nil || got != want {
			t.Errorf("%s: told %+v, %v", name, got, err)
		}
		if *in.Subject != c.want || *in.TopicArn != "arn:alerts" || *in.MessageAttributes["type"].StringValue != c.event.Type {
			t.Errorf("%s: %q on %s", name, *in.Subject, *in.TopicArn)
		}
	}
}

func TestWhatCouldNotBeToldIsAnError(t *testing.T) {
	topics, _ := published(t, errors.New("no topic"))
	if err := topics.Announce(t.Context(), job.NoticeReady, flights, 1); err == nil || !strings.HasPrefix(err.Error(), "event job.ready: ") {
		t.Errorf("announced: %v", err)
	}
	if err := topics.Alert(t.Context(), Event{Type: "job.dead"}); err == nil || !strings.HasPrefix(err.Error(), "event job.dead: ") {
		t.Errorf("alerted: %v", err)
	}
}
