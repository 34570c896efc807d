package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/smithy-go/logging"

	"github.com/sluice-data/sluice/internal/access"
	"github.com/sluice-data/sluice/internal/awshttp"
	"github.com/sluice-data/sluice/internal/discovery"
)

// outputs is what the program of a stack exports, as far as this command reads it.
type outputs struct {
	Countries map[string]country `json:"countries"`
}

// country names the deployed parts of one country.
type country struct {
	Region    string              `json:"region"`
	TimeZone  string              `json:"timeZone"`
	Parallel  int                 `json:"parallel"`
	Queues    discovery.Queues    `json:"queues"`
	Topics    discovery.Topics    `json:"topics"`
	Buckets   discovery.Buckets   `json:"buckets"`
	Databases discovery.Databases `json:"databases"`
	Tables    discovery.Tables    `json:"tables"`
	Workgroup string              `json:"workgroup"`
	Dataset   string              `json:"dataset"`
	Feeds     map[string]feed     `json:"feeds"`
	Access    map[string]granted  `json:"access"`
	DataKey   string              `json:"dataKey"` // DataKey is the ARN of the key that records are encrypted with.

	Application string `json:"application"` // Application is the id of the application on EMR Serverless.
}

// zone is the country's time zone.
func (c country) zone() (*time.Location, error) {
	return discovery.Country{TimeZone: c.TimeZone}.Location()
}

// granted is what the access table lets somebody do in a country.
type granted struct {
	Role  string        `json:"role"` // Role is the ARN of the role to take.
	Rules []access.Rule `json:"rules"`
}

// feed says how the days of a feed become complete.
type feed struct {
	Completeness string `json:"completeness"`
	Marker       string `json:"marker"`
	ClientSide   bool   `json:"clientSide"` // ClientSide says that who puts a file encrypts it.
}

// codes returns the codes of the countries to work on: the one that was asked for, or all of them, sorted.
func (o outputs) codes(asked string) ([]string, error) {
	all := slices.Sorted(maps.Keys(o.Countries))
	if asked == "" {
		return all, nil
	}
	if _, ok := o.Countries[asked]; !ok {
		return nil, usagef("no country %q in the stack; it has %s", asked, listed(all))
	}
	return []string{asked}, nil
}

// feed finds a feed of a country, or says which feeds there are.
func (o outputs) feed(code, name string) (feed, error) {
	f, ok := o.Countries[code].Feeds[name]
	if !ok {
		return feed{}, usagef("no feed %q in country %q; it has %s", name, code, listed(slices.Sorted(maps.Keys(o.Countries[code].Feeds))))
	}
	return f, nil
}

func listed(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// stackOutputs asks Pulumi what the stack exports.
func stackOutputs(ctx context.Context, stack string) (outputs, error) {
	root, err := checkout()
	if err != nil {
		return outputs{}, err
	}
	if stack == localStack {
		if _, err := runningCloud(localHome(root)); err != nil {
			return outputs{}, err
		}
	}
	text, err := pulumi(ctx, root, "stack", "output", "--json", "--stack", stack)
	if err != nil {
		return outputs{}, fmt.Errorf("stack %q: %w; has it been deployed (make up STACK=%s)?", stack, err, stack)
	}
	var o outputs
	if err := json.Unmarshal(text, &o); err != nil {
		return outputs{}, fmt.Errorf("stack %q: outputs: %w", stack, err)
	}
	if len(o.Countries) == 0 {
		return outputs{}, fmt.Errorf("stack %q: no country is deployed; run 'make up STACK=%s'", stack, stack)
	}
	return o, nil
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

// awsConfig returns credentials and endpoint of the stack's AWS: the usual chain, or the local cloud.
func awsConfig(ctx context.Context, stack, region string) (aws.Config, error) {
	options := []func(*config.LoadOptions) error{
		config.WithRegion(region),
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
		options = append(options,
			config.WithBaseEndpoint(cloud.Endpoints["aws"]),
			config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider(cloud.Account, localSecret, "")))
	}
	cfg, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return aws.Config{}, fmt.Errorf("aws configuration: %w", err)
	}
	cfg.HTTPClient = awshttp.New(cfg.HTTPClient)
	return cfg, nil
}
