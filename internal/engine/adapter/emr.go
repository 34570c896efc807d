// Package adapter has an engine for each service of AWS that computes runs.
package adapter

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/emr"
	"github.com/aws/aws-sdk-go-v2/service/emr/types"
	"github.com/aws/smithy-go"

	"github.com/sluice-data/sluice/internal/cluster"
	"github.com/sluice-data/sluice/internal/discovery"
	"github.com/sluice-data/sluice/internal/engine"
	"github.com/sluice-data/sluice/internal/job"
	"github.com/sluice-data/sluice/internal/sizing"
	"github.com/sluice-data/sluice/internal/spark"
)

// EMR runs each run as a step of a cluster on EC2. Clusters are found by their names: the standing one, where the country has one, then
// one a size, which is started from the country's launch template when there is none.
type EMR struct {
	emr     *emr.Client
	country discovery.Country
	EMRArgs
	pause func(ctx context.Context, attempt int) error
	now   func() time.Time
	wait  func(ctx context.Context, d time.Duration) error
	seen  map[string]*seen // seen are the clusters that were asked for since Begin, by id; nil without one.
}

// EMRArgs is what starting runs on EMR needs besides EMR. Who only asks what came of a run needs none of it.
type EMRArgs struct {
	// Template reads the launch template of the country's clusters; it is called when one is started.
	Template func(ctx context.Context) ([]byte, error)
	// Runs returns the runs that hold a slot: a cluster that one of them chose may be too new for EMR's list.
	Runs func(ctx context.Context) ([]job.Run, error)
	// Closing returns the ids of the clusters that are about to be ended, and must not answer with what was true before the call.
	Closing func(ctx context.Context) ([]string, error)
	// Refused hears of an instance type that a cluster was started without, with EMR's own words.
	Refused func(ctx context.Context, instanceType, why string) error
}

var _ engine.Engine = (*EMR)(nil)

// NewEMR makes the engine of a country. It does not touch the network.
func NewEMR(client *emr.Client, country discovery.Country, args EMRArgs) *EMR {
	return &EMR{client, country, args, pause, time.Now, wait, nil}
}

// Patient has a client of EMR try again for longer when EMR throttles, with growing pauses of random length: its quotas are an account's and
// region's, so all countries there share them.
// https://docs.aws.amazon.com/emr/latest/ManagementGuide/emr-service-limits-what-are.html
func Patient(o *emr.Options) {
	o.Retryer = retry.AddWithMaxAttempts(retry.NewStandard(), 8)
}

// Begin forgets what was seen of clusters. From here on Status asks for each cluster once, however many runs are on it.
func (e *EMR) Begin() {
	e.seen = map[string]*seen{}
}

// seen is a cluster as it was when it was first asked for.
type seen struct {
	open  []string // open are the ids of its steps that have not ended.
	ended string   // ended is why the cluster is no more; "" while it is.
	err   error    // err is why EMR did not answer, and is not asked again for.
}

// spread is over how much of each minute the countries of an account are spread that ask EMR for their clusters.
const spread = 10 * time.Second

// offset is how far into a minute a country asks EMR: the same each time, and not the same for all.
func (e *EMR) offset() time.Duration {
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(e.country.Stack + "/" + e.country.Country)) // never fails
	return time.Duration(hash.Sum32()%uint32(spread/time.Millisecond)) * time.Millisecond
}

// look asks for a cluster and its open steps, once after Begin. Before the first of them it waits for the country's part of the minute.
func (e *EMR) look(ctx context.Context, clusterID string) *seen {
	if known := e.seen[clusterID]; known != nil {
		return known
	}
	s := &seen{}
	if now := e.now(); len(e.seen) == 0 {
		if d := e.offset() - now.Sub(now.Truncate(time.Minute)); d > 0 {
			s.err = e.wait(ctx, d)
		}
	}
	e.seen[clusterID] = s
	pages := emr.NewListStepsPaginator(e.emr, &emr.ListStepsInput{ClusterId: &clusterID,
		StepStates: []types.StepState{types.StepStatePending, types.StepStateRunning, types.StepStateCancelPending}})
	for s.err == nil && pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			s.err = fmt.Errorf("emr: steps of cluster %s: %w", clusterID, err)
			return s
		}
		for _, step := range page.Steps {
			s.open = append(s.open, aws.ToString(step.Id))
		}
	}
	if s.err == nil && len(s.open) > 0 {
		s.ended, s.err = e.endOf(ctx, clusterID)
	}
	return s
}

