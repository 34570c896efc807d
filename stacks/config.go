package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // time zones are checked the same way on every machine

	"github.com/sluice-data/sluice/docs/schemas"
	"github.com/sluice-data/sluice/infra"
	"github.com/sluice-data/sluice/internal/access"
	"github.com/sluice-data/sluice/internal/job"
	"github.com/sluice-data/sluice/internal/sizing"
	"github.com/sluice-data/sluice/policies"
)

// Config is a stack's file, Pulumi.<stack>.yaml, read once and checked whole. Each field is described in docs/schemas/stack.json;
// defaults are applied by the components that take them.
type Config struct {
	Stack string `json:"-"` // Stack is the Pulumi stack's name.

	AWS               AWS          `json:"sluice:aws"`
	Google            Google       `json:"sluice:google"`
	Network           Network      `json:"sluice:network"`
	Functions         Functions    `json:"sluice:functions"`
	Compute           Compute      `json:"sluice:compute"`
	Storage           Storage      `json:"sluice:storage"`
	Trail             Trail        `json:"sluice:trail"`
	Alerts            Alerts       `json:"sluice:alerts"`
	Athena            Athena       `json:"sluice:athena"`
	Parallel          int          `json:"sluice:parallel"`
	Attempts          int          `json:"sluice:attempts"`
	Driver            string       `json:"sluice:driver"`
	DataProtection    *bool        `json:"sluice:dataProtection"`
	AllowDataDeletion []string     `json:"sluice:allowDataDeletion"`
	Access            access.Table `json:"sluice:access"`
	Countries         []Country    `json:"sluice:countries"`
}

// AWS is the environment's account and region.
type AWS struct {
	Region    string            `json:"region"`
	AccountID string            `json:"accountId"`
	RoleARN   string            `json:"roleArn"`
	Tags      map[string]string `json:"tags"`
}

// Google is the environment's project, and where data is in it.
type Google struct {
	Project  string `json:"project"`
	Location string `json:"location"`
}

// Network is what every country's network has. A country may say otherwise, but for the zones and the days.
type Network struct {
	Zones       int            `json:"zones"`
	AvoidZones  []string       `json:"avoidZones"` // AvoidZones are ids of zones that are taken only where there are too few others.
	NAT         string         `json:"nat"`
	Endpoints   []string       `json:"endpoints"` // Endpoints are nil for the default, empty for none.
	FlowLogDays int            `json:"flowLogDays"`
	Shared      *SharedNetwork `json:"shared"`
}

// SharedNetwork is a network that countries' networks are peered with.
type SharedNetwork struct {
	VPCID         string   `json:"vpcId"`
	CIDR          string   `json:"cidr"`
	AccountID     string   `json:"accountId"`
	Region        string   `json:"region"`
	RoleARN       string   `json:"roleArn"`
	RouteTableIDs []string `json:"routeTableIds"`
}

// Functions is how functions are built and run.
type Functions struct {
	Architecture string `json:"architecture"`
	LogDays      int    `json:"logDays"`
	SweepMinutes int    `json:"sweepMinutes"`
}

// Compute is what clusters, and the engines without clusters, are made of; a country can have other values of its own.
type Compute struct {
	ReleaseLabel string  `json:"releaseLabel"`
	PrimaryType  string  `json:"primaryType"`
	CoreType     string  `json:"coreType"`
	IdleMinutes  int     `json:"idleMinutes"`
	Standing     bool    `json:"standing"`
	Size         string  `json:"size"`
	Scaling      Scaling `json:"scaling"`
	Idle         Idle    `json:"idle"`

	Serverless Serverless `json:"serverless"`
	Glue       Glue       `json:"glue"`
}

// Scaling is the limits of the standing cluster's size.
type Scaling struct {
	MinUnits      int `json:"minUnits"`
	MaxUnits      int `json:"maxUnits"`
	OnDemandUnits int `json:"onDemandUnits"`
}

// Idle is when the standing cluster is ended.
type Idle struct {
	CPUPercent int `json:"cpuPercent"`
	Minutes    int `json:"minutes"`
	EndMinutes int `json:"endMinutes"`
}

