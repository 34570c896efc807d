package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/smithy-go/logging"

	"github.com/sluice-data/sluice/internal/access"
	"github.com/sluice-data/sluice/internal/awshttp"
	"github.com/sluice-data/sluice/internal/discovery/documents"
)

// deployed is the documents of the countries of a stack that the caller's account and region have, by code.
type deployed map[string]documents.Found

// feed says how the days of a feed become complete.
type feed struct {
	Completeness string
	Marker       string
	ClientSide   bool // ClientSide says that who puts a file encrypts it.
}

// codes returns the codes of the countries to work on: the one that was asked for, or all of them, sorted. One whose document cannot be
// used keeps back who asks for it, and who asks for all.
func (d deployed) codes(asked string) ([]string, error) {
	codes := slices.Sorted(maps.Keys(d))
	if asked != "" {
		if _, ok := d[asked]; !ok {
			return nil, usagef("no country %q in the stack; it has %s", asked, listed(codes))
		}
		codes = []string{asked}
	}
	var faults []error
	for _, code := range codes {
		faults = append(faults, d[code].Err)
	}
	return codes, errors.Join(faults...)
}

func listed(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// discover finds the countries of a stack by their documents, with the caller's own credentials, in the region that they name.
func discover(ctx context.Context, stack string) (deployed, error) {
	client, region, err := parameterStore(ctx, stack)
	if err != nil {
		return nil, err
	}
	found, err := documents.List(ctx, client, stack)
	switch {
	case errors.Is(err, documents.ErrDenied):
		return nil, fmt.Errorf("stack %q: %w; whoever works on the stack may ssm:GetParametersByPath there: every role of the access table does", stack, err)
	case err != nil:
		return nil, fmt.Errorf("stack %q: %w", stack, err)
	case len(found) == 0 && stack == localStack:
		return nil, errors.New("stack \"local\": no country is deployed; run 'make demo', or 'make up STACK=local'")
	case len(found) == 0:
		return nil, fmt.Errorf("stack %q: no country of it is in region %s of the account that your AWS credentials are of; name another region (AWS_REGION) "+
			"or profile (AWS_PROFILE), or deploy the stack (make up STACK=%s)", stack, region, stack)
	}
	return found, nil
}

// accessTable reads the access table as it is deployed, by who.
func accessTable(ctx context.Context, stack string) (map[string]access.Person, error) {
	client, region, err := parameterStore(ctx, stack)
	if err != nil {
		return nil, err
	}
	table, err := documents.Table(ctx, client, stack)
	switch {
	case errors.Is(err, documents.ErrDenied):
		return nil, fmt.Errorf("stack %q: %w; operators and those who deploy may read the access table", stack, err)
	case err != nil:
		return nil, fmt.Errorf("stack %q: %w", stack, err)
	case len(table) == 0:
		return nil, fmt.Errorf("stack %q: no access table is deployed in region %s; where it has one, it is in the region of sluice:aws", stack, region)
	}
	return table, nil
}

// stackForm is what the deployment lets a stack be called.
var stackForm = regexp.MustCompile(`^[a-z][a-z0-9]*$`)

// parameterStore reaches the parameters of a stack in the caller's account and region. It needs neither a checkout nor Pulumi, but for the
// stack local, whose cloud is started in one.
func parameterStore(ctx context.Context, stack string) (client *ssm.Client, region string, err error) {
	if !stackForm.MatchString(stack) {
		return nil, "", usagef("%q is no stack's name: those are a letter, then letters and digits, as in Pulumi.<stack>.yaml", stack)
	}
	cfg, err := awsConfig(ctx, stack, "")
	if err != nil {
		return nil, "", err
	}
	if cfg.Region == "" {
		return nil, "", fmt.Errorf("stack %q: no AWS region: set AWS_REGION, or the region of your profile, to the one of sluice:aws in the stack's file", stack)
	}
	if _, err := cfg.Credentials.Retrieve(ctx); err != nil {
		return nil, "", fmt.Errorf("stack %q: no AWS credentials: log in, for example with 'aws sso login', or name a profile in AWS_PROFILE (%w)", stack, err)
	}
	return ssm.NewFromConfig(cfg), cfg.Region, nil
}

// pulumi runs the checkout's Pulumi command and returns what it printed.
func pulumi(ctx context.Context, root string, args ...string) ([]byte, error) {
	cmd := pulumiCommand(ctx, root, args...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("pulumi %s: %w: %s", args[0], err, strings.TrimSpace(errOut.String()))
	}
	return out.Bytes(), nil
}

func pulumiCommand(ctx context.Context, root string, args ...string) *exec.Cmd {
	path := filepath.Join(root, "bin", "pulumi")
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir = root
	// The wrapper reads SLUICE_HOME too: both must mean the same folder, from whichever directory they are called.
	cmd.Env = append(os.Environ(), "SLUICE_HOME="+localHome(root))
	return cmd
}

// checkout finds the folder that holds Pulumi.yaml: the nearest above the working directory, or else above this binary.
func checkout() (string, error) {
	var starts []string
	if dir, err := os.Getwd(); err == nil {
		starts = append(starts, dir)
	}
	if exe, err := os.Executable(); err == nil {
		if exe, err = filepath.EvalSymlinks(exe); err == nil {
			starts = append(starts, filepath.Dir(exe))
		}
	}
	for _, dir := range starts {
		for {
			text, err := os.ReadFile(filepath.Join(dir, "Pulumi.yaml"))
			if err == nil && bytes.Contains(text, []byte("name: sluice\n")) {
				return dir, nil
			}
			parent := filepath.Dir(dir)
			if parent == dir {
				break
			}
			dir = parent
		}
	}
	return "", errors.New("no Pulumi.yaml of sluice here or above; run the command inside a checkout")
}

// awsConfig returns credentials and endpoint of the stack's AWS: the usual chain, or the local cloud. Without a region it is the one that the
// chain names, or the local cloud's.
func awsConfig(ctx context.Context, stack, region string) (aws.Config, error) {
	options := []func(*config.LoadOptions) error{
		config.WithLogger(logging.Nop{}), // what the SDK warns of it also repeats; what fails in the end is returned
	}
	if stack == localStack {
		root, err := checkout()
		if err != nil {
			return aws.Config{}, err
		}
		cloud, err := runningCloud(localHome(root))
		if err != nil {
			return aws.Config{}, err
		}
		region = cmp.Or(region, cloud.Region)
		options = append(options,
			config.WithBaseEndpoint(cloud.Endpoints["aws"]),
			config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider(cloud.Account, localSecret, "")))
	}
	if region != "" {
		options = append(options, config.WithRegion(region))
	}
	cfg, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return aws.Config{}, fmt.Errorf("aws configuration: %w", err)
	}
	cfg.HTTPClient = awshttp.New(cfg.HTTPClient)
	return cfg, nil
}
