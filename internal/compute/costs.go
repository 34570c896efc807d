package compute

import (
	"slices"
	"strings"
)

// Cost is how a resource costs.
type Cost struct {
	Class Class
	Parts []string // Parts are those that declare it, for Hourly: it is there only while one of them is on.
	Page  string   // Page is where the prices are.
}

// families are the resource types by the page that has their prices, and on it by class. A type stands for itself or, when it ends in
// a slash, for its whole module. Each type that the program declares has to be here: a test fails for one that nobody thought about.
var families = []struct {
	page  string
	class Class
	parts []string
	types []string
}{
	{"https://aws.amazon.com/emr/pricing/", Hourly, []string{Standing}, []string{"aws:emr/cluster:Cluster", "aws:emr/instanceFleet:InstanceFleet", "aws:emr/instanceGroup:InstanceGroup"}},
	{"https://aws.amazon.com/emr/pricing/", Free, nil, []string{"aws:emr/managedScalingPolicy:ManagedScalingPolicy", "aws:emr/securityConfiguration:SecurityConfiguration"}},
	{"https://aws.amazon.com/emr/pricing/", PerUse, nil, []string{"aws:emrserverless/application:Application"}}, // warm workers: see Of
	{"https://aws.amazon.com/vpc/pricing/", Hourly, []string{NAT}, []string{"aws:ec2/natGateway:NatGateway", "aws:ec2/eip:Eip"}},
	{"https://aws.amazon.com/privatelink/pricing/", Hourly, []string{Endpoints}, []string{"aws:ec2/vpcEndpoint:VpcEndpoint"}}, // gateway endpoints: see Of
	{"https://aws.amazon.com/vpc/pricing/", Free, nil, []string{
		"aws:ec2/vpc:Vpc", "aws:ec2/subnet:Subnet", "aws:ec2/route:Route", "aws:ec2/routeTable:RouteTable", "aws:ec2/routeTableAssociation:RouteTableAssociation",
		"aws:ec2/internetGateway:InternetGateway", "aws:ec2/securityGroup:SecurityGroup", "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup",
		"aws:ec2/defaultNetworkAcl:DefaultNetworkAcl", "aws:ec2/defaultRouteTable:DefaultRouteTable", "aws:ec2/networkAcl:NetworkAcl", "aws:vpc/", "aws:ec2/vpcEndpointRouteTableAssociation:VpcEndpointRouteTableAssociation",
		"aws:ec2/vpcPeeringConnection:VpcPeeringConnection", "aws:ec2/vpcPeeringConnectionAccepter:VpcPeeringConnectionAccepter",
		"aws:ec2/peeringConnectionOptions:PeeringConnectionOptions"}},
	{"https://aws.amazon.com/cloudwatch/pricing/", PerUse, nil, []string{"aws:ec2/flowLog:FlowLog", "aws:cloudwatch/logGroup:LogGroup", "aws:cloudwatch/logMetricFilter:LogMetricFilter"}},
	{"https://aws.amazon.com/cloudwatch/pricing/", Monthly, nil, []string{"aws:cloudwatch/metricAlarm:MetricAlarm", "aws:cloudwatch/compositeAlarm:CompositeAlarm", "aws:cloudwatch/dashboard:Dashboard"}},
	{"https://aws.amazon.com/cloudtrail/pricing/", PerUse, nil, []string{"aws:cloudtrail/trail:Trail"}},
	{"https://aws.amazon.com/eventbridge/pricing/", PerUse, nil, []string{"aws:cloudwatch/eventRule:EventRule", "aws:cloudwatch/eventTarget:EventTarget", "aws:scheduler/"}},
	{"https://aws.amazon.com/aws-cost-management/aws-budgets/pricing/", Free, nil, []string{"aws:budgets/budget:Budget"}},
	{"https://aws.amazon.com/kms/pricing/", Monthly, nil, []string{"aws:kms/key:Key"}},
	{"https://aws.amazon.com/kms/pricing/", Free, nil, []string{"aws:kms/alias:Alias", "aws:kms/grant:Grant"}},
	{"https://aws.amazon.com/secrets-manager/pricing/", Monthly, nil, []string{"aws:secretsmanager/secret:Secret"}},
	{"https://aws.amazon.com/secrets-manager/pricing/", Free, nil, []string{"aws:secretsmanager/secretVersion:SecretVersion"}},
	{"https://aws.amazon.com/s3/pricing/", PerUse, nil, []string{"aws:s3/"}},
	{"https://aws.amazon.com/dynamodb/pricing/on-demand/", PerUse, nil, []string{"aws:dynamodb/"}}, // provisioned tables: see Of
	{"https://aws.amazon.com/sqs/pricing/", PerUse, nil, []string{"aws:sqs/"}},
	{"https://aws.amazon.com/sns/pricing/", PerUse, nil, []string{"aws:sns/"}},
	{"https://aws.amazon.com/lambda/pricing/", PerUse, nil, []string{
		"aws:lambda/function:Function", "aws:lambda/permission:Permission", "aws:lambda/functionEventInvokeConfig:FunctionEventInvokeConfig",
		"aws:lambda/eventSourceMapping:EventSourceMapping", "aws:lambda/invocation:Invocation"}},
	{"https://aws.amazon.com/step-functions/pricing/", PerUse, nil, []string{"aws:sfn/stateMachine:StateMachine"}},
	{"https://aws.amazon.com/glue/pricing/", PerUse, nil, []string{
		"aws:glue/catalogDatabase:CatalogDatabase", "aws:glue/catalogTable:CatalogTable", "aws:glue/crawler:Crawler", "aws:glue/job:Job", "aws:glue/trigger:Trigger",
		"aws:glue/workflow:Workflow", "aws:glue/securityConfiguration:SecurityConfiguration", "aws:glue/dataCatalogEncryptionSettings:DataCatalogEncryptionSettings",
		"aws:glue/resourcePolicy:ResourcePolicy", "aws:glue/classifier:Classifier", "aws:glue/catalogTableOptimizer:CatalogTableOptimizer"}},
	{"https://aws.amazon.com/athena/pricing/", PerUse, nil, []string{"aws:athena/workgroup:Workgroup", "aws:athena/namedQuery:NamedQuery"}},
	{"https://aws.amazon.com/lake-formation/pricing/", Free, nil, []string{"aws:lakeformation/"}},
	{"https://aws.amazon.com/iam/", Free, nil, []string{"aws:iam/"}},
	{"https://aws.amazon.com/systems-manager/pricing/", Free, nil, []string{"aws:ssm/parameter:Parameter"}},
	{"https://cloud.google.com/bigquery/pricing", PerUse, nil, []string{"gcp:bigquery/"}},
	{"https://cloud.google.com/storage/pricing", PerUse, nil, []string{"gcp:storage/"}},
	{"https://cloud.google.com/iam", Free, nil, []string{"gcp:iam/", "gcp:projects/iAMMember:IAMMember", "gcp:serviceaccount/", "gcp:serviceAccount/"}},
	{"https://www.pulumi.com/registry/packages/random/", Free, nil, []string{"random:"}},
}

// CostOf is how a resource of this type and with these inputs costs; it is false for a type that nobody classified.
func CostOf(resourceType string, inputs map[string]any) (Cost, bool) {
	cost, known := Cost{}, false
	for _, f := range families {
		for _, t := range f.types {
			if t == resourceType || (strings.HasSuffix(t, "/") || strings.HasSuffix(t, ":")) && strings.HasPrefix(resourceType, t) {
				cost, known = Cost{f.class, slices.Clone(f.parts), f.page}, true
			}
		}
	}
	switch resourceType {
	case "aws:ec2/vpcEndpoint:VpcEndpoint":
		if kind, _ := inputs["vpcEndpointType"].(string); kind == "" || kind == "Gateway" {
			cost.Class, cost.Parts = Free, nil
		}
	case "aws:emrserverless/application:Application":
		// Workers that are kept warm cost from start to stop.
		if warm, _ := inputs["initialCapacities"].([]any); len(warm) > 0 {
			cost.Class, cost.Parts = Hourly, []string{Serverless}
		}
	case "aws:dynamodb/table:Table":
		if mode, _ := inputs["billingMode"].(string); mode != "PAY_PER_REQUEST" {
			cost.Class = Hourly
		}
	}
	return cost, known
}