// endOf is why a cluster is no more; "" of one that is.
func (e *EMR) endOf(ctx context.Context, clusterID string) (string, error) {
	described, err := e.describe(ctx, clusterID)
	if err != nil {
		return "", err
	}
	switch s := described.Status; s.State {
	case types.ClusterStateTerminated, types.ClusterStateTerminatedWithErrors:
		reason := "the cluster ended"
		if s.StateChangeReason != nil && aws.ToString(s.StateChangeReason.Message) != "" {
			reason += ": " + aws.ToString(s.StateChangeReason.Message)
		}
		return reason, nil
	}
	return "", nil
}

func (e *EMR) describe(ctx context.Context, clusterID string) (*types.Cluster, error) {
	described, err := e.emr.DescribeCluster(ctx, &emr.DescribeClusterInput{ClusterId: &clusterID})
	if err != nil {
		return nil, fmt.Errorf("emr: cluster %s: %w", clusterID, err)
	}
	if described.Cluster == nil || described.Cluster.Status == nil {
		return nil, fmt.Errorf("emr: cluster %s: the answer has no status", clusterID)
	}
	return described.Cluster, nil
}

func (e *EMR) clusterName(size string) string {
	return cluster.TransientName(e.country.Stack, e.country.Country, size)
}

// up are the states of a cluster that takes steps.
var up = []types.ClusterState{types.ClusterStateStarting, types.ClusterStateBootstrapping, types.ClusterStateRunning, types.ClusterStateWaiting}

// found is a cluster that is up.
type found struct {
	id       string
	standing bool
}

// before tells whether a is taken rather than b. Of several of one size everybody must choose the same: a standing cluster, which is
// paid for anyway, then the one that sorts first.
func (a found) before(b found) bool {
	if a.standing != b.standing {
		return a.standing
	}
	return b.id == "" || a.id < b.id
}

// clusters returns the ids of the clusters that are up and stay so, by size.
func (e *EMR) clusters(ctx context.Context) (map[string]string, error) {
	closing, err := e.Closing(ctx)
	if err != nil {
		return nil, err
	}
	best := map[string]found{}
	pages := emr.NewListClustersPaginator(e.emr, &emr.ListClustersInput{ClusterStates: up})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("emr: clusters: %w", err)
		}
		for _, c := range page.Clusters {
			name, ours := cluster.ParseName(e.country.Stack, e.country.Country, aws.ToString(c.Name))
			this := found{aws.ToString(c.Id), name.Standing}
			if ours && !slices.Contains(closing, this.id) && this.before(best[name.Size]) {
				best[name.Size] = this
			}
		}
	}
	bySize := map[string]string{}
	for size, c := range best {
		bySize[size] = c.id
	}
	return bySize, nil
}

// Sizes returns the names of the sizes of the clusters that are up.
func (e *EMR) Sizes(ctx context.Context) ([]string, error) {
	bySize, err := e.clusters(ctx)
	if err != nil {
		return nil, err
	}
	var sizes []string
	for size := range bySize {
		sizes = append(sizes, size)
	}
	slices.Sort(sizes)
	return sizes, nil
}

