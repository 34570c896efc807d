package aws

import (
	"context"
	"strings"

	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfbridge"
	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfbridge/info"
	shim "github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfshim"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
)

// naming is how a resource that the program does not name is called: its Pulumi name, a dash and seven random hex
// digits, within what AWS admits.
type naming struct {
	field     string // in Terraform; empty means "name"
	longest   int    // zero means 255
	lowerCase bool
	fifo      bool   // a name ends with .fifo when the property fifo_queue or fifo_topic is true
	prefix    string // what AWS wants in front
}

// namings lists where AWS admits less than 255 characters, or another field than "name" is the name.
var namings = map[string]naming{
	"aws_athena_workgroup":                 {longest: 128},
	"aws_budgets_budget":                   {longest: 100},
	"aws_cloudtrail":                       {longest: 128},
	"aws_cloudwatch_composite_alarm":       {field: "alarm_name"},
	"aws_cloudwatch_dashboard":             {field: "dashboard_name"},
	"aws_cloudwatch_event_rule":            {longest: 64},
	"aws_cloudwatch_metric_alarm":          {field: "alarm_name"},
	"aws_db_parameter_group":               {lowerCase: true},
	"aws_db_subnet_group":                  {lowerCase: true},
	"aws_ecr_repository":                   {lowerCase: true},
	"aws_emrserverless_application":        {longest: 64},
	"aws_glue_catalog_database":            {lowerCase: true},
	"aws_glue_catalog_table":               {lowerCase: true},
	"aws_iam_instance_profile":             {longest: 128},
	"aws_iam_policy":                       {longest: 128},
	"aws_iam_role":                         {longest: 64},
	"aws_iam_role_policy":                  {longest: 128},
	"aws_kinesis_firehose_delivery_stream": {longest: 64},
	"aws_kinesis_stream":                   {longest: 128},
	"aws_kms_alias":                        {prefix: aliasPrefix},
	"aws_lambda_function":                  {field: "function_name", longest: 64},
	"aws_launch_template":                  {longest: 128},
	"aws_mwaa_environment":                 {longest: 80},
	"aws_opensearch_domain":                {field: "domain_name", longest: 28, lowerCase: true},
	"aws_pipes_pipe":                       {longest: 64},
	"aws_rds_cluster_parameter_group":      {lowerCase: true},
	"aws_s3_bucket":                        {field: "bucket", longest: 63, lowerCase: true},
	"aws_sagemaker_endpoint":               {longest: 63},
	"aws_sagemaker_endpoint_configuration": {longest: 63},
	"aws_sagemaker_model":                  {longest: 63},
	"aws_sagemaker_notebook_instance":      {longest: 63},
	"aws_scheduler_schedule":               {longest: 64},
	"aws_scheduler_schedule_group":         {longest: 64},
	"aws_sfn_state_machine":                {longest: 80},
	"aws_sns_topic":                        {fifo: true},
	"aws_sqs_queue":                        {longest: 80, fifo: true},
}

// deletedFirst lists the types of which AWS admits no second one with the same content, whatever its name.
var deletedFirst = map[string]bool{
	"aws_iam_role_policy_attachment":      true,
	"aws_lambda_event_source_mapping":     true,
	"aws_route":                           true,
	"aws_route_table_association":         true,
	"aws_security_group_rule":             true,
	"aws_sns_topic_subscription":          true,
	"aws_vpc_security_group_egress_rule":  true,
	"aws_vpc_security_group_ingress_rule": true,
}

const randomDigits = 7

// nameAutomatically gives the naming field of a type, when it has one, a generated name as its default.
func nameAutomatically(terraformType string, schema shim.SchemaMap, fields map[string]*info.Schema) {
	n := namings[terraformType]
	if n.field == "" {
		n.field = "name"
	}
	if n.longest == 0 {
		n.longest = 255
	}
	s, ok := schema.GetOk(n.field)
	if !ok || s.Type() != shim.TypeString || !s.Optional() && !s.Required() {
		return
	}
	options := info.AutoNameOptions{Separator: "-", Maxlen: n.longest, Randlen: randomDigits}
	if n.lowerCase {
		options.Transform = strings.ToLower
	}
	if n.prefix != "" {
		options.Transform = func(name string) string { return n.prefix + name }
	}
	if n.fifo {
		options.Maxlen -= len(fifoSuffix)
		options.PostTransform = func(r *info.PulumiResource, name string) (string, error) {
			if isTrue(r.Properties["fifoQueue"]) || isTrue(r.Properties["fifoTopic"]) {
				return name + fifoSuffix, nil
			}
			return name, nil
		}
	}
	field := fields[n.field]
	if field == nil {
		field = &info.Schema{}
		fields[n.field] = field
	}
	if field.Name == "" {
		field.Name = tfbridge.TerraformToPulumiNameV2(n.field, schema, fields)
	}
	field.Default = tfbridge.AutoNameWithCustomOptions(field.Name, options).Default
	generate := field.Default.ComputeDefault
	field.Default.ComputeDefault = func(ctx context.Context, o info.ComputeDefaultOptions) (any, error) {
		if o.Properties.HasValue(prefixKey(resource.PropertyKey(field.Name))) {
			return nil, nil // then AWS's provider makes the name
		}
		return generate(ctx, o)
	}
}

// prefixKey is the property that asks for a name with a prefix, which some types have.
func prefixKey(nameKey resource.PropertyKey) resource.PropertyKey { return nameKey + "Prefix" }

const (
	fifoSuffix  = ".fifo"
	aliasPrefix = "alias/"
)

func isTrue(v resource.PropertyValue) bool { return v.IsBool() && v.BoolValue() }

// isGenerated tells whether a name is one that nameAutomatically made for the resource urn.
func isGenerated(urn resource.URN, name string) bool {
	name = strings.TrimSuffix(name, fifoSuffix)
	if len(name) < randomDigits {
		return false
	}
	start, digits := name[:len(name)-randomDigits], name[len(name)-randomDigits:]
	start = strings.TrimPrefix(start, aliasPrefix)
	return strings.Trim(digits, "0123456789abcdef") == "" && strings.EqualFold(start, urn.Name()+"-")
}
