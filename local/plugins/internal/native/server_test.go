package native

import (
	"context"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	rpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const urn = "urn:pulumi:local::sluice::test:index:Box::box"

// boxes is a provider of one type, whose only box is `there`.
func boxes(there Object) rpc.ResourceProviderServer {
	return NewServer(Provider{Name: "test", Version: "1.0.0", Types: map[string]Type{"test:index:Box": {
		Inputs: map[string]Input{
			"name":  {Immutable: true, Names: true, AutoName: true},
			"place": {Required: true, Immutable: true},
			"color": {Computed: true},
			"note":  {},
			"shape": {Nested: true},
			"force": {Local: true, Default: Value(false)},
		},
		Outputs: []string{"size"},
		Create: func(_ context.Context, in Object) (string, Object, error) {
			return in["name"].(string), Object{"name": in["name"], "place": in["place"], "color": "grey", "size": 3.0}, nil
		},
		Read: func(context.Context, string, Object) (Object, error) {
			if there == nil {
				return nil, ErrNotFound
			}
			return there, nil
		},
	}}})
}

func check(t *testing.T, olds, news Object) *rpc.CheckResponse {
	t.Helper()
	response, err := boxes(nil).Check(t.Context(), &rpc.CheckRequest{Urn: urn, Olds: wire(t, olds), News: wire(t, news)})
	require.NoError(t, err)
	return response
}

func diff(t *testing.T, old, new Object) *rpc.DiffResponse {
	t.Helper()
	response, err := boxes(nil).Diff(t.Context(), &rpc.DiffRequest{Urn: urn, OldInputs: wire(t, old), News: wire(t, new)})
	require.NoError(t, err)
	return response
}

func TestCheckFillsDefaultsAndKeepsTheNameItGave(t *testing.T) {
	first := plain(t, check(t, nil, Object{"place": "shelf"}).Inputs)
	assert.Regexp(t, "^box-[0-9a-f]{7}$", first["name"])
	assert.Equal(t, false, first["force"])
	assert.Equal(t, first, plain(t, check(t, first, Object{"place": "shelf"}).Inputs))
}

func TestCheckRefusesWhatIsMissingOrUnknown(t *testing.T) {
	failures := check(t, nil, Object{"lid": true}).Failures
	require.Len(t, failures, 2)
	assert.Contains(t, failures[0].Reason, `does not support "lid"`)
	assert.Equal(t, `missing required property "place"`, failures[1].Reason)
}

func TestDiffReplacesUpdatesAndIgnores(t *testing.T) {
	box := Object{"name": "b", "place": "shelf", "note": "x", "color": "red"}
	for name, c := range map[string]struct {
		new      Object
		replaces []string
		diffs    []string
		before   bool
	}{
		"nothing":                          {new: Object{"name": "b", "place": "shelf", "note": "x", "color": "red"}},
		"a computed input left to service": {new: Object{"name": "b", "place": "shelf", "note": "x"}},
		"a note gone":                      {new: Object{"name": "b", "place": "shelf", "color": "red"}, diffs: []string{"note"}},
		"another place, same name": {
			new: Object{"name": "b", "place": "floor", "note": "x"}, diffs: []string{"place"}, replaces: []string{"place"}, before: true,
		},
		"another name": {
			new: Object{"name": "c", "place": "shelf", "note": "x"}, diffs: []string{"name"}, replaces: []string{"name"},
		},
	} {
		response := diff(t, box, c.new)
		assert.Equal(t, c.diffs, response.Diffs, name)
		assert.Equal(t, c.replaces, response.Replaces, name)
		assert.Equal(t, c.before, response.DeleteBeforeReplace, name)
		assert.Equal(t, len(c.diffs) > 0, response.Changes == rpc.DiffResponse_DIFF_SOME, name)
	}
}

func TestUnknownValueOfAnImmutableInputPlansAReplacement(t *testing.T) {
	news, err := message(resource.PropertyMap{"name": resource.NewProperty("b"), "place": resource.MakeComputed(resource.NewProperty(""))})
	require.NoError(t, err)
	response, err := boxes(nil).Diff(t.Context(), &rpc.DiffRequest{Urn: urn, OldInputs: wire(t, Object{"name": "b", "place": "x"}), News: news})
	require.NoError(t, err)
	assert.Equal(t, []string{"place"}, response.Replaces)
}

func TestPreviewOfACreateLeavesOutputsUnknown(t *testing.T) {
	response, err := boxes(nil).Create(t.Context(), &rpc.CreateRequest{
		Urn: urn, Preview: true, Properties: wire(t, Object{"name": "b", "place": "shelf"}),
	})
	require.NoError(t, err)
	planned, err := properties(response.Properties)
	require.NoError(t, err)
	assert.True(t, planned["size"].IsComputed())
	assert.True(t, planned["color"].IsComputed())
	assert.Equal(t, "shelf", planned["place"].StringValue())
	assert.Empty(t, response.Id)
}

func TestRefreshSeesDriftButNotWhatTheServiceAdds(t *testing.T) {
	there := Object{
		"name": "b", "place": "shelf", "color": "grey", "note": "by hand", "size": 4.0,
		"shape": map[string]any{"corners": 4.0, "smooth": true},
	}
	inputs := Object{"name": "b", "place": "shelf", "shape": map[string]any{"corners": 4.0}, "force": true}
	response, err := boxes(there).Read(t.Context(), &rpc.ReadRequest{
		Urn: urn, Id: "b", Inputs: wire(t, inputs), Properties: wire(t, Object{"name": "b", "size": 3.0}),
	})
	require.NoError(t, err)
	want := Object{"note": "by hand"}
	for key, value := range inputs {
		want[key] = value
	}
	assert.Equal(t, want, plain(t, response.Inputs))
	assert.Equal(t, 4.0, plain(t, response.Properties)["size"])
	assert.Equal(t, true, plain(t, response.Properties)["force"])
}

func TestRefreshOfWhatIsGoneHasNoID(t *testing.T) {
	response, err := boxes(nil).Read(t.Context(), &rpc.ReadRequest{Urn: urn, Id: "b"})
	require.NoError(t, err)
	assert.Empty(t, response.Id)
}

func TestUnknownTypeSaysWhatToDo(t *testing.T) {
	_, err := boxes(nil).Check(t.Context(), &rpc.CheckRequest{Urn: "urn:pulumi:local::sluice::test:index:Bag::bag"})
	assert.ErrorContains(t, err, "use the official plugin, or add it to the table of types")
}
