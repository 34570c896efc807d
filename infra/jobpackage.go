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

// Keys of the record job's parts in the artifacts bucket.
const (
	JobMainKey    = "jobs/records/main.py"
	JobPackageKey = "jobs/jobs.zip"
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

// JobPackage is what engines run and by which contracts: the record job and its package, and each feed's contract.
type JobPackage struct {
	pulumi.ResourceState
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
	main := filepath.Join(args.Root, filepath.FromSlash(JobMainKey))
	if _, err := os.Stat(main); err != nil {
		return nil, fmt.Errorf("job package %q: %w", name, err)
	}
	p := &JobPackage{}
	if err := register(ctx, "sluice:compute:JobPackage", name, p, opts); err != nil {
		return nil, err
	}
	if _, err := s3.NewBucketObjectv2(ctx, name+"-main", &s3.BucketObjectv2Args{Bucket: args.Bucket, Key: pulumi.String(JobMainKey), Source: pulumi.NewFileAsset(main)}, pulumi.Parent(p)); err != nil {
		return nil, err
	}
	if _, err := s3.NewBucketObjectv2(ctx, name+"-package", &s3.BucketObjectv2Args{Bucket: args.Bucket, Key: pulumi.String(JobPackageKey), Source: pulumi.NewFileAsset(args.Package)}, pulumi.Parent(p)); err != nil {
		return nil, err
	}
	for _, feed := range sortedNames(args.Contracts) {
		if _, err := s3.NewBucketObjectv2(ctx, name+"-contract-"+feed, &s3.BucketObjectv2Args{Bucket: args.Bucket, Key: pulumi.String(ContractKey(feed)),
			ContentType: pulumi.String("application/json"), Content: pulumi.String(args.Contracts[feed])}, pulumi.Parent(p)); err != nil {
			return nil, err
		}
	}
	return p, ctx.RegisterResourceOutputs(p, pulumi.Map{"mainKey": pulumi.String(JobMainKey), "packageKey": pulumi.String(JobPackageKey)})
}
