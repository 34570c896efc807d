package aws

import (
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestResourceWithoutANameIsCalledAfterItself(t *testing.T) {
	s := configured(t)
	for name, c := range map[string]struct {
		typ, logical string
		inputs       resource.PropertyMap
		key          resource.PropertyKey
		name         string
	}{
		"bucket, in lower case": {typ: "aws:s3/bucketV2:BucketV2", logical: "Landing", key: "bucket", name: `^landing-[0-9a-f]{7}$`},
		"queue":                 {typ: "aws:sqs/queue:Queue", logical: "tickets", key: "name", name: `^tickets-[0-9a-f]{7}$`},
		"queue in order": {
			typ: "aws:sqs/queue:Queue", logical: "tickets", inputs: resource.PropertyMap{"fifoQueue": resource.NewBoolProperty(true)},
			key: "name", name: `^tickets-[0-9a-f]{7}\.fifo$`,
		},
		"key alias": {
			typ: "aws:kms/alias:Alias", logical: "lake", inputs: resource.PropertyMap{"targetKeyId": resource.NewStringProperty("x")},
			key: "name", name: `^alias/lake-[0-9a-f]{7}$`,
		},
		"alarm, whose name is called otherwise in Terraform": {
			typ: "aws:cloudwatch/metricAlarm:MetricAlarm", logical: "dead",
			inputs: resource.PropertyMap{
				"comparisonOperator": resource.NewStringProperty("GreaterThanThreshold"), "evaluationPeriods": resource.NewNumberProperty(1),
			},
			key: "name", name: `^dead-[0-9a-f]{7}$`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			urn := "urn:pulumi:local::sluice::" + c.typ + "::" + c.logical

			r, err := s.Check(t.Context(), &pulumirpc.CheckRequest{Urn: urn, News: properties(t, c.inputs), RandomSeed: []byte("seed")})

			require.NoError(t, err)
			require.Empty(t, r.GetFailures())
			checked, err := plugin.UnmarshalProperties(r.GetInputs(), marshalling)
			require.NoError(t, err)
			require.True(t, checked[c.key].IsString(), "%v", checked)
			assert.Regexp(t, c.name, checked[c.key].StringValue())
			assert.True(t, isGenerated(resource.URN(urn), checked[c.key].StringValue()))
		})
	}
}

func TestGeneratedNameThatIsTooLongIsRefusedBeforeAWSDoes(t *testing.T) {
	s := configured(t)
	urn := "urn:pulumi:local::sluice::aws:sqs/queue:Queue::" + strings.Repeat("q", 68) // 68 + 1 + 7, and .fifo, are more than 80

	r, err := s.Check(t.Context(), &pulumirpc.CheckRequest{Urn: urn, News: properties(t, nil)})

	require.NoError(t, err)
	require.Len(t, r.GetFailures(), 1)
	assert.Equal(t, "name", r.GetFailures()[0].GetProperty())
	assert.Contains(t, r.GetFailures()[0].GetReason(), "shorten that, or set name")
}

func TestResourceWithANamePrefixGetsNoName(t *testing.T) {
	s := configured(t)
	urn := "urn:pulumi:local::sluice::aws:sqs/queue:Queue::tickets"

	r, err := s.Check(t.Context(), &pulumirpc.CheckRequest{Urn: urn, News: properties(t, resource.PropertyMap{"namePrefix": resource.NewStringProperty("us-")})})

	require.NoError(t, err)
	require.Empty(t, r.GetFailures())
	assert.Nil(t, r.GetInputs().GetFields()["name"])
}

func TestOnlyNamesMadeForTheResourceCountAsGenerated(t *testing.T) {
	urn := resource.URN("urn:pulumi:local::sluice::aws:s3/bucketV2:BucketV2::landing")
	for name, generated := range map[string]bool{
		"landing-0a1b2c3":      true,
		"landing":              false,
		"landing-0a1b2c":       false,
		"landing-production":   false,
		"validated-0a1b2c3":    false,
		"us-landing-0a1b2c3":   false,
		"landing-0a1b2c3.fifo": true,
	} {
		assert.Equal(t, generated, isGenerated(urn, name), name)
	}
}