// Serverless is how much EMR Serverless may take.
type Serverless struct {
	MaxVCPUs      int `json:"maxVCPUs"`
	IdleMinutes   int `json:"idleMinutes"`
	WarmExecutors int `json:"warmExecutors"`
}

// Glue is how Glue runs jobs.
type Glue struct {
	Version        string `json:"version"`
	TimeoutMinutes int    `json:"timeoutMinutes"`
	Schedule       string `json:"schedule"`
}

// Athena is what a query may cost.
type Athena struct {
	ScanLimitGB int `json:"scanLimitGB"`
}

// Storage is how long buckets keep what is not current.
type Storage struct {
	NoncurrentDays int `json:"noncurrentDays"`
	SnapshotDays   int `json:"snapshotDays"`
	ColdDays       int `json:"coldDays"`
	LogDays        int `json:"logDays"`
}

// Trail is what is recorded of who did what in the stack's accounts.
type Trail struct {
	Enabled          *bool  `json:"enabled"`
	DataEvents       string `json:"dataEvents"`
	ManagementEvents string `json:"managementEvents"`
	KMSEvents        bool   `json:"kmsEvents"`
	LogDays          int    `json:"logDays"`
	LockDays         int    `json:"lockDays"`
}

// Alerts is who hears of trouble.
type Alerts struct {
	Emails []string `json:"emails"`
}

// Country is one country of the environment.
type Country struct {
	Code           string  `json:"code"`
	CIDR           string  `json:"cidr"`
	TimeZone       string  `json:"timeZone"`
	Region         string  `json:"region"`
	AccountRoleARN string  `json:"accountRoleArn"`
	Parallel       int     `json:"parallel"`
	Attempts       int     `json:"attempts"` // Attempts is how many runs a job has whose contract does not say; 0: the rules' default.
	Driver         string  `json:"driver"`
	BudgetUSD      int     `json:"budgetUSD"`
	Alerts         Alerts  `json:"alerts"`
	Google         Google  `json:"google"`
	Network        Network `json:"network"`
	Feeds          []Feed  `json:"feeds"`

	ComputeOverride json.RawMessage `json:"compute"`

	// What the rest of the program takes, derived once.
	Compute   Compute      `json:"-"` // Compute is the environment's with what the country says on top.
	Account   string       `json:"-"` // Account is the AWS account that the country is in.
	Block     netip.Prefix `json:"-"` // Block is CIDR, parsed.
	Protected bool         `json:"-"` // Protected refuses to delete what holds the country's data.
}

// The drivers: what wakes a country's functions.
const (
	pushDriver    = "push"
	pollingDriver = "polling"
)

// Feed is a feed of a country: its contract's name, or that with more.
type Feed struct {
	Name     string    `json:"name"`
	Engine   string    `json:"engine"`
	Contract *Contract `json:"-"`
}

// UnmarshalJSON reads a feed from its name alone, too.
func (f *Feed) UnmarshalJSON(text []byte) error {
	if len(text) > 0 && text[0] == '"' {
		return json.Unmarshal(text, &f.Name)
	}
	type object Feed
	return json.Unmarshal(text, (*object)(f))
}

// maxStack is how long a stack's name can be: "sluice-<stack>-us-1a2b3c4d" is the name of a Google service account, which has 30
// characters at most.
const maxStack = 30 - len("sluice--us-1a2b3c4d")

// ReadConfig reads and checks the configuration of a stack; values are Pulumi's, by key, root is the folder that has the contracts.
// It reports everything that is wrong, each with its path.
func ReadConfig(stack string, values map[string]string, root string) (*Config, error) {
	var wrong faults
	c := &Config{Stack: stack}
	text, err := configDocument(values)
	if err != nil {
		return nil, err
	}
	schema, err := schemas.Stack()
	if err != nil {
		return nil, err
	}
	var document any
	if err := json.Unmarshal(text, &document); err != nil {
		return nil, fmt.Errorf("stack %q: %w", stack, err)
	}
	if err := schema.Validate(map[string]any{"config": document}); err != nil {
		wrong.addSchema("", err)
	}
	// What has another type than it should is reported above, and left empty here.
	if err := json.Unmarshal(text, c); err != nil && len(wrong.list) == 0 {
		return nil, fmt.Errorf("stack %q: %w", stack, err)
	}
	if !regexp.MustCompile(`^[a-z][a-z0-9]*$`).MatchString(stack) || len(stack) > maxStack {
		wrong.add("stack", "%q: a stack's name is part of the names of buckets, databases and accounts; take a letter, then letters and digits, %d at most", stack, maxStack)
	}
	c.checkEndpoints(&wrong)
	c.checkTrail(&wrong)
	c.checkCountries(&wrong)
	c.checkFeeds(&wrong, filepath.Join(root, "contracts"))
	c.checkAccess(&wrong)
	return c, wrong.err("stack " + stack + " cannot be deployed:")
}