// Start finds or starts the cluster of the run's size, and on it the run's step.
//
// Who ends a cluster writes that down first, and then looks for runs that chose it. So a run first writes down what it chose, and then
// looks whether that is about to end: whatever the order, one of the two sees the other.
func (e *EMR) Start(ctx context.Context, r job.Run, save func(job.Run) error) (job.Run, error) {
	name := engine.StepName(e.country.Stack, e.country.Country, r.ID, r.Token)
	if r.ClusterID != "" {
		// An earlier attempt got as far as choosing a cluster: the step may be there although nobody wrote it down.
		step, err := e.findStep(ctx, r.ClusterID, name)
		if err != nil {
			return r, err
		}
		if step != "" {
			r.StepID = step
			return r, save(r)
		}
	}
	for {
		chosen, err := e.findOrStartCluster(ctx, r.Sizing.Size)
		if err != nil {
			return r, err
		}
		if chosen != r.ClusterID {
			r.ClusterID = chosen
			if err := save(r); err != nil {
				return r, err
			}
			// A cluster that another attempt chose may have the step as well.
			if r.StepID, err = e.findStep(ctx, chosen, name); err != nil {
				return r, err
			}
		}
		if r.StepID != "" {
			return r, save(r)
		}
		closing, err := e.Closing(ctx)
		if err != nil {
			return r, err
		}
		if !slices.Contains(closing, chosen) {
			break
		}
	}
	var err error
	if r.StepID, err = e.addStep(ctx, r, name); err != nil {
		return r, err
	}
	return r, save(r)
}

func (e *EMR) findOrStartCluster(ctx context.Context, size string) (string, error) {
	bySize, err := e.clusters(ctx)
	if err != nil {
		return "", err
	}
	if id := bySize[size]; id != "" {
		return id, nil
	}
	if id, err := e.unlisted(ctx, size); err != nil || id != "" {
		return id, err
	}
	s, ok := sizing.Named(size)
	if !ok {
		return "", fmt.Errorf("emr: no cluster size %q", size)
	}
	text, err := e.Template(ctx)
	if err != nil {
		return "", fmt.Errorf("emr: launch template: %w", err)
	}
	in, err := ClusterInput(text, e.clusterName(size), s)
	if err != nil {
		return "", err
	}
	return e.run(ctx, in)
}

// unlisted is the cluster of a size that a run chose and that EMR does not list yet; "" where there is none. What RunJobFlow started may be
// missing in ListClusters for a while.
func (e *EMR) unlisted(ctx context.Context, size string) (string, error) {
	if e.Runs == nil {
		return "", nil
	}
	runs, err := e.Runs(ctx)
	if err != nil {
		return "", err
	}
	closing, err := e.Closing(ctx)
	if err != nil {
		return "", err
	}
	var best found
	asked := map[string]bool{}
	for _, r := range runs {
		if r.Engine != sizing.EMR || r.ClusterID == "" || r.Sizing.Size != size || asked[r.ClusterID] || slices.Contains(closing, r.ClusterID) {
			continue
		}
		asked[r.ClusterID] = true
		c, err := e.describe(ctx, r.ClusterID)
		if forgotten(err) {
			continue
		}
		if err != nil {
			return "", err
		}
		name, ours := cluster.ParseName(e.country.Stack, e.country.Country, aws.ToString(c.Name))
		this := found{r.ClusterID, name.Standing}
		if ours && name.Size == size && slices.Contains(up, c.Status.State) && this.before(best) {
			best = this
		}
	}
	return best.id, nil
}

// run starts a cluster, without the types that EMR refused not long ago or refuses now.
func (e *EMR) run(ctx context.Context, in *emr.RunJobFlowInput) (string, error) {
	without, err := e.refusedBefore(ctx)
	if err != nil {
		return "", err
	}
	for _, name := range slices.Sorted(maps.Keys(without)) {
		if !drop(in, name) {
			delete(without, name) // better a refusal that says why than a fleet without types
		}
	}
	for attempt := 0; ; {
		started, err := e.emr.RunJobFlow(ctx, in)
		if err == nil {
			e.tell(ctx, without)
			return aws.ToString(started.JobFlowId), nil
		}
		dropped := false
		for _, name := range refusedTypes(err) {
			if drop(in, name) {
				dropped, without[name] = true, err.Error()
			}
		}
		if dropped {
			continue // as often as there are types
		}
		// Roles and profiles that were just made take some seconds until EMR can use them.
		if !rolesNotReady(err) || attempt == 5 {
			return "", fmt.Errorf("emr: start cluster %s: %w", aws.ToString(in.Name), err)
		}
		if err := e.pause(ctx, attempt); err != nil {
			return "", err
		}
		attempt++
	}
}

