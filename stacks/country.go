package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/ssm"
	"github.com/pulumi/pulumi-gcp/sdk/v7/go/gcp"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/sluice-data/sluice/infra"
	"github.com/sluice-data/sluice/internal/compute"
	"github.com/sluice-data/sluice/internal/discovery"
)

// DeployedCountry is everything of one country. Nothing in it refers to another country.
type DeployedCountry struct {
	pulumi.ResourceState

	Access  infra.Access // Access is what the rights on the country are rendered from.
	Outputs pulumi.Map   // Outputs are what people and scripts find the country's parts by.
}

// NewCountry composes a country of its components.
func NewCountry(ctx *pulumi.Context, config *Config, country *Country, built artifacts, at *place, shared *infra.SharedNetwork, people *infra.People, google *gcp.Provider) (*DeployedCountry, error) {
	var (
		code    = country.Code
		name    = "sluice-" + config.Stack + "-" + code // begins physical names
		catalog = discovery.Catalog(config.Stack, code) // begins names of databases, where a hyphen cannot be
		tags    = config.tags(code)
	)
	c := &DeployedCountry{}
	if err := ctx.RegisterComponentResource("sluice:country:Country", code, c, pulumi.Providers(at.provider, google)); err != nil {
		return nil, err
	}
	child := pulumi.Parent(c)

	// What is switched off. A component that costs by the hour, or works by itself, takes Enabled: switched.On(compute.…).
	switched, err := readSwitches(ctx, config.Stack, code, at)
	if err != nil {
		return nil, err
	}

	suffix, err := infra.NewSuffix(ctx, code, child)
	if err != nil {
		return nil, err
	}
	keys, err := infra.NewKeys(ctx, code, &infra.KeysArgs{
		Account: country.Account, Region: country.Region, Stack: config.Stack, Country: code, Alias: "sluice/" + config.Stack + "/" + code,
		Polling: country.Driver == pollingDriver, Protect: country.Protected, Tags: tags}, child)
	if err != nil {
		return nil, err
	}
	lake, err := infra.NewDataLake(ctx, code, &infra.DataLakeArgs{
		Prefix: name, Suffix: suffix, Account: country.Account, Region: country.Region, KeyARN: keys.DataARN, Protect: country.Protected,
		NoncurrentDays: config.Storage.NoncurrentDays, ColdDays: config.Storage.ColdDays, LogDays: config.Storage.LogDays, FlowLogDays: country.Network.FlowLogDays, Tags: tags}, child)
	if err != nil {
		return nil, err
	}
	network, err := infra.NewNetwork(ctx, code, &infra.NetworkArgs{
		CIDR: country.Block, Zones: at.zones, Account: country.Account, Region: country.Region, NAT: country.Network.NAT, NATEnabled: switched.On(compute.NAT),
		Endpoints: country.Network.Endpoints, EndpointsEnabled: switched.On(compute.Endpoints), FlowLogsARN: lake.FlowLogsARN, Shared: shared, Tags: tags}, child)
	if err != nil {
		return nil, err
	}
	messaging, err := infra.NewMessaging(ctx, code, &infra.MessagingArgs{Account: country.Account, Region: country.Region, KeyARN: keys.StateARN, LandingARN: lake.ARNs["landing"], Emails: country.Alerts.Emails, Tags: tags}, child)
	if err != nil {
		return nil, err
	}
	ledger, err := infra.NewLedger(ctx, code, &infra.LedgerArgs{KeyARN: keys.StateARN, Feeds: country.ledgerFeeds(), Protect: country.Protected, Tags: tags}, child)
	if err != nil {
		return nil, err
	}
	tables, err := infra.NewCatalog(ctx, code, &infra.CatalogArgs{Name: catalog, Lake: lake, KeyARN: keys.DataARN, ScanGB: config.Athena.ScanLimitGB, Protect: country.Protected, Tags: tags}, child)
	if err != nil {
		return nil, err
	}
	jobs, err := infra.NewJobPackage(ctx, code, &infra.JobPackageArgs{
		Bucket: lake.Names["artifacts"], Root: built.root, Package: built.jobs, Contracts: country.contracts()}, child)
	if err != nil {
		return nil, err
	}
	access := infra.Access{Account: country.Account, Region: country.Region, Stack: config.Stack, Country: code, Polling: country.Driver == pollingDriver, Keys: keys, Lake: lake, Ledger: ledger, Messaging: messaging}
	cluster, err := infra.NewCluster(ctx, code, &infra.ClusterArgs{
		ClusterName: name, Account: country.Account, Region: country.Region,
		ReleaseLabel: country.Compute.ReleaseLabel, PrimaryType: country.Compute.PrimaryType, CoreType: country.Compute.CoreType, Missing: at.missing,
		IdleMinutes: country.Compute.IdleMinutes, Steps: country.Parallel, Network: network, CIDR: country.CIDR, KeyARN: keys.DataARN, LogKeyARN: keys.LogsARN,
		ArtifactsBucket: lake.Names["artifacts"], LogsBucket: lake.Names["logs"], JobPolicy: access.Job(jobDatabases(catalog)...), Tags: tags}, child)
	if err != nil {
		return nil, err
	}
	serverless, err := infra.NewServerless(ctx, code, &infra.ServerlessArgs{
		Name: name, Account: country.Account, Region: country.Region, ReleaseLabel: country.Compute.ReleaseLabel, JobPolicy: access.ServerlessJob(jobDatabases(catalog)...),
		MaxVCPUs: country.Compute.Serverless.MaxVCPUs, IdleMinutes: country.Compute.Serverless.IdleMinutes, WarmExecutors: country.Compute.Serverless.WarmExecutors,
		Enabled: switched.On(compute.Serverless), Tags: tags}, child)
	if err != nil {
		return nil, err
	}
	glue, err := infra.NewGlue(ctx, code, &infra.GlueArgs{
		Prefix: name, Account: country.Account, Region: country.Region, Version: country.Compute.Glue.Version, Parallel: country.Parallel,
		TimeoutMinutes: country.Compute.Glue.TimeoutMinutes, KeyARN: keys.DataARN, LogKeyARN: keys.LogsARN, ArtifactsBucket: lake.Names["artifacts"], MainKey: jobs.MainKey,
		JobPolicy: access.GlueJob(infra.GlueLogs(name), jobDatabases(catalog)...), LogDays: config.Functions.LogDays, Tags: tags}, child)
	if err != nil {
		return nil, err
	}
	nightly, err := infra.NewNightly(ctx, code, &infra.NightlyArgs{
		Prefix: name, Schedule: country.Compute.Glue.Schedule, Enabled: switched.On(compute.Glue), SnapshotDays: config.Storage.SnapshotDays, Feeds: country.delimiters(),
		Landing: lake.Names["landing"], LandingDatabase: tables.Databases["landing"], Databases: jobDatabases(catalog),
		CrawlerPolicy: access.Crawler(infra.DatabaseName(catalog, "landing")), UpkeepPolicy: access.UpkeepJob(infra.GlueLogs(name), jobDatabases(catalog)...),
		Glue: glue, Jobs: jobs, Curated: lake.Names["curated"], Tags: tags}, child)
	if err != nil {
		return nil, err
	}
	engines := infra.Engines{Cluster: cluster, Serverless: serverless, Glue: glue}
	warehouse, err := infra.NewWarehouse(ctx, code, &infra.WarehouseArgs{
		Project: config.Google.Project, Location: country.Google.Location, Dataset: catalog, Prefix: name, Suffix: suffix,
		AWSAccount: country.Account, AWSRole: infra.FunctionName(name, infra.ExportTable),
		Tables: country.warehouseTables(), Protect: country.Protected, Labels: map[string]string{"product": "sluice", "stack": config.Stack, "country": code}}, child)
	if err != nil {
		return nil, err
	}
	found, err := infra.NewDiscovery(ctx, code, &infra.DiscoveryArgs{Country: country.known(config), Lake: lake, Ledger: ledger, Messaging: messaging, Catalog: tables, Keys: keys,
		Warehouse: warehouse, Jobs: jobs, Engines: engines, QuietMinutes: country.Compute.Idle.Minutes, Home: at.home, Tags: tags}, child)
	if err != nil {
		return nil, err
	}
	pipeline, err := infra.NewPipeline(ctx, code, &infra.PipelineArgs{
		Prefix: name, StepPrefix: "sluice/" + config.Stack + "/" + code + "/", Packages: built.functions, Architecture: config.Functions.Architecture,
		LogDays: config.Functions.LogDays, SweepMinutes: config.Functions.SweepMinutes, Polling: country.Driver == pollingDriver, Network: network, Access: access, Engines: engines,
		Discovery: found.Parameter, Tags: tags}, child)
	if err != nil {
		return nil, err
	}
	if country.Compute.Standing {
		ended, err := readEnded(ctx, config.Stack, code, at)
		if err != nil {
			return nil, err
		}
		if _, err := infra.NewStanding(ctx, code+"-standing", &infra.StandingArgs{
			Enabled: switched.On(compute.Standing), Stack: config.Stack, Country: code, Account: country.Account, Cluster: cluster, Network: network, Pipeline: pipeline, Ended: ended, Size: country.Compute.Size,
			MinUnits: country.Compute.Scaling.MinUnits, MaxUnits: country.Compute.Scaling.MaxUnits, OnDemandUnits: country.Compute.Scaling.OnDemandUnits,
			QuietPercent: country.Compute.Idle.CPUPercent, QuietMinutes: country.Compute.Idle.Minutes, EndMinutes: country.Compute.Idle.EndMinutes,
			KeyARN: keys.StateARN, Tags: tags}, child); err != nil {
			return nil, err
		}
	}
	if err := newOperations(ctx, config, country, name, messaging, pipeline, tags, child); err != nil {
		return nil, err
	}

	c.Access = access
	if people != nil {
		if _, err := infra.NewGrants(ctx, code, &infra.GrantsArgs{Rules: config.rules(country), ResultsBucket: lake.Names["artifacts"], CatalogName: catalog, KeyARN: keys.DataARN, ScanGB: config.Athena.ScanLimitGB, Tags: tags}, child); err != nil {
			return nil, err
		}
	}
	c.Outputs = countryOutputs(found.Document, pipeline, nightly.Workflow)
	return c, ctx.RegisterResourceOutputs(c, c.Outputs)
}

