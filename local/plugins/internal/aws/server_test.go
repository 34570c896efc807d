package aws

import (
	"archive/zip"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfbridge"
	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfbridge/info"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/archive"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/asset"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
	"github.com/pulumi/pulumi/sdk/v3/go/common/util/rpcutil/rpcerror"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/sluice-data/sluice/local/plugins/internal/terraform"
)

const (
	functionURN = "urn:pulumi:local::sluice::aws:lambda/function:Function::receive-file"
	bucketURN   = "urn:pulumi:local::sluice::aws:s3/bucketV2:BucketV2::Landing"
)

// bridge answers as the bridge's server would, and remembers what it was asked.
type bridge struct {
	pulumirpc.UnimplementedResourceProviderServer
	asked    *structpb.Struct
	replaces []string
	failure  error
}

func (b *bridge) Check(_ context.Context, r *pulumirpc.CheckRequest) (*pulumirpc.CheckResponse, error) {
	b.asked = r.GetNews()
	return &pulumirpc.CheckResponse{Inputs: r.GetNews()}, nil
}

func (b *bridge) Diff(_ context.Context, r *pulumirpc.DiffRequest) (*pulumirpc.DiffResponse, error) {
	return &pulumirpc.DiffResponse{Replaces: b.replaces}, nil
}

func (b *bridge) Create(ctx context.Context, r *pulumirpc.CreateRequest) (*pulumirpc.CreateResponse, error) {
	b.asked = r.GetProperties()
	if b.failure != nil {
		terraform.Fail(ctx, b.failure)
	}
	return &pulumirpc.CreateResponse{Id: "the-id", Properties: r.GetProperties()}, nil
}

func serverBefore(t *testing.T, b *bridge) *server {
	t.Helper()
	t.Setenv("PULUMI_HOME", t.TempDir())
	s, err := newServer(b, map[string]*info.Resource{
		"aws_s3_bucket": {Tok: "aws:s3/bucketV2:BucketV2", Fields: map[string]*info.Schema{"bucket": tfbridge.AutoName("bucket", 63, "-")}},
	})
	require.NoError(t, err)
	return s
}

func properties(t *testing.T, m resource.PropertyMap) *structpb.Struct {
	t.Helper()
	s, err := plugin.MarshalProperties(m, marshalling)
	require.NoError(t, err)
	return s
}

func TestArchiveReachesTheProviderAsAFileOfItsContent(t *testing.T) {
	b := &bridge{}
	s := serverBefore(t, b)
	text, err := asset.FromText("#!/bin/sh\n")
	require.NoError(t, err)
	code, err := archive.FromAssets(map[string]any{"bootstrap": text})
	require.NoError(t, err)
	inputs := resource.PropertyMap{"code": resource.NewArchiveProperty(code)}

	r, err := s.Check(t.Context(), &pulumirpc.CheckRequest{Urn: functionURN, News: properties(t, inputs)})

	require.NoError(t, err)
	path := b.asked.GetFields()["code"].GetStringValue()
	assert.Equal(t, filepath.Join(os.Getenv("PULUMI_HOME"), "assets", code.Hash+".zip"), path)
	assert.Equal(t, map[string]string{"bootstrap": "#!/bin/sh\n"}, unzip(t, path))
	assert.Equal(t, code.Hash, b.asked.GetFields()["sourceCodeHash"].GetStringValue())
	checked, err := plugin.UnmarshalProperties(r.GetInputs(), marshalling)
	require.NoError(t, err)
	assert.True(t, checked["code"].IsArchive(), "the engine sees the archive again, not %v", checked["code"])
}

func TestRecordedArchiveWithoutContentNamesTheSameFile(t *testing.T) {
	b := &bridge{}
	s := serverBefore(t, b)
	recorded := resource.PropertyMap{"code": resource.NewArchiveProperty(&archive.Archive{Sig: archive.ArchiveSig, Hash: "abc"})}

	_, err := s.Create(t.Context(), &pulumirpc.CreateRequest{Urn: functionURN, Properties: properties(t, recorded)})

	require.NoError(t, err)
	assert.Equal(t, filepath.Join(os.Getenv("PULUMI_HOME"), "assets", "abc.zip"), b.asked.GetFields()["code"].GetStringValue())
}

func TestReplacementIsDeletedFirstOnlyUnderItsOwnFixedName(t *testing.T) {
	for name, c := range map[string]struct {
		old, new     string
		replaces     []string
		deletedFirst bool
	}{
		"fixed name":           {old: "sluice-landing", new: "sluice-landing", replaces: []string{"objectLockEnabled"}, deletedFirst: true},
		"fixed name changed":   {old: "sluice-landing", new: "sluice-lake", replaces: []string{"bucket"}},
		"generated name":       {old: "landing-0a1b2c3", new: "landing-0a1b2c3", replaces: []string{"objectLockEnabled"}},
		"update, no replacing": {old: "sluice-landing", new: "sluice-landing"},
	} {
		t.Run(name, func(t *testing.T) {
			s := serverBefore(t, &bridge{replaces: c.replaces})
			named := func(name string) *structpb.Struct {
				return properties(t, resource.PropertyMap{"bucket": resource.NewStringProperty(name)})
			}

			r, err := s.Diff(t.Context(), &pulumirpc.DiffRequest{Urn: bucketURN, Olds: named(c.old), News: named(c.new)})

			require.NoError(t, err)
			assert.Equal(t, c.deletedFirst, r.GetDeleteBeforeReplace())
		})
	}
}

func TestResourceThatFailedHalfwayStaysInTheState(t *testing.T) {
	s := serverBefore(t, &bridge{failure: errors.New("tagging: access denied")})
	inputs := properties(t, resource.PropertyMap{"bucket": resource.NewStringProperty("sluice-landing")})

	_, err := s.Create(t.Context(), &pulumirpc.CreateRequest{Urn: bucketURN, Properties: inputs})

	told, ok := rpcerror.FromError(err)
	require.True(t, ok, "%v", err)
	require.Len(t, told.Details(), 1)
	state := told.Details()[0].(*pulumirpc.ErrorResourceInitFailed)
	assert.Equal(t, "the-id", state.GetId())
	assert.Equal(t, []string{"tagging: access denied"}, state.GetReasons())
	assert.Equal(t, "sluice-landing", state.GetProperties().GetFields()["bucket"].GetStringValue())
}

func unzip(t *testing.T, path string) map[string]string {
	t.Helper()
	r, err := zip.OpenReader(path)
	require.NoError(t, err)
	defer r.Close()
	files := map[string]string{}
	for _, f := range r.File {
		in, err := f.Open()
		require.NoError(t, err)
		data, err := io.ReadAll(in)
		require.NoError(t, err)
		files[f.Name] = string(data)
	}
	return files
}
