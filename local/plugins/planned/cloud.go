package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/hashicorp/terraform-plugin-go/tftypes"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/protobuf/types/known/structpb"
)

// arns are the forms of ARNs by Terraform's type; the braces name an attribute of the resource, or its place.
var arns = map[string]string{
	"aws_athena_workgroup":            "arn:aws:athena:{region}:{account}:workgroup/{name}",
	"aws_cloudtrail":                  "arn:aws:cloudtrail:{region}:{account}:trail/{name}",
	"aws_cloudwatch_dashboard":        "arn:aws:cloudwatch::{account}:dashboard/{dashboard_name}",
	"aws_cloudwatch_event_rule":       "arn:aws:events:{region}:{account}:rule/{name}",
	"aws_cloudwatch_log_group":        "arn:aws:logs:{region}:{account}:log-group:{name}",
	"aws_cloudwatch_metric_alarm":     "arn:aws:cloudwatch:{region}:{account}:alarm:{alarm_name}",
	"aws_dynamodb_table":              "arn:aws:dynamodb:{region}:{account}:table/{name}",
	"aws_emr_cluster":                 "arn:aws:elasticmapreduce:{region}:{account}:cluster/{id}",
	"aws_emrserverless_application":   "arn:aws:emr-serverless:{region}:{account}:/applications/{id}",
	"aws_glue_catalog_database":       "arn:aws:glue:{region}:{account}:database/{name}",
	"aws_glue_crawler":                "arn:aws:glue:{region}:{account}:crawler/{name}",
	"aws_glue_job":                    "arn:aws:glue:{region}:{account}:job/{name}",
	"aws_glue_trigger":                "arn:aws:glue:{region}:{account}:trigger/{name}",
	"aws_glue_workflow":               "arn:aws:glue:{region}:{account}:workflow/{name}",
	"aws_iam_instance_profile":        "arn:aws:iam::{account}:instance-profile/{name}",
	"aws_iam_policy":                  "arn:aws:iam::{account}:policy/{name}",
	"aws_iam_role":                    "arn:aws:iam::{account}:role/{name}",
	"aws_kms_alias":                   "arn:aws:kms:{region}:{account}:{name}",
	"aws_kms_key":                     "arn:aws:kms:{region}:{account}:key/{id}",
	"aws_lambda_event_source_mapping": "arn:aws:lambda:{region}:{account}:event-source-mapping:{id}",
	"aws_lambda_function":             "arn:aws:lambda:{region}:{account}:function:{function_name}",
	"aws_s3_bucket":                   "arn:aws:s3:::{bucket}",
	"aws_sfn_state_machine":           "arn:aws:states:{region}:{account}:stateMachine:{name}",
	"aws_sns_topic":                   "arn:aws:sns:{region}:{account}:{name}",
	"aws_sqs_queue":                   "arn:aws:sqs:{region}:{account}:{name}",
	"aws_ssm_parameter":               "arn:aws:ssm:{region}:{account}:parameter{name}",
}

// ids are the forms of ids by Terraform's type, where it is not a word and hexadecimal digits.
var ids = map[string]string{
	"aws_dynamodb_table":         "{name}",
	"aws_emr_cluster":            "j-{HEX}",
	"aws_iam_instance_profile":   "{name}",
	"aws_iam_policy":             "arn:aws:iam::{account}:policy/{name}",
	"aws_iam_role":               "{name}",
	"aws_kms_key":                "{uuid}",
	"aws_s3_bucket":              "{bucket}",
	"aws_sns_topic":              "arn:aws:sns:{region}:{account}:{name}",
	"aws_sqs_queue":              "https://sqs.{region}.amazonaws.com/{account}/{name}",
	"aws_lambda_function":        "{function_name}",
	"aws_default_security_group": "sg-{hex}",
	"aws_security_group":         "sg-{hex}",
	"aws_launch_template":        "lt-{hex}",
	"aws_vpc_endpoint":           "vpce-{hex}",
	"aws_nat_gateway":            "nat-{hex}",
	"aws_internet_gateway":       "igw-{hex}",
	"aws_eip":                    "eipalloc-{hex}",
	"aws_route_table":            "rtb-{hex}",
	"aws_athena_workgroup":       "{name}",
}