// known is what a country's document has without any resource.
func (country *Country) known(config *Config) discovery.Country {
	return discovery.Country{Stack: config.Stack, Country: country.Code, Account: country.Account, Region: country.Region, TimeZone: country.TimeZone, Parallel: country.Parallel,
		Google: discovery.Google{Project: config.Google.Project, Location: country.Google.Location}}
}

// countryOutputs are what people and scripts find a country's parts by: what its document says, and the names that only they need.
func countryOutputs(document pulumi.Output, pipeline *infra.Pipeline, workflow pulumi.StringInput) pulumi.Map {
	of := func(field func(c discovery.Country) any) pulumi.Output {
		return document.ApplyT(func(c any) any { return field(c.(discovery.Country)) })
	}
	functions := pulumi.Map{}
	for folder, function := range pipeline.Functions {
		functions[folder] = function.Name
	}
	outputs := pulumi.Map{
		"account":       of(func(c discovery.Country) any { return c.Account }),
		"region":        of(func(c discovery.Country) any { return c.Region }),
		"timeZone":      of(func(c discovery.Country) any { return c.TimeZone }),
		"parallel":      of(func(c discovery.Country) any { return c.Parallel }),
		"buckets":       of(func(c discovery.Country) any { return byName(c.Buckets) }),
		"queues":        of(func(c discovery.Country) any { return byName(c.Queues) }),
		"topics":        of(func(c discovery.Country) any { return byName(c.Topics) }),
		"tables":        of(func(c discovery.Country) any { return byName(c.Tables) }),
		"functions":     functions,
		"databases":     of(func(c discovery.Country) any { return byName(c.Databases) }),
		"workgroup":     of(func(c discovery.Country) any { return c.Workgroup }),
		"workflow":      workflow,
		"dataset":       of(func(c discovery.Country) any { return c.Google.Dataset }),
		"googleProject": of(func(c discovery.Country) any { return c.Google.Project }),
		"dataKey":       of(func(c discovery.Country) any { return c.Compute.KMSKeyARN }),
		"application":   of(func(c discovery.Country) any { return c.Compute.Serverless.ApplicationID }),
	}
	if pipeline.Polling != nil {
		outputs["stateMachine"] = pipeline.Polling.ARN
	}
	return outputs
}

