// Package lambdaenv is what a Lambda function finds in its environment: its role's credentials, its region, and where AWS answers.
//
// The SDK's own loader would also look for files, profiles, instance metadata and single sign-on, none of which a function has: half
// a megabyte of every zip, and time at each cold start.
package lambdaenv

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"

	"github.com/sluice-data/sluice/internal/awshttp"
	"github.com/sluice-data/sluice/internal/metrics"
	"github.com/sluice-data/sluice/internal/settings"
)

// attempts is how often a call to AWS is tried: throttling must not fail a whole invocation.
const attempts = 6

// AWS is the configuration of AWS clients. It does not touch the network.
func AWS() (aws.Config, error) {
	env, err := config.NewEnvConfig()
	if err != nil {
		return aws.Config{}, fmt.Errorf("aws environment: %w", err)
	}
	cfg := aws.Config{
		Region:           env.Region,
		HTTPClient:       awshttp.New(nil),
		RetryMaxAttempts: attempts,
		ConfigSources:    []any{env}, // what else is set by AWS_… variables, for example endpoints of single services
		Credentials:      aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return env.Credentials, nil }),
	}
	if env.BaseEndpoint != "" {
		cfg.BaseEndpoint = &env.BaseEndpoint // AWS_ENDPOINT_URL, which clients leave to the loader
	}
	return cfg, nil
}

// Log makes the process's log one JSON object a line, as CloudWatch reads it, each with the stack and country that it is about.
func Log() { slog.SetDefault(logger(os.Stderr)) }

func logger(out io.Writer) *slog.Logger {
	l := slog.New(slog.NewJSONHandler(out, nil))
	country, err := settings.FromEnv()
	if err != nil {
		return l // who needs the settings says what is wrong with them
	}
	return l.With(metrics.Stack, country.Stack, metrics.Country, country.Country)
}
