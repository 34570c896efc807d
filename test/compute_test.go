//go:build engine

package test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/emr"
	emrtypes "github.com/aws/aws-sdk-go-v2/service/emr/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/sluice-data/sluice/internal/compute"
)

// waits is a day whose file lands while its engine is off.
var waits = struct{ country, feed, day string }{"us", "planes", "2013-01-02"}

// computeGoesAndNothingElse switches everything off and deploys that: what costs by the hour is gone, and all else is what it was, byte
// by byte. A day that comes then waits. It returns the URNs of what is gone.
func computeGoesAndNothingElse(t *testing.T, d deployment, inputs string) (gone []string) {
	before, jobs, objects := d.state(t), d.sluice(t, "jobs", "--json"), d.objects(t)
	d.sluice(t, "compute", "off")
	d.pulumi(t, "up", "--yes", "--skip-preview", "--suppress-outputs", "--suppress-progress", "--parallel", "64")
	d.pulumi(t, "preview", "--expect-no-changes")
	after := d.state(t)
	for urn, r := range before {
		if cost, _ := compute.CostOf(r.Type, r.Inputs); cost.Class == compute.Hourly {
			gone = append(gone, urn)
		} else if after[urn].ID != r.ID {
			t.Errorf("%s was %q and is %q", urn, r.ID, after[urn].ID)
		}
	}
	for urn := range after {
		if _, there := before[urn]; !there || slices.Contains(gone, urn) {
			t.Errorf("%s is there while compute is off", urn)
		}
	}
	if len(gone) == 0 {
		t.Error("nothing cost by the hour")
	}
	if now := d.objects(t); !maps.Equal(now, objects) {
		t.Errorf("objects in the lake were\n%v\nand are\n%v", objects, now)
	}
	if now := d.sluice(t, "jobs", "--json"); now != jobs {
		t.Errorf("jobs were\n%s\nand are\n%s", jobs, now)
	}
	if left := d.clusters(t); len(left) > 0 {
		t.Errorf("clusters are left: %q", left)
	}
	d.put(t, 0, waits.country, waits.feed, waits.day, dayFiles(t, inputs, waits.country, waits.feed, waits.day)...)
	d.await(t, waits.country, waits.feed, waits.day, func(j job) bool { return j.State == "ready" })
	d.explains(t, waits.country, waits.feed+"/"+waits.day, "ready", "switch: ")
	return gone
}

// computeIsBack looks, after compute was switched on and deployed, for what was gone and for the day that waited.
func computeIsBack(t *testing.T, d deployment, gone []string) {
	d.pulumi(t, "preview", "--expect-no-changes")
	now := d.state(t)
	for _, urn := range gone {
		if now[urn].ID == "" {
			t.Errorf("%s is not back", urn)
		}
	}
	if j := d.ended(t, waits.country, waits.feed, waits.day); j.State != "succeeded" || j.Attempts != 1 {
		t.Errorf("the day that waited: %+v", j)
	}
}

// resource is a resource in the stack's state.
type resource struct {
	URN, ID, Type string
	Inputs        map[string]any
}

// state is what the stack is made of, by URN.
func (d deployment) state(t *testing.T) map[string]resource {
	t.Helper()
	var exported struct {
		Deployment struct{ Resources []resource }
	}
	text, err := d.command(t.Context(), "bin/pulumi", "stack", "export", "--stack", "local").Output()
	if err == nil {
		err = json.Unmarshal(text, &exported)
	}
	if err != nil {
		t.Fatalf("pulumi stack export: %v", err)
	}
	all := map[string]resource{}
	for _, r := range exported.Deployment.Resources {
		all[r.URN] = r
	}
	return all
}

// objects are the versions of all objects in the lake's buckets, with the hash of each.
func (d deployment) objects(t *testing.T) map[string]string {
	t.Helper()
	client := s3.NewFromConfig(account(decode[status](t, d, "local", "status")), func(o *s3.Options) { o.UsePathStyle = true })
	all := map[string]string{}
	for _, country := range decodeOutputs(t, d).Countries {
		for _, stage := range []string{"landing", "validated", "invalid", "versioned", "curated"} {
			bucket := country.Buckets[stage]
			pages := s3.NewListObjectVersionsPaginator(client, &s3.ListObjectVersionsInput{Bucket: &bucket})
			for pages.HasMorePages() {
				page, err := pages.NextPage(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				for _, v := range page.Versions {
					all[fmt.Sprint(bucket, "/", *v.Key, " ", *v.VersionId)] = *v.ETag
				}
			}
		}
	}
	return all
}

// clusters are the ids of the EMR clusters that are up.
func (d deployment) clusters(t *testing.T) (ids []string) {
	t.Helper()
	listed, err := emr.NewFromConfig(account(decode[status](t, d, "local", "status"))).ListClusters(t.Context(), &emr.ListClustersInput{ClusterStates: []emrtypes.ClusterState{
		emrtypes.ClusterStateStarting, emrtypes.ClusterStateBootstrapping, emrtypes.ClusterStateRunning, emrtypes.ClusterStateWaiting}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range listed.Clusters {
		ids = append(ids, *c.Id)
	}
	return ids
}