// configDocument is the stack's configuration as one JSON document: structured values as they are, plain ones as YAML means them.
func configDocument(values map[string]string) ([]byte, error) {
	document := map[string]json.RawMessage{}
	for key, value := range values {
		raw := json.RawMessage(value)
		if !json.Valid(raw) {
			quoted, err := json.Marshal(value)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", key, err)
			}
			raw = quoted
		}
		document[key] = raw
	}
	return json.Marshal(document)
}

// checkTrail refuses a trail that would record nothing, and a lock on what has to go.
func (c *Config) checkTrail(wrong *faults) {
	const at = "trail"
	if c.Trail.DataEvents == infra.NoDataEvents && c.Trail.ManagementEvents == infra.NoManagementEvents {
		wrong.add(at, "neither data events nor management events: CloudTrail takes no trail that records nothing; take enabled: false")
	}
	if c.Trail.LockDays == 0 {
		return
	}
	if !c.protects(trailData) {
		wrong.add(at+".lockDays", "nobody can delete what is locked, so the trail could not be destroyed for %d days; leave it out, or set sluice:dataProtection: true without trail in sluice:allowDataDeletion", c.Trail.LockDays)
	}
	if keep := cmp.Or(c.Trail.LogDays, infra.TrailLogDays); c.Trail.LockDays > keep {
		wrong.add(at+".lockDays", "%d is more than the %d days that records are kept (logDays)", c.Trail.LockDays, keep)
	}
}

// checkCountries checks what the schema cannot: blocks, zones, and that countries do not collide. It derives their fields.
func (c *Config) checkCountries(wrong *faults) {
	for i := range c.Countries {
		country := &c.Countries[i]
		path := fmt.Sprintf("countries[%d]", i)
		for j, other := range c.Countries[:i] {
			if other.Code == country.Code && country.Code != "" {
				wrong.add(path+".code", "%s is countries[%d] already", country.Code, j)
			}
		}
		c.checkBlock(wrong, path+".cidr", i)
		if _, err := time.LoadLocation(country.TimeZone); err != nil {
			wrong.add(path+".timeZone", "%q is no IANA time zone, for example Europe/Madrid", country.TimeZone)
		}
		country.derive(c)
		if err := infra.CheckDiscoveryFits(country.known(c)); err != nil {
			wrong.add(path, "%v", err)
		}
		country.Compute.check(wrong, path)
		country.checkNetwork(wrong, path, c)
	}
	for i, name := range c.AllowDataDeletion {
		at := fmt.Sprintf("allowDataDeletion[%d]", i)
		if !wrong.at(at) && name != trailData && !slices.ContainsFunc(c.Countries, func(country Country) bool { return country.Code == name }) {
			wrong.add(at, "%s is no country of this stack; a country is named here and deployed so while it is in countries, then it leaves both", name)
		}
	}
}

// checkEndpoints checks that every endpoint is one that has a policy.
func (c *Config) checkEndpoints(wrong *faults) {
	check := func(path string, services []string) {
		for i, service := range services {
			if at := fmt.Sprintf("%s[%d]", path, i); !wrong.at(at) && !slices.Contains(policies.EndpointServices(), service) {
				wrong.add(at, "%s has no endpoint here; take some of %s", service, strings.Join(policies.EndpointServices(), ", "))
			}
		}
	}
	check("network.endpoints", c.Network.Endpoints)
	for i, country := range c.Countries {
		check(fmt.Sprintf("countries[%d].network.endpoints", i), country.Network.Endpoints)
	}
}

