package infra

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// driven is everything of a country with one driver or the other, its alarms among it.
func driven(t *testing.T, polling bool) []registration {
	t.Helper()
	e := newExample(t)
	e.polling = polling
	return record(t, func(ctx *pulumi.Context) error {
		p, err := e.parts(ctx)
		if err != nil {
			return err
		}
		return e.operations(ctx, p)
	})
}

func TestPollingRegistersExactlyItsInventory(t *testing.T) {
	matchesInventory(t, "polling", slices.DeleteFunc(driven(t, true), func(r registration) bool { return !strings.HasPrefix(r.Name, "us-polling") }))
}

func TestDriversDifferInWhatWakesTheFunctionsAndInNothingElse(t *testing.T) {
	texts := func(all []registration) map[string]string {
		found := map[string]string{}
		for _, r := range all {
			text, err := json.Marshal(r)
			if err != nil {
				t.Fatal(err)
			}
			found[r.Type+" "+r.Name] = string(text)
		}
		return found
	}
	push, polling := texts(driven(t, false)), texts(driven(t, true))
	var gone, changed []string
	for _, id := range slices.Sorted(maps.Keys(push)) {
		text, there := polling[id]
		if !there {
			gone = append(gone, id)
		} else if text != push[id] {
			changed = append(changed, id)
		}
	}
	rules := []string{"us-ended", "us-ended-glue", "us-ended-serverless", "us-sweep", "us-tick"}
	want := []string{}
	for _, kind := range []string{"aws:cloudwatch/eventRule:EventRule ", "aws:cloudwatch/eventTarget:EventTarget ", "aws:lambda/permission:Permission "} {
		for _, name := range rules {
			want = append(want, kind+name)
		}
	}
	want = append(want, "aws:cloudwatch/metricAlarm:MetricAlarm us-start-jobs-silent", "aws:lambda/permission:Permission us-jobs",
		"aws:s3/bucketNotification:BucketNotification us-landed", "aws:sns/topicSubscription:TopicSubscription us-jobs")
	slices.Sort(want)
	if !slices.Equal(gone, want) {
		t.Errorf("without push, these are gone:\n%s\nwant\n%s", strings.Join(gone, "\n"), strings.Join(want, "\n"))
	}
	// Its alarms; what counts as trouble of functions that Lambda does not repeat; who reads a history.
	if want := []string{"aws:cloudwatch/dashboard:Dashboard us", "aws:cloudwatch/metricAlarm:MetricAlarm us-queue-jobs-errors", "aws:cloudwatch/metricAlarm:MetricAlarm us-start-jobs-errors",
		"aws:cloudwatch/metricAlarm:MetricAlarm us-stop-cluster-errors", "aws:kms/key:Key us-state"}; !slices.Equal(changed, want) {
		t.Errorf("changed: %v", changed)
	}
	for id := range polling {
		if _, name, _ := strings.Cut(id, " "); push[id] == "" && !strings.HasPrefix(name, "us-polling") {
			t.Errorf("%s came with polling", id)
		}
	}
}

// definition is the state machine of the polling driver.
type definition struct {
	StartAt string
	States  map[string]struct {
		Type, Next, Default string
		Choices, Catch      []struct{ Next string }
		Retry               []struct{ MaxAttempts int }
	}
}

func polled(t *testing.T) definition {
	t.Helper()
	text, err := pollingDefinition("arn:start", "arn:look", "arn:stop")
	var d definition
	if err == nil {
		err = json.Unmarshal([]byte(text), &d)
	}
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// next are the states that may follow one.
func (d definition) next(name string) []string {
	s := d.States[name]
	all := []string{s.Next, s.Default}
	for _, more := range slices.Concat(s.Choices, s.Catch) {
		all = append(all, more.Next)
	}
	return slices.DeleteFunc(slices.Compact(slices.Sorted(slices.Values(all))), func(name string) bool { return name == "" })
}

func TestEveryStateOfThePollingIsReachedAndLeadsToTheEnd(t *testing.T) {
	d := polled(t)
	seen, ends := map[string]bool{}, []string{}
	for todo := []string{d.StartAt}; len(todo) > 0; {
		name := todo[0]
		todo = todo[1:]
		if seen[name] {
			continue
		}
		seen[name] = true
		if _, there := d.States[name]; !there {
			t.Errorf("no state %s", name)
		}
		if d.States[name].Type == "Succeed" {
			ends = append(ends, name)
		} else if len(d.next(name)) == 0 {
			t.Errorf("%s leads nowhere", name)
		}
		todo = append(todo, d.next(name)...)
	}
	if len(seen) != len(d.States) || len(ends) != 2 {
		t.Errorf("%d states of %d are reached, these are ends: %v", len(seen), len(d.States), ends)
	}
}

func TestHistoryIsHandedOverBeforeItIsFull(t *testing.T) {
	d := polled(t)
	// A task makes events when it is entered, scheduled, started, ended and left, and three more at each attempt; other states two.
	// https://docs.aws.amazon.com/step-functions/latest/apireference/API_HistoryEvent.html
	events := func(name string) int {
		s := d.States[name]
		if s.Type != "Task" {
			return 2
		}
		n := 5
		for _, r := range s.Retry {
			n += 3 * r.MaxAttempts
		}
		return n
	}
	round, once := 0, 2 // the execution's own start and end
	for name := range d.States {
		if slices.Contains([]string{"Start", "Look", "Moving", "Wait"}, name) {
			round += events(name)
		} else {
			once += events(name)
		}
	}
	if round != 14 {
		t.Errorf("%d events a round", round)
	}
	if all := once + (pollRounds+1)*round; all > historyEvents {
		t.Errorf("%d events", all)
	}
	if !slices.Equal(d.next("Moving"), []string{"Done", "HandOver", "Settle", "Wait"}) || !slices.Equal(d.next("Look"), []string{"Moving"}) ||
		!slices.Equal(d.next("Start"), []string{"Look"}) || !slices.Equal(d.next("Wait"), []string{"Start"}) {
		t.Error("the round is another one")
	}
}