// byName are the texts of a part of a document by the names of their fields there.
func byName[Part discovery.Buckets | discovery.Databases | discovery.Queues | discovery.Tables | discovery.Topics](part Part) map[string]any {
	text, _ := json.Marshal(part) // texts always marshal
	names := map[string]any{}
	_ = json.Unmarshal(text, &names)
	return names
}

// readSwitches asks which of the country's parts are off, in the country's own account and region.
func readSwitches(ctx *pulumi.Context, stack, code string, at *place) (compute.Switches, error) {
	found, err := parameters(ctx, compute.Path(stack, code), at)
	if err != nil {
		return compute.Switches{}, err
	}
	return compute.Read(found.Names, found.Values)
}

// readEnded asks which standing cluster of the country ended by itself last, "" when none did.
func readEnded(ctx *pulumi.Context, stack, code string, at *place) (string, error) {
	found, err := parameters(ctx, compute.ParameterName(stack, code, compute.Standing), at)
	if err != nil {
		return "", err
	}
	if i := slices.Index(found.Names, compute.EndedName(stack, code)); i >= 0 {
		return found.Values[i], nil
	}
	return "", nil
}

// parameters asks for the parameters right below a path, in the country's own account and region.
func parameters(ctx *pulumi.Context, path string, at *place) (*ssm.GetParametersByPathResult, error) {
	found, err := ssm.GetParametersByPath(ctx, &ssm.GetParametersByPathArgs{Path: path}, pulumi.Provider(at.provider))
	if err != nil {
		return nil, fmt.Errorf("parameters below %s: %w", path, err)
	}
	return found, nil
}

