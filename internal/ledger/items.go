package ledger

import (
	"maps"
	"regexp"
	"time"

	"github.com/sluice-data/sluice/internal/job"
	"github.com/sluice-data/sluice/internal/sizing"
)

// Attributes whose names DynamoDB reserves are written as #name in expressions.
var placeholder = regexp.MustCompile(`#[a-zA-Z]+`)

// namesIn resolves the placeholders of expressions: #state stands for the attribute state.
func namesIn(expressions ...string) map[string]string {
	var names map[string]string
	for _, e := range expressions {
		for _, p := range placeholder.FindAllString(e, -1) {
			if names == nil {
				names = map[string]string{}
			}
			names[p] = p[1:]
		}
	}
	return names
}

func (c change) allNames() map[string]string {
	names := namesIn(c.update, c.condition)
	if names == nil {
		return c.names
	}
	maps.Copy(names, c.names)
	return names
}

// stamp writes a time as people and the command read it.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// moment reads back what stamp wrote; what is not there is the zero time.
func moment(text string) time.Time {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}
	}
	return t
}

// feedItem is an item of the feeds table, written by the deployment.
type feedItem struct {
	Feed           string   `dynamodbav:"feed"`
	ContractKey    string   `dynamodbav:"contractKey"`
	Completeness   string   `dynamodbav:"completeness"`
	ExpectedFiles  int      `dynamodbav:"expectedFiles"`
	Prerequisites  []string `dynamodbav:"prerequisites"`
	Engine         string   `dynamodbav:"engine"`
	WindowMinutes  int      `dynamodbav:"windowMinutes"`
	Attempts       int      `dynamodbav:"attempts"`
	TimeoutMinutes int      `dynamodbav:"timeoutMinutes"`
	ClientSide     bool     `dynamodbav:"clientSide"`
}

func (i feedItem) feed() job.Feed {
	return job.Feed{
		Name: i.Feed, ContractKey: i.ContractKey, Completeness: job.Completeness(i.Completeness), ExpectedFiles: i.ExpectedFiles,
		Prerequisites: i.Prerequisites, Engine: i.Engine, Window: time.Duration(i.WindowMinutes) * time.Minute, Attempts: i.Attempts,
		Timeout: time.Duration(i.TimeoutMinutes) * time.Minute, ClientSide: i.ClientSide,
	}
}

// jobItem is an item of the jobs table. The counts, the manifest and the commit are the record job's to write.
type jobItem struct {
	Feed           string          `dynamodbav:"feed"`
	Day            string          `dynamodbav:"day"`
	State          string          `dynamodbav:"state"`
	Reason         string          `dynamodbav:"reason"`
	Token          int64           `dynamodbav:"token"`
	Revision       int64           `dynamodbav:"revision"`
	Opened         int64           `dynamodbav:"opened"`
	RetryAt        string          `dynamodbav:"retryAt"`
	Trouble        string          `dynamodbav:"trouble"`
	Cancel         string          `dynamodbav:"cancel"`
	Acts           []actItem       `dynamodbav:"acts"`
	Unread         string          `dynamodbav:"unread"`
	UnreadID       string          `dynamodbav:"unreadId"`
	Waived         string          `dynamodbav:"waived"`
	Retract        bool            `dynamodbav:"retract"`
	Retracted      int64           `dynamodbav:"retracted"`
	Engine         string          `dynamodbav:"engine"`
	Sizing         sizing.Decision `dynamodbav:"sizing"`
	Input          *int64          `dynamodbav:"input"`
	Validated      *int64          `dynamodbav:"validated"`
	Invalid        *int64          `dynamodbav:"invalid"`
	New            *int64          `dynamodbav:"new"`
	Changed        *int64          `dynamodbav:"changed"`
	Unchanged      *int64          `dynamodbav:"unchanged"`
	Duplicate      *int64          `dynamodbav:"duplicate"`
	Deleted        *int64          `dynamodbav:"deleted"`
	Exported       *int64          `dynamodbav:"exported"`
	Loading        int64           `dynamodbav:"loading"`
	Manifest       string          `dynamodbav:"manifest"`
	CommitToken    int64           `dynamodbav:"commitToken"`
	CommitRevision int64           `dynamodbav:"commitRevision"`
	CommitState    string          `dynamodbav:"commitState"`
	TicketAt       string          `dynamodbav:"ticketAt"`
	TicketID       string          `dynamodbav:"ticketId"`
	Receipt        string          `dynamodbav:"receipt"`
	ReceivedAt     string          `dynamodbav:"receivedAt"`
	CreatedAt      string          `dynamodbav:"createdAt"`
	StartedAt      string          `dynamodbav:"startedAt"`
	FinishedAt     string          `dynamodbav:"finishedAt"`
	Looked         string          `dynamodbav:"looked"`
}

// actItem is an element of a job's acts.
type actItem struct {
	Verb   string `dynamodbav:"verb"`
	By     string `dynamodbav:"by"`
	Reason string `dynamodbav:"reason"`
	At     string `dynamodbav:"at"`
}