// checkBlock checks a country's block by itself and against those before it.
func (c *Config) checkBlock(wrong *faults, path string, i int) {
	country := &c.Countries[i]
	if wrong.at(path) || country.CIDR == "" {
		return
	}
	block, err := netip.ParsePrefix(country.CIDR)
	if err != nil {
		wrong.add(path, "%q is no block, for example 10.16.0.0/16", country.CIDR)
		return
	}
	if err := infra.CheckBlock(block); err != nil {
		wrong.add(path, "%v", err)
		return
	}
	country.Block = block
	for j, other := range c.Countries[:i] {
		if other.Block.IsValid() && other.Block.Overlaps(block) {
			wrong.add(path, "%s overlaps countries[%d].cidr", block, j)
		}
	}
}

// derive fills in what a country takes from its environment.
func (country *Country) derive(c *Config) {
	country.Account = c.AWS.AccountID
	if country.AccountRoleARN == "" {
		country.AccountRoleARN = c.AWS.RoleARN
	} else if parts := strings.Split(country.AccountRoleARN, ":"); len(parts) > 4 {
		country.Account = parts[4]
	}
	if country.Region == "" {
		country.Region = c.AWS.Region
	}
	if country.Parallel == 0 {
		country.Parallel = c.Parallel
	}
	if country.Parallel == 0 {
		country.Parallel = 5
	}
	country.Attempts = cmp.Or(country.Attempts, c.Attempts)
	country.Driver = cmp.Or(country.Driver, c.Driver, pushDriver)
	if country.Alerts.Emails == nil {
		country.Alerts = c.Alerts
	}
	if country.TimeZone == "" {
		country.TimeZone = "UTC"
	}
	if country.Google.Location == "" {
		country.Google.Location = c.Google.Location
	}
	if country.Google.Location == "" {
		country.Google.Location = "US"
	}
	country.Compute = c.Compute
	if len(country.ComputeOverride) > 0 {
		_ = json.Unmarshal(country.ComputeOverride, &country.Compute) // what has another type than it should the schema reports
	}
	country.Network.Zones, country.Network.FlowLogDays = c.Network.Zones, c.Network.FlowLogDays
	if country.Network.NAT == "" {
		country.Network.NAT = c.Network.NAT
	}
	if country.Network.Endpoints == nil {
		country.Network.Endpoints = c.Network.Endpoints
	}
	country.Protected = c.protects(country.Code)
}

// trailData is the name of the trails' records in AllowDataDeletion, among the codes of countries.
const trailData = "trail"

// protects says whether data must not be deleted, of a country or of the trail. Where DataProtection is on, it takes a second key: the
// name in AllowDataDeletion. Where it is off there is nothing to open.
func (c *Config) protects(name string) bool {
	return (c.DataProtection == nil || *c.DataProtection) && !slices.Contains(c.AllowDataDeletion, name)
}

// check checks what the schema cannot: that instances go together, and that limits are not crossed.
func (c Compute) check(wrong *faults, path string) {
	if c.PrimaryType == "" || c.CoreType == "" {
		return // the schema reports it
	}
	_, primary, err := infra.InstanceTypes(c.PrimaryType)
	if err != nil {
		wrong.add(path+".compute.primaryType", "%v", err)
	}
	_, core, err := infra.InstanceTypes(c.CoreType)
	if err != nil {
		wrong.add(path+".compute.coreType", "%v", err)
	}
	if primary != "" && core != "" && primary != core {
		wrong.add(path+".compute", "primaryType %s is %s, coreType %s is %s; take the same processor for both", c.PrimaryType, primary, c.CoreType, core)
	}
	name := c.Size
	if name == "" {
		name = infra.StandingSize
	}
	size, ok := sizing.Named(name)
	if !ok {
		return // the schema reports it
	}
	least, most := cmp.Or(c.Scaling.MinUnits, int(size.Core)), cmp.Or(c.Scaling.MaxUnits, int(size.MaxUnits))
	if most < least {
		wrong.add(path+".compute.scaling", "maxUnits %d is less than minUnits %d", most, least)
	}
	if most < int(size.Core) {
		wrong.add(path+".compute.scaling.maxUnits", "%d is less than the %d core nodes of size %s", most, size.Core, name)
	}
	if onDemand := cmp.Or(c.Scaling.OnDemandUnits, int(size.Core)); onDemand > most || onDemand < int(size.Core) {
		wrong.add(path+".compute.scaling.onDemandUnits", "%d is not between the %d core nodes of size %s and maxUnits %d", onDemand, size.Core, name, most)
	}
	if c.Idle.Minutes > 5 && c.Idle.Minutes%5 != 0 {
		wrong.add(path+".compute.idle.minutes", "%d is no multiple of 5; metrics come every five minutes", c.Idle.Minutes)
	}
}

