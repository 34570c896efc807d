package native

import (
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/structpb"
)

// wire writes properties as the engine sends them.
func wire(t *testing.T, object Object) *structpb.Struct {
	t.Helper()
	s, err := message(resource.NewPropertyMapFromMap(object))
	require.NoError(t, err)
	return s
}

// plain reads what the server answered.
func plain(t *testing.T, s *structpb.Struct) Object {
	t.Helper()
	m, err := properties(s)
	require.NoError(t, err)
	return m.Mappable()
}