func (i jobItem) job() job.Job {
	var acts []job.Act
	for _, a := range i.Acts {
		acts = append(acts, job.Act{Verb: job.Verb(a.Verb), By: a.By, Reason: a.Reason, At: moment(a.At)})
	}
	return job.Job{
		ID: job.ID{Feed: i.Feed, Day: job.Day(i.Day)}, State: job.State(i.State), Reason: i.Reason, Token: i.Token, Revision: i.Revision,
		Opened: i.Opened, RetryAt: moment(i.RetryAt), Trouble: i.Trouble, Cancel: i.Cancel, Acts: acts, Retract: i.Retract, Retracted: i.Retracted,
		Unread: job.Unread{ID: i.UnreadID, Text: i.Unread}, Waived: i.Waived,
		Engine: i.Engine, Sizing: i.Sizing,
		Counts: job.Counts{
			Input: i.Input, Validated: i.Validated, Invalid: i.Invalid, New: i.New, Changed: i.Changed,
			Unchanged: i.Unchanged, Duplicate: i.Duplicate, Deleted: i.Deleted,
		},
		Looked: i.Looked, Exported: i.Exported, Loading: i.Loading, Manifest: i.Manifest,
		Commit:    job.Commit{Token: i.CommitToken, Revision: i.CommitRevision, State: job.CommitState(i.CommitState)},
		Ticket:    job.Ticket{SentAt: moment(i.TicketAt), ID: i.TicketID, Receipt: i.Receipt, ReceivedAt: moment(i.ReceivedAt)},
		CreatedAt: moment(i.CreatedAt), StartedAt: moment(i.StartedAt), FinishedAt: moment(i.FinishedAt),
	}
}

// runItem is an item of the runs table.
type runItem struct {
	Job        string          `dynamodbav:"job"`
	Token      int64           `dynamodbav:"token"`
	State      string          `dynamodbav:"state"`
	Engine     string          `dynamodbav:"engine"`
	ClusterID  string          `dynamodbav:"clusterId,omitempty"`
	StepID     string          `dynamodbav:"stepId,omitempty"`
	Receipt    string          `dynamodbav:"receipt,omitempty"`
	Order      string          `dynamodbav:"order"`
	Reason     string          `dynamodbav:"reason"`
	Sizing     sizing.Decision `dynamodbav:"sizing"`
	StartedAt  string          `dynamodbav:"startedAt"`
	FinishedAt string          `dynamodbav:"finishedAt,omitempty"`
}

func (i runItem) run() (job.Run, error) {
	id, err := job.ParseID(i.Job)
	return job.Run{
		ID: id, Token: i.Token, State: job.RunState(i.State), Engine: i.Engine, ClusterID: i.ClusterID, StepID: i.StepID,
		Receipt: i.Receipt, Order: i.Order, Reason: i.Reason, Sizing: i.Sizing,
		StartedAt: moment(i.StartedAt), FinishedAt: moment(i.FinishedAt),
	}, err
}

// fileItem is an item of the files table.
type fileItem struct {
	Job       string `dynamodbav:"job"`
	File      string `dynamodbav:"file"`
	Bucket    string `dynamodbav:"bucket"`
	Key       string `dynamodbav:"key"`
	Bytes     int64  `dynamodbav:"bytes"`
	ETag      string `dynamodbav:"etag"`
	VersionID string `dynamodbav:"versionId"`
	Sequencer string `dynamodbav:"sequencer,omitempty"`
	State     string `dynamodbav:"state"`
	Reason    string `dynamodbav:"reason"`
	Retracted int64  `dynamodbav:"retracted,omitempty"`
	LandedAt  string `dynamodbav:"landedAt"`
	AlertedAt string `dynamodbav:"alertedAt,omitempty"`
}

func (i fileItem) file() (job.File, error) {
	f := job.File{
		Name: i.File, Bucket: i.Bucket, Key: i.Key, Bytes: i.Bytes, ETag: i.ETag, VersionID: i.VersionID, Sequencer: i.Sequencer,
		State: job.FileState(i.State), Reason: i.Reason, Retracted: i.Retracted, LandedAt: moment(i.LandedAt), AlertedAt: moment(i.AlertedAt),
	}
	if i.Job == rejectedFiles {
		return f, nil
	}
	var err error
	f.ID, err = job.ParseID(i.Job)
	return f, err
}

// progressItem is an item of the progress table: a feed's last day, or the jobs that hold a slot.
type progressItem struct {
	Name    string   `dynamodbav:"name"`
	LastDay string   `dynamodbav:"lastDay"`
	Jobs    []string `dynamodbav:"jobs"`
	Open    []string `dynamodbav:"open"` // Open is what Migrate has not moved yet.
}

// noticeItem is an item of the outbox.
type noticeItem struct {
	Type   string `dynamodbav:"type"`
	Job    string `dynamodbav:"job"`
	Token  int64  `dynamodbav:"token"`
	Reason string `dynamodbav:"reason"`
	At     string `dynamodbav:"at"`
	Tries  int    `dynamodbav:"tries"`
	Quiet  bool   `dynamodbav:"quiet"`
}

func (i noticeItem) notice() (job.Notice, error) {
	id, err := job.ParseID(i.Job)
	return job.Notice{Type: job.NoticeType(i.Type), ID: id, Token: i.Token, Reason: i.Reason, At: moment(i.At), Tries: i.Tries, Quiet: i.Quiet}, err
}