// refusalDays is for how many days a cluster that EMR ended for an instance type is looked at.
const refusalDays = 1

// refusedBefore are the types for which EMR ended one of the country's clusters, with its reasons: a type that the region has and the zone has
// not EMR only misses when it makes the machines.
func (e *EMR) refusedBefore(ctx context.Context) (map[string]string, error) {
	refused := map[string]string{}
	pages := emr.NewListClustersPaginator(e.emr, &emr.ListClustersInput{ClusterStates: []types.ClusterState{types.ClusterStateTerminatedWithErrors},
		CreatedAfter: aws.Time(e.now().AddDate(0, 0, -refusalDays))})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("emr: clusters that failed: %w", err)
		}
		for _, c := range page.Clusters {
			if _, ours := cluster.ParseName(e.country.Stack, e.country.Country, aws.ToString(c.Name)); !ours || c.Status == nil || c.Status.StateChangeReason == nil {
				continue
			}
			if r := c.Status.StateChangeReason; r.Code == types.ClusterStateChangeReasonCodeValidationError {
				for _, name := range typesRefusedIn(aws.ToString(r.Message)) {
					refused[name] = aws.ToString(r.Message)
				}
			}
		}
	}
	return refused, nil
}

// tell has people hear of types that a cluster was started without. That they did not is no reason to do without the cluster.
func (e *EMR) tell(ctx context.Context, without map[string]string) {
	for _, name := range slices.Sorted(maps.Keys(without)) {
		slog.WarnContext(ctx, "cluster started without an instance type", "type", name, "reason", without[name])
		if err := e.Refused(ctx, name, without[name]); err != nil {
			slog.ErrorContext(ctx, "instance type not reported", "type", name, "error", err.Error())
		}
	}
}

// instanceType is how EC2 spells its types.
var instanceType = regexp.MustCompile(`\b[a-z][a-z0-9-]*\.(?:\d*x?large|medium|small|micro|nano|metal(?:-\d+xl)?)\b`)

// refusing are words of EMR and EC2 about a type that they do not have:
//
//	Instance type 'r5b.xlarge' is not supported.
//	The requested instance type c1.medium is not supported in the requested availability zone. Learn more at …/ERROR_noinstancetype
//	EBS optimization is not supported for instance type r3.8xlarge.
var refusing = regexp.MustCompile(`(?i)not (?:supported|available|offered)|unsupported|unavailable`)

// typesRefusedIn are the types that a refusal names; a sentence with none of its words may be about others that would do.
func typesRefusedIn(message string) (names []string) {
	for _, sentence := range strings.Split(message, ". ") {
		if refusing.MatchString(sentence) {
			names = append(names, instanceType.FindAllString(sentence, -1)...)
		}
	}
	return names
}

// refusedTypes are the types that EMR names in its refusal of a cluster.
func refusedTypes(err error) []string {
	var refused smithy.APIError
	if !errors.As(err, &refused) || refused.ErrorCode() != "ValidationException" && refused.ErrorCode() != "InvalidRequestException" {
		return nil
	}
	return typesRefusedIn(refused.ErrorMessage())
}

// drop takes a type out of a cluster's fleets, unless none has it or one would have none left.
func drop(in *emr.RunJobFlowInput, name string) bool {
	if !slices.ContainsFunc(in.Instances.InstanceFleets, func(f types.InstanceFleetConfig) bool {
		return slices.ContainsFunc(f.InstanceTypeConfigs, isType(name))
	}) {
		return false
	}
	for _, fleet := range in.Instances.InstanceFleets {
		if !slices.ContainsFunc(fleet.InstanceTypeConfigs, func(c types.InstanceTypeConfig) bool { return !isType(name)(c) }) {
			return false
		}
	}
	for i, fleet := range in.Instances.InstanceFleets {
		in.Instances.InstanceFleets[i].InstanceTypeConfigs = slices.DeleteFunc(fleet.InstanceTypeConfigs, isType(name))
	}
	return true
}

