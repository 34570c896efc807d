package compute

import (
	"slices"
	"strings"
	"testing"
)

func TestCostDependsOnHowAResourceIsMade(t *testing.T) {
	for name, c := range map[string]struct {
		kind   string
		inputs map[string]any
		class  Class
		parts  []string
	}{
		"gateway endpoint":   {"aws:ec2/vpcEndpoint:VpcEndpoint", map[string]any{"vpcEndpointType": "Gateway"}, Free, nil},
		"endpoint unnamed":   {"aws:ec2/vpcEndpoint:VpcEndpoint", nil, Free, nil}, // AWS's default is Gateway
		"interface endpoint": {"aws:ec2/vpcEndpoint:VpcEndpoint", map[string]any{"vpcEndpointType": "Interface"}, Hourly, []string{Endpoints}},
		"cold application":   {"aws:emrserverless/application:Application", nil, PerUse, nil},
		"warm application":   {"aws:emrserverless/application:Application", map[string]any{"initialCapacities": []any{1}}, Hourly, []string{Serverless}},
		"table on demand":    {"aws:dynamodb/table:Table", map[string]any{"billingMode": "PAY_PER_REQUEST"}, PerUse, nil},
		"provisioned table":  {"aws:dynamodb/table:Table", nil, Hourly, nil},
		"standing cluster":   {"aws:emr/cluster:Cluster", nil, Hourly, []string{Standing}},
		"key":                {"aws:kms/key:Key", nil, Monthly, nil},
		"whole module":       {"aws:s3/bucketPolicy:BucketPolicy", nil, PerUse, nil},
	} {
		cost, known := CostOf(c.kind, c.inputs)
		if !known || cost.Class != c.class || !slices.Equal(cost.Parts, c.parts) {
			t.Errorf("%s: %+v, %v; want %s of %v", name, cost, known, c.class, c.parts)
		}
	}
	if cost, known := CostOf("aws:rds/instance:Instance", nil); known {
		t.Errorf("a type that nobody classified costs %+v", cost)
	}
}

func TestEveryClassHasItsPageAndEveryHourlyTypeItsPart(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range families {
		if !strings.HasPrefix(f.page, "https://") || f.class == "" {
			t.Errorf("%+v", f)
		}
		if (f.class == Hourly) != (len(f.parts) > 0) {
			t.Errorf("%v cost by the %s, and their parts are %v", f.types, f.class, f.parts)
		}
		for _, part := range f.parts {
			if _, ok := Find(part); !ok {
				t.Errorf("%v: no part %q", f.types, part)
			}
		}
		for _, kind := range f.types {
			if seen[kind] {
				t.Errorf("%s is there twice", kind)
			}
			seen[kind] = true
		}
	}
}
