package terraform

import (
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	pb "github.com/pulumi/pulumi-terraform-bridge/v3/pkg/vendored/tfplugin5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTimeoutReplacesTheLimitOfTheOperation(t *testing.T) {
	something, nothing := &tfprotov6.DynamicValue{MsgPack: []byte{0x80}}, &tfprotov6.DynamicValue{MsgPack: []byte{0xc0}} // MessagePack: {} and nil
	const own = `{"e2bfb730-ecaa-11e6-8f88-34363bc7c4c0":{"create":60,"delete":60},"schema_version":"1"}`
	for name, c := range map[string]struct {
		prior, planned    *tfprotov6.DynamicValue
		private, recorded string
		want              string
	}{
		"create": {
			prior: nothing, planned: something, private: own,
			want: `{"e2bfb730-ecaa-11e6-8f88-34363bc7c4c0":{"create":5000000000,"delete":60},"schema_version":"1"}`,
		},
		"update": {
			prior: something, planned: something, private: own,
			want: `{"e2bfb730-ecaa-11e6-8f88-34363bc7c4c0":{"create":60,"delete":60,"update":5000000000},"schema_version":"1"}`,
		},
		"delete, of which only the state knows the limits": {
			prior: something, planned: nothing, recorded: own,
			want: `{"e2bfb730-ecaa-11e6-8f88-34363bc7c4c0":{"create":60,"delete":5000000000},"schema_version":"1"}`,
		},
		"resource without limits": {prior: nothing, planned: something, private: `{"schema_version":"1"}`, want: `{"schema_version":"1"}`},
		"no private data":         {prior: something, planned: nothing},
	} {
		t.Run(name, func(t *testing.T) {
			provider := &wireProvider{apply: &pb.ApplyResourceChange_Response{}}

			_, err := (&server{provider: provider}).ApplyResourceChange(
				WithTimeout(t.Context(), 5*time.Second, []byte(c.recorded)),
				&tfprotov6.ApplyResourceChangeRequest{PriorState: c.prior, PlannedState: c.planned, PlannedPrivate: []byte(c.private)})

			require.NoError(t, err)
			assert.Equal(t, c.want, string(provider.private))
		})
	}
}