func isType(name string) func(types.InstanceTypeConfig) bool {
	return func(c types.InstanceTypeConfig) bool { return aws.ToString(c.InstanceType) == name }
}

// rolesNotReady tells whether EMR refused a role or profile that it may accept in a moment.
func rolesNotReady(err error) bool {
	var refused smithy.APIError
	if !errors.As(err, &refused) || refused.ErrorCode() != "ValidationException" && refused.ErrorCode() != "InvalidRequestException" {
		return false
	}
	text := strings.ToLower(refused.ErrorMessage())
	return strings.Contains(text, "instanceprofile") || strings.Contains(text, "instance profile") || strings.Contains(text, "role")
}

// forgotten tells whether EMR refused because it does not know a cluster any more, which it does for two months after the cluster ended
// (https://docs.aws.amazon.com/emr/latest/ManagementGuide/emr-manage-view-clusters.html).
func forgotten(err error) bool {
	var refused *types.InvalidRequestException
	return errors.As(err, &refused) && strings.Contains(refused.ErrorMessage(), "is not valid")
}

// pause waits 1, 2, 4, … seconds.
func pause(ctx context.Context, attempt int) error { return wait(ctx, time.Second<<attempt) }

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// findStep returns the id of the step of that name, or "".
func (e *EMR) findStep(ctx context.Context, clusterID, name string) (string, error) {
	pages := emr.NewListStepsPaginator(e.emr, &emr.ListStepsInput{ClusterId: &clusterID})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if forgotten(err) {
			return "", nil
		}
		if err != nil {
			return "", fmt.Errorf("emr: steps of cluster %s: %w", clusterID, err)
		}
		for _, s := range page.Steps {
			if aws.ToString(s.Name) == name {
				return aws.ToString(s.Id), nil
			}
		}
	}
	return "", nil
}

func (e *EMR) addStep(ctx context.Context, r job.Run, name string) (string, error) {
	added, err := e.emr.AddJobFlowSteps(ctx, &emr.AddJobFlowStepsInput{
		JobFlowId: &r.ClusterID,
		Steps: []types.StepConfig{{
			Name:            &name,
			ActionOnFailure: types.ActionOnFailureContinue, // the cluster has other runs' steps
			HadoopJarStep:   &types.HadoopJarStepConfig{Jar: aws.String("command-runner.jar"), Args: spark.StepArgs(e.country, r.Order)},
		}},
	})
	if err != nil {
		return "", fmt.Errorf("emr: step %s on cluster %s: %w", name, r.ClusterID, err)
	}
	if len(added.StepIds) != 1 {
		return "", fmt.Errorf("emr: step %s on cluster %s: got %d ids", name, r.ClusterID, len(added.StepIds))
	}
	return added.StepIds[0], nil
}

// Status asks EMR for the run's step and, as a step may stay pending for ever on a cluster that is gone, for its cluster. After Begin it asks
// for all open steps of a cluster at once, and for a step itself only when it is none of them any more, which is once.
func (e *EMR) Status(ctx context.Context, r job.Run) (engine.Status, error) {
	if e.seen != nil {
		s := e.look(ctx, r.ClusterID)
		switch {
		case forgotten(s.err):
		case s.err != nil:
			return engine.Status{}, s.err
		case !slices.Contains(s.open, r.StepID):
		case s.ended != "":
			return engine.Status{State: engine.Failed, Reason: s.ended}, nil
		default:
			return engine.Status{State: engine.Active}, nil
		}
	}
	got, err := e.emr.DescribeStep(ctx, &emr.DescribeStepInput{ClusterId: &r.ClusterID, StepId: &r.StepID})
	if forgotten(err) {
		return engine.Status{State: engine.Failed, Reason: "EMR does not know the cluster any more"}, nil
	}
	if err != nil {
		return engine.Status{}, fmt.Errorf("emr: step %s of cluster %s: %w", r.StepID, r.ClusterID, err)
	}
	if got.Step == nil || got.Step.Status == nil {
		return engine.Status{}, fmt.Errorf("emr: step %s of cluster %s: the answer has no status", r.StepID, r.ClusterID)
	}
	switch got.Step.Status.State {
	case types.StepStateCompleted:
		return engine.Status{State: engine.Succeeded}, nil
	case types.StepStateCancelled:
		return engine.Status{State: engine.Cancelled, Reason: stepReason(got.Step.Status)}, nil
	case types.StepStateFailed, types.StepStateInterrupted:
		return engine.Status{State: engine.Failed, Reason: stepReason(got.Step.Status)}, nil
	case types.StepStatePending, types.StepStateRunning, types.StepStateCancelPending:
	}
	ended, err := e.endOf(ctx, r.ClusterID)
	if err != nil {
		return engine.Status{}, err
	}
	if ended != "" {
		return engine.Status{State: engine.Failed, Reason: ended}, nil
	}
	return engine.Status{State: engine.Active}, nil
}