// likely puts something likely where the plan says that only the cloud will know.
func likely(c *change) (tftypes.Value, error) {
	known := map[string]string{"account": c.at.account, "region": c.at.region}
	var attributes map[string]tftypes.Value
	if err := c.planned.As(&attributes); err != nil {
		return tftypes.Value{}, err
	}
	for key, value := range attributes {
		var text string
		if value.IsFullyKnown() && !value.IsNull() && value.Type().Is(tftypes.String) && value.As(&text) == nil {
			known[key] = text
		}
	}
	digest := sha256.Sum256([]byte(c.kind + " " + c.name))
	digits := hex.EncodeToString(digest[:])
	known["hex"], known["HEX"] = "0"+digits[:16], strings.ToUpper(digits[:13])
	known["uuid"] = strings.Join([]string{digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:32]}, "-")
	for _, word := range []string{"name", "bucket", "function_name"} {
		if known[word] == "" {
			known[word] = c.name
		}
	}
	form, ok := ids[c.kind]
	if !ok {
		form = strings.TrimPrefix(c.kind, "aws_") + "-{hex}"
	}
	known["id"] = fill(form, known)
	if form, ok = arns[c.kind]; !ok {
		service, rest, _ := strings.Cut(strings.TrimPrefix(c.kind, "aws_"), "_")
		form = "arn:aws:" + service + ":{region}:{account}:" + strings.ReplaceAll(rest, "_", "-") + "/{id}"
	}
	known["arn"] = fill(form, known)
	known["url"], known["key_id"], known["owner_id"] = known["id"], known["id"], c.at.account
	known["prefix_list_id"] = "pl-" + known["hex"]
	return tftypes.Transform(c.planned, func(path *tftypes.AttributePath, v tftypes.Value) (tftypes.Value, error) {
		if v.IsKnown() {
			return v, nil
		}
		switch kind := v.Type(); {
		case kind.Is(tftypes.String):
			field := lastStep(path)
			text, ok := known[field]
			if !ok || len(path.Steps()) > 1 {
				text = field + "-" + known["id"]
			}
			return tftypes.NewValue(kind, text), nil
		case kind.Is(tftypes.Bool):
			return tftypes.NewValue(kind, false), nil
		case kind.Is(tftypes.Number):
			return tftypes.NewValue(kind, 1), nil
		case kind.Is(tftypes.List{}), kind.Is(tftypes.Set{}):
			return tftypes.NewValue(kind, []tftypes.Value{}), nil
		case kind.Is(tftypes.Map{}):
			return tftypes.NewValue(kind, map[string]tftypes.Value{}), nil
		default:
			return tftypes.NewValue(kind, nil), nil
		}
	})
}

// fill puts values for the braces of a form.
func fill(form string, values map[string]string) string {
	for key, value := range values {
		form = strings.ReplaceAll(form, "{"+key+"}", value)
	}
	return form
}

func lastStep(path *tftypes.AttributePath) string {
	if name, ok := path.LastStep().(tftypes.AttributeName); ok {
		return string(name)
	}
	return "element"
}

// lookUp answers a function of the AWS provider, or of Pulumi itself.
func lookUp(token string, args map[string]any, at place) (map[string]any, error) {
	switch token {
	case "aws:index/getAvailabilityZones:getAvailabilityZones":
		return map[string]any{"names": []any{at.region + "a", at.region + "b", at.region + "c"}, "zoneIds": []any{"az1", "az2", "az4"}}, nil
	case "aws:ec2/getInstanceTypeOfferings:getInstanceTypeOfferings": // every type that is asked for is in every zone
		types, zones := []any{}, []any{}
		for _, zone := range filtered(args, "location") {
			for _, name := range filtered(args, "instance-type") {
				types, zones = append(types, name), append(zones, zone)
			}
		}
		return map[string]any{"instanceTypes": types, "locations": zones, "locationTypes": []any{}, "id": at.region}, nil
	case "aws:index/getCallerIdentity:getCallerIdentity":
		return map[string]any{"accountId": at.account, "arn": "arn:aws:iam::" + at.account + ":role/deploy", "id": at.account, "userId": "AROAEXAMPLE"}, nil
	case "aws:index/getPartition:getPartition":
		return map[string]any{"partition": "aws", "dnsSuffix": "amazonaws.com", "id": "aws"}, nil
	case "aws:index/getRegion:getRegion":
		return map[string]any{"name": at.region, "id": at.region}, nil
	case "aws:ssm/getParametersByPath:getParametersByPath": // nothing was switched off
		return map[string]any{"names": []any{}, "values": []any{}, "arns": []any{}, "types": []any{}}, nil
	case "pulumi:pulumi:readStackOutputs": // nor deployed before
		return map[string]any{"outputs": map[string]any{}}, nil
	default:
		return nil, fmt.Errorf("look-up %s: say in cloud.go what a fresh account answers", token)
	}
}

// filtered are the values of a look-up's filter.
func filtered(args map[string]any, name string) []any {
	filters, _ := args["filters"].([]any)
	for _, f := range filters {
		if filter, _ := f.(map[string]any); filter["name"] == name {
			values, _ := filter["values"].([]any)
			return values
		}
	}
	return nil
}

// likelyRandom is a random resource with its eight digits always the same.
func likelyRandom(r *pulumirpc.RegisterResourceRequest) (string, *structpb.Struct) {
	out := &structpb.Struct{Fields: map[string]*structpb.Value{}}
	for key, value := range r.GetObject().GetFields() {
		out.Fields[key] = value
	}
	for _, key := range []string{"id", "hex", "result", "b64Url"} {
		out.Fields[key] = structpb.NewStringValue("1a2b3c4d")
	}
	return "1a2b3c4d", out
}
