package infra

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/s3"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// The jobs' starts, below the folder that has the package jobs.
const (
	JobMain    = "jobs/records/main.py" // JobMain is the record job's.
	UpkeepMain = "jobs/upkeep/main.py"  // UpkeepMain is the upkeep's.
)

// ContractKey is a feed's compiled contract in the artifacts bucket.
func ContractKey(feed string) string { return "contracts/" + feed + ".json" }

// Hash is the SHA-256 of a text in hexadecimal.
func Hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// JobPackageArgs is what a JobPackage is made of.
type JobPackageArgs struct {
	Bucket    pulumi.StringInput // Bucket is the artifacts bucket.
	Root      string             // Root is the folder that has the package jobs.
	Package   string             // Package is the path of the packed jobs, from PackJobs.
	Contracts map[string]string  // Contracts are the compiled contracts by feed.
}

// JobPackage is what engines run and by which contracts: the jobs' starts and their package, and each feed's contract.
type JobPackage struct {
	pulumi.ResourceState

	MainKey    string // MainKey is the record job's start in the artifacts bucket.
	UpkeepKey  string // UpkeepKey is the upkeep's.
	PackageKey string // PackageKey is the zip of its package there.
}

// PackJobs packs the Python package jobs of root into the folder out and returns the path of the zip. The same source gives the
// same zip.
func PackJobs(root, out string) (string, error) {
	files, err := pythonPackage(root, "jobs")
	if err != nil {
		return "", fmt.Errorf("jobs: %w", err)
	}
	zipped, err := zipFiles(files)
	if err != nil {
		return "", fmt.Errorf("jobs: %w", err)
	}
	file := filepath.Join(out, "jobs.zip")
	if err := replaceFile(file, zipped); err != nil {
		return "", fmt.Errorf("jobs: %w", err)
	}
	return file, nil
}

// NewJobPackage creates a JobPackage.
func NewJobPackage(ctx *pulumi.Context, name string, args *JobPackageArgs, opts ...pulumi.ResourceOption) (*JobPackage, error) {
	packed, err := os.ReadFile(args.Package)
	if err != nil {
		return nil, fmt.Errorf("job package %q: %w", name, err)
	}
	// The keys carry the package's hash, and a package that is replaced stays: Spark fetches it more than once while a step starts, and
	// fails when a deployment changes it in between.
	folder := "jobs/" + Hash(string(packed))[:16] + "/"
	p := &JobPackage{MainKey: folder + "main.py", UpkeepKey: folder + "upkeep.py", PackageKey: folder + "jobs.zip"}
	if err := register(ctx, "sluice:compute:JobPackage", name, p, opts); err != nil {
		return nil, err
	}
	for _, file := range []struct{ child, key, path string }{
		{name + "-main", p.MainKey, filepath.Join(args.Root, filepath.FromSlash(JobMain))},
		{name + "-upkeep", p.UpkeepKey, filepath.Join(args.Root, filepath.FromSlash(UpkeepMain))},
		{name + "-package", p.PackageKey, args.Package},
	} {
		if _, err := os.Stat(file.path); err != nil {
			return nil, fmt.Errorf("job package %q: %w", name, err)
		}
		if _, err := s3.NewBucketObjectv2(ctx, file.child, &s3.BucketObjectv2Args{Bucket: args.Bucket, Key: pulumi.String(file.key), Source: pulumi.NewFileAsset(file.path)},
			pulumi.Parent(p), pulumi.RetainOnDelete(true)); err != nil {
			return nil, err
		}
	}
	for _, feed := range sortedNames(args.Contracts) {
		if _, err := s3.NewBucketObjectv2(ctx, name+"-contract-"+feed, &s3.BucketObjectv2Args{Bucket: args.Bucket, Key: pulumi.String(ContractKey(feed)),
			ContentType: pulumi.String("application/json"), Content: pulumi.String(args.Contracts[feed])}, pulumi.Parent(p)); err != nil {
			return nil, err
		}
	}
	return p, ctx.RegisterResourceOutputs(p, pulumi.Map{"mainKey": pulumi.String(p.MainKey), "packageKey": pulumi.String(p.PackageKey)})
}