// jobDatabases are the databases that the record job writes: those of every stage but landing.
func jobDatabases(catalog string) []string {
	names := []string{}
	for _, stage := range infra.Stages[1:] {
		names = append(names, infra.DatabaseName(catalog, stage))
	}
	return names
}

// ledgerFeeds is what the ledger is told about the country's feeds.
func (country *Country) ledgerFeeds() []infra.Feed {
	feeds := []infra.Feed{}
	for _, f := range country.Feeds {
		feeds = append(feeds, infra.Feed{Name: f.Name, ContractKey: infra.ContractKey(f.Name), Hash: infra.Hash(f.Contract.JSON),
			Completeness: f.Contract.Completeness, ExpectedFiles: f.Contract.ExpectedFiles, WindowMinutes: f.Contract.WindowMinutes,
			Prerequisites: f.Contract.Prerequisites, Attempts: cmp.Or(f.Contract.Attempts, country.Attempts), TimeoutMinutes: f.Contract.TimeoutMinutes, Engine: f.Engine, ClientSide: f.Contract.ClientSide})
	}
	return feeds
}

// contracts are the country's compiled contracts by feed.
func (country *Country) contracts() map[string]string {
	contracts := map[string]string{}
	for _, f := range country.Feeds {
		contracts[f.Name] = f.Contract.JSON
	}
	return contracts
}

// warehouseTables are the columns of the country's tables at BigQuery.
func (country *Country) warehouseTables() map[string][]infra.Column {
	tables := map[string][]infra.Column{}
	for _, f := range country.Feeds {
		tables[f.Name] = f.Contract.Columns
	}
	return tables
}

// delimiters are what stands between the fields of each feed's files.
func (country *Country) delimiters() map[string]string {
	delimiters := map[string]string{}
	for _, f := range country.Feeds {
		delimiters[f.Name] = f.Contract.Delimiter
	}
	return delimiters
}
