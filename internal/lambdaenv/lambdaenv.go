// Package lambdaenv starts a Lambda function with what it finds in its environment: its country's discovery document, its role's
// credentials, its region, and where AWS answers.
//
// The SDK's own loader (config.LoadDefaultConfig) would also look for files, profiles, instance metadata and single sign-on, none of which
// a function has: a tenth of every package, and time at each cold start.
package lambdaenv

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"github.com/sluice-data/sluice/internal/awshttp"
	"github.com/sluice-data/sluice/internal/discovery"
	"github.com/sluice-data/sluice/internal/discovery/documents"
	"github.com/sluice-data/sluice/internal/metrics"
)

// attempts is how often a call to AWS is tried: throttling must not fail a whole invocation.
const attempts = 6

// Start hands the function's events to the handler that wire makes, in any of the forms that lambda.Start takes. wire does not touch the
// network. Start does not return.
//
// The document is read once, while Lambda initializes the function, which gives that the most of a processor: the environment names its
// version, so what was read stays true for as long as this process lives. A function that cannot read it ends, and Lambda starts it again
// with the next event: https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html
func Start(wire func(country discovery.Country, cfg aws.Config) (handler any, err error)) {
	cfg := config()
	country, err := read(context.Background(), cfg)
	slog.SetDefault(logger(os.Stderr, country))
	if err != nil {
		end(err)
	}
	handler, err := wire(country, cfg)
	if err != nil {
		end(err)
	}
	lambda.Start(handler)
}

// read reads the document that the environment names. A deployment may invoke the function as soon as its role is there.
func read(ctx context.Context, cfg aws.Config) (discovery.Country, error) {
	name := os.Getenv(discovery.EnvVar)
	if name == "" {
		return discovery.Country{}, errors.New("environment variable " + discovery.EnvVar + " is empty; deploy the function with its stack")
	}
	return documents.Read(ctx, ssm.NewFromConfig(NewRole(cfg)), name)
}

func end(err error) {
	slog.Error(err.Error())
	os.Exit(1)
}

// config is the configuration of AWS clients.
func config() aws.Config {
	cfg := aws.Config{
		// What Lambda sets: https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
		Region:      os.Getenv("AWS_REGION"),
		Credentials: credentials.NewStaticCredentialsProvider(os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_SECRET_ACCESS_KEY"), os.Getenv("AWS_SESSION_TOKEN")),

		HTTPClient:       awshttp.New(nil),
		RetryMaxAttempts: attempts,
		ConfigSources:    []any{endpoints{}},
	}
	if url := os.Getenv(endpointVariable); url != "" {
		cfg.BaseEndpoint = &url
	}
	return cfg
}

// endpointVariable says where AWS answers, and with the name of a service after it, where that one does:
// https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html
const endpointVariable = "AWS_ENDPOINT_URL"

// endpoints tells clients where single services answer.
type endpoints struct{}

// GetServiceBaseEndpoint is what clients ask for.
func (endpoints) GetServiceBaseEndpoint(_ context.Context, service string) (string, bool, error) {
	url := os.Getenv(endpointVariable + "_" + strings.ToUpper(strings.ReplaceAll(service, " ", "_")))
	return url, url != "", nil
}

// logger writes one JSON object a line, as CloudWatch reads it, each with the stack and country that it is about.
func logger(out io.Writer, country discovery.Country) *slog.Logger {
	l := slog.New(slog.NewJSONHandler(out, nil))
	if country.Country == "" {
		return l // the document is not to be read, which the first line says
	}
	return l.With(metrics.Stack, country.Stack, metrics.Country, country.Country)
}
