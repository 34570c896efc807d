package infra

import (
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/sns"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/sqs"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/sluice-data/sluice/internal/discovery"
	"github.com/sluice-data/sluice/policies"
)

// MessagingArgs is what Messaging is made of.
type MessagingArgs struct {
	Account           string             // Account is the AWS account whose alarms and rules may publish alerts, and leave dead letters.
	Region            string             // Region is the AWS region.
	KeyARN            pulumi.StringInput // KeyARN is the key that messages are encrypted with.
	LandingARN        pulumi.StringInput // LandingARN is the bucket that sends events of what landed.
	VisibilitySeconds int                // VisibilitySeconds is how long a ticket that was taken stays hidden before it can be taken again, 300 by default; who works on its job renews that.
	Emails            []string           // Emails hear of every alert, each once its owner has confirmed the mail that AWS sends.
	MaxReceives       int                // MaxReceives is how often a ticket can be taken before it goes to the dead letters, 100 by default: an outage of some hours loses none.
	Tags              map[string]string  // Tags go on everything that takes tags.
}

// Messaging is how a country's parts tell each other: the queues of landed files' events and of tickets, the dead letters, and the topics for
// jobs and alerts.
type Messaging struct {
	pulumi.ResourceState

	LandedURL, LandedARN           pulumi.StringOutput // LandedURL and LandedARN are the queue of landed files' events.
	TicketsURL, TicketsARN         pulumi.StringOutput
	DeadLettersURL, DeadLettersARN pulumi.StringOutput
	Queues                         []Queue             // Queues are all of them, for alarms and dashboards.
	JobsARN                        pulumi.StringOutput // JobsARN is the topic that announces jobs.
	AlertsARN                      pulumi.StringOutput // AlertsARN is the topic that people listen to.
}

// retentionSeconds is the longest that SQS keeps a message, 14 days.
const retentionSeconds = 14 * 24 * 60 * 60

// eventHiddenFactor is how many times as long as its function may run an event stays hidden, as AWS recommends for queues that Lambda reads
// ("Creating and configuring an Amazon SQS event source mapping" in its developer guide).
const eventHiddenFactor = 6

// NewMessaging creates Messaging.
func NewMessaging(ctx *pulumi.Context, name string, args *MessagingArgs, opts ...pulumi.ResourceOption) (*Messaging, error) {
	m := &Messaging{}
	if err := register(ctx, "sluice:messaging:Messaging", name, m, opts); err != nil {
		return nil, err
	}
	own := func(s []string) policies.Document { return policies.Queue(s[0]) }
	deadLetters, err := m.queue(ctx, name+"-dead-letters", args, &sqs.QueueArgs{}, func(s []string) policies.Document { return policies.DeadLetters(s[0], args.Account, args.Region) })
	if err != nil {
		return nil, err
	}
	givenUp := func(receives int) pulumi.StringPtrInput {
		return pulumi.JSONMarshal(pulumi.Map{"deadLetterTargetArn": deadLetters.Arn, "maxReceiveCount": pulumi.Int(receives)}).ToStringPtrOutput()
	}
	landed, err := m.queue(ctx, name+"-landed", args, &sqs.QueueArgs{
		VisibilityTimeoutSeconds: pulumi.Int(eventHiddenFactor * withDefault(needs[ReceiveFile].TimeoutSeconds, DefaultTimeoutSeconds)),
		RedrivePolicy:            givenUp(discovery.EventReceives),
	}, func(s []string) policies.Document { return policies.EventQueue(s[0], args.Account, s[1]) }, args.LandingARN)
	if err != nil {
		return nil, err
	}
	tickets, err := m.queue(ctx, name+"-tickets", args, &sqs.QueueArgs{
		VisibilityTimeoutSeconds: pulumi.Int(withDefault(args.VisibilitySeconds, 300)),
		RedrivePolicy:            givenUp(withDefault(args.MaxReceives, 100)),
	}, own)
	if err != nil {
		return nil, err
	}
	jobs, err := m.topic(ctx, name+"-jobs", args, policies.Topic)
	if err != nil {
		return nil, err
	}
	alerts, err := m.topic(ctx, name+"-alerts", args, func(arn string) policies.Document { return policies.AlertTopic(arn, args.Account) })
	if err != nil {
		return nil, err
	}
	for _, email := range args.Emails {
		if _, err := sns.NewTopicSubscription(ctx, name+"-"+email, &sns.TopicSubscriptionArgs{Topic: alerts.Arn, Protocol: pulumi.String("email"), Endpoint: pulumi.String(email)},
			pulumi.Parent(m)); err != nil {
			return nil, err
		}
	}
	m.Queues = []Queue{{Word: "dead-letters", Name: deadLetters.Name, DeadLetters: true}, {Word: "landed", Name: landed.Name, Events: true}, {Word: "tickets", Name: tickets.Name}}
	m.LandedURL, m.LandedARN = landed.Url, landed.Arn
	m.TicketsURL, m.TicketsARN = tickets.Url, tickets.Arn
	m.DeadLettersURL, m.DeadLettersARN = deadLetters.Url, deadLetters.Arn
	m.JobsARN, m.AlertsARN = jobs.Arn, alerts.Arn
	return m, ctx.RegisterResourceOutputs(m, pulumi.Map{"landedUrl": m.LandedURL, "ticketsUrl": m.TicketsURL, "deadLettersUrl": m.DeadLettersURL, "jobsArn": m.JobsARN, "alertsArn": m.AlertsARN})
}

// queue creates an encrypted queue that keeps its messages as long as SQS can. Its policy is made of its own ARN and others.
func (m *Messaging) queue(ctx *pulumi.Context, name string, args *MessagingArgs, q *sqs.QueueArgs, policy func(arns []string) policies.Document, others ...pulumi.StringInput) (*sqs.Queue, error) {
	q.MessageRetentionSeconds = pulumi.Int(retentionSeconds)
	q.KmsMasterKeyId = args.KeyARN.ToStringOutput().ToStringPtrOutput()
	q.Tags = tagged(args.Tags)
	queue, err := sqs.NewQueue(ctx, name, q, pulumi.Parent(m))
	if err != nil {
		return nil, err
	}
	_, err = sqs.NewQueuePolicy(ctx, name, &sqs.QueuePolicyArgs{QueueUrl: queue.Url,
		Policy: document(policy, append([]pulumi.StringInput{queue.Arn}, others...)...)}, pulumi.Parent(m))
	return queue, err
}

// topic creates an encrypted topic.
func (m *Messaging) topic(ctx *pulumi.Context, name string, args *MessagingArgs, policy func(arn string) policies.Document) (*sns.Topic, error) {
	topic, err := sns.NewTopic(ctx, name, &sns.TopicArgs{KmsMasterKeyId: args.KeyARN.ToStringOutput().ToStringPtrOutput(), Tags: tagged(args.Tags)}, pulumi.Parent(m))
	if err != nil {
		return nil, err
	}
	_, err = sns.NewTopicPolicy(ctx, name, &sns.TopicPolicyArgs{Arn: topic.Arn,
		Policy: document(func(s []string) policies.Document { return policy(s[0]) }, topic.Arn)}, pulumi.Parent(m))
	return topic, err
}