// checkNetwork checks what a country's network is made of, and derives its shared network.
func (country *Country) checkNetwork(wrong *faults, path string, c *Config) {
	at := path + ".network"
	if country.Network.Shared == nil {
		at = "network"
		if c.Network.Shared != nil {
			shared := *c.Network.Shared // a country's own, because what is not said depends on the country
			country.Network.Shared = &shared
		}
	}
	shared := country.Network.Shared
	if shared == nil || wrong.at(at+".shared") {
		return
	}
	if shared.AccountID == "" {
		shared.AccountID = c.AWS.AccountID
	}
	if shared.Region == "" {
		shared.Region = country.Region
	}
	block, err := netip.ParsePrefix(shared.CIDR)
	if err != nil || !block.Addr().Is4() || block != block.Masked() {
		wrong.add(at+".shared.cidr", "%q is no IPv4 block, for example 10.0.0.0/16", shared.CIDR)
		return
	}
	if country.Block.IsValid() && block.Overlaps(country.Block) {
		wrong.add(path+".cidr", "%s overlaps %s.shared.cidr", country.Block, at)
	}
	_, reached := shared.reach(c, country)
	switch {
	case reached && len(shared.RouteTableIDs) == 0:
		wrong.add(at+".shared.routeTableIds", "name the route tables of %s that get the way back to %s", shared.VPCID, country.Code)
	case !reached && len(shared.RouteTableIDs) > 0:
		wrong.add(at+".shared.routeTableIds", "routes in account %s take a role there: name it as roleArn, or leave the routes to the owner of %s", shared.AccountID, shared.VPCID)
	}
}

// reach is the role that accepts a peering in the shared network's account and writes the way back, empty for the caller's own
// identity. It is false when the account is neither the environment's nor the country's and no role is named: then its owner does both.
func (shared *SharedNetwork) reach(c *Config, country *Country) (roleARN string, ok bool) {
	switch {
	case shared.RoleARN != "":
		return shared.RoleARN, true
	case shared.AccountID == country.Account:
		return country.AccountRoleARN, true
	case shared.AccountID == c.AWS.AccountID:
		return c.AWS.RoleARN, true
	}
	return "", false
}

// checkFeeds reads the contracts that the countries name, and checks that a country's feeds can run together.
func (c *Config) checkFeeds(wrong *faults, folder string) {
	contracts := map[string]*Contract{}
	for i := range c.Countries {
		path := fmt.Sprintf("countries[%d].feeds", i)
		rules := []job.Feed{}
		for j := range c.Countries[i].Feeds {
			feed := &c.Countries[i].Feeds[j]
			at := fmt.Sprintf("%s[%d]", path, j)
			if wrong.at(at) || feed.Name == "" {
				continue
			}
			if feed.Engine == "" {
				feed.Engine = "auto"
			}
			contract, seen := contracts[feed.Name]
			if !seen {
				contract = readContract(wrong, at, folder, feed.Name)
				contracts[feed.Name] = contract
			}
			if contract == nil {
				continue
			}
			feed.Contract = contract
			rules = append(rules, contract.rules())
		}
		// With a feed missing, whoever needs it would be reported as well.
		if wrong.at(path) {
			continue
		}
		if err := job.CheckFeeds(rules); err != nil {
			for _, line := range strings.Split(err.Error(), "\n") {
				wrong.add(path, "%s", line)
			}
			continue
		}
		for _, feed := range c.Countries[i].Feeds {
			if feed.Contract == nil {
				continue
			}
			for _, line := range feed.Contract.checkReferences(contracts) {
				wrong.add(path, "%s", line)
			}
		}
	}
}