// stepReason is what EMR tells about a step that did not succeed, the most useful first.
func stepReason(s *types.StepStatus) string {
	if d := s.FailureDetails; d != nil {
		for _, text := range []*string{d.Message, d.Reason} {
			if t := strings.TrimSpace(aws.ToString(text)); t != "" {
				return t
			}
		}
	}
	if r := s.StateChangeReason; r != nil && aws.ToString(r.Message) != "" {
		return aws.ToString(r.Message)
	}
	return fmt.Sprintf("the step is %s; its log is in the logs bucket", s.State)
}

// Cancel ends the run's step, also when it runs already.
func (e *EMR) Cancel(ctx context.Context, r job.Run) error {
	_, err := e.emr.CancelSteps(ctx, &emr.CancelStepsInput{
		ClusterId: &r.ClusterID, StepIds: []string{r.StepID}, StepCancellationOption: types.StepCancellationOptionTerminateProcess})
	if err != nil && !forgotten(err) {
		return fmt.Errorf("emr: cancel step %s of cluster %s: %w", r.StepID, r.ClusterID, err)
	}
	return nil
}

// ClusterInput makes the launch template into the cluster of a size. The template is RunJobFlow's input as JSON; a field that EMR
// does not have is an error here rather than a cluster without it.
func ClusterInput(template []byte, name string, size sizing.Size) (*emr.RunJobFlowInput, error) {
	in := &emr.RunJobFlowInput{}
	d := json.NewDecoder(bytes.NewReader(template))
	d.DisallowUnknownFields()
	if err := d.Decode(in); err != nil {
		return nil, fmt.Errorf("emr: launch template: %w", err)
	}
	if in.Instances == nil {
		return nil, errors.New("emr: launch template: Instances is missing")
	}
	missing := map[types.InstanceFleetType]bool{types.InstanceFleetTypeMaster: true, types.InstanceFleetTypeCore: true, types.InstanceFleetTypeTask: true}
	for i, fleet := range in.Instances.InstanceFleets {
		if !missing[fleet.InstanceFleetType] {
			return nil, fmt.Errorf("emr: launch template: Instances.InstanceFleets[%d]: a second or unknown fleet %q", i, fleet.InstanceFleetType)
		}
		delete(missing, fleet.InstanceFleetType)
		if fleet.InstanceFleetType == types.InstanceFleetTypeCore {
			in.Instances.InstanceFleets[i].TargetOnDemandCapacity = aws.Int32(size.Core)
		}
	}
	if len(missing) > 0 {
		return nil, errors.New("emr: launch template: Instances.InstanceFleets needs one fleet each of MASTER, CORE and TASK")
	}
	in.Name = &name
	in.ManagedScalingPolicy = &types.ManagedScalingPolicy{ComputeLimits: &types.ComputeLimits{
		UnitType: types.ComputeLimitsUnitTypeInstanceFleetUnits, MinimumCapacityUnits: aws.Int32(size.Core), MaximumCapacityUnits: aws.Int32(size.MaxUnits),
		// What is more than at the start is spot, and holds no data.
		MaximumOnDemandCapacityUnits: aws.Int32(size.Core), MaximumCoreCapacityUnits: aws.Int32(size.Core)}}
	in.Tags = append(in.Tags, types.Tag{Key: aws.String("Size"), Value: aws.String(size.Name)})
	return in, nil
}
