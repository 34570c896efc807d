// Package documents reads from parameters of AWS Systems Manager what a deployment wrote there for its readers: the discovery documents of
// package discovery, and the access table of package access.
package documents

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/aws/smithy-go"

	"github.com/sluice-data/sluice/internal/access"
	"github.com/sluice-data/sluice/internal/discovery"
)

// ErrMissing says that a parameter, or the version of it that is asked for, is not there.
var ErrMissing = errors.New("it is not there")

// ErrDenied says that the caller may not read a parameter.
var ErrDenied = errors.New("access denied")

// Getter is the part of Systems Manager that Read needs.
type Getter interface {
	GetParameter(ctx context.Context, in *ssm.GetParameterInput, options ...func(*ssm.Options)) (*ssm.GetParameterOutput, error)
}

// Read reads the document of one country from the parameter of this name, which may have a version behind a colon. It returns ErrMissing,
// ErrDenied, or an error of discovery.Parse.
func Read(ctx context.Context, client Getter, name string) (discovery.Country, error) {
	stack, country, err := parts(name)
	if err != nil {
		return discovery.Country{}, err
	}
	got, err := client.GetParameter(ctx, &ssm.GetParameterInput{Name: &name})
	if err != nil {
		return discovery.Country{}, fmt.Errorf("parameter %s: %w", name, classified(err))
	}
	return discovery.Parse(stack, country, []byte(aws.ToString(got.Parameter.Value)))
}

// parts are stack and country in the name of a parameter.
func parts(name string) (stack, country string, err error) {
	bare, _, _ := strings.Cut(name, ":")
	if fields := strings.Split(bare, "/"); len(fields) == 5 && bare == discovery.ParameterName(fields[2], fields[4]) {
		return fields[2], fields[4], nil
	}
	return "", "", fmt.Errorf("%q is no name of a discovery document; those are like %s", name, discovery.ParameterName("prod", "us"))
}

// Found is the document of a country, or why it cannot be used.
type Found struct {
	Country discovery.Country
	Err     error
}

// List reads the documents of every country of a stack that are in the account and region that client works in, by code; none is no error.
// It returns ErrDenied when the caller may not read them.
func List(ctx context.Context, client ssm.GetParametersByPathAPIClient, stack string) (map[string]Found, error) {
	path := discovery.Path(stack)
	all := map[string]Found{}
	pages := ssm.NewGetParametersByPathPaginator(client, &ssm.GetParametersByPathInput{Path: &path})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("parameters below %s: %w", path, classified(err))
		}
		for _, p := range page.Parameters {
			code := strings.TrimPrefix(aws.ToString(p.Name), path+"/")
			country, err := discovery.Parse(stack, code, []byte(aws.ToString(p.Value)))
			all[code] = Found{country, err}
		}
	}
	return all, nil
}

// Table reads the access table of a stack as it is deployed in the account and region that client works in, by who; none is no error. It
// returns ErrDenied when the caller may not read it, or an error of access.Load.
func Table(ctx context.Context, client ssm.GetParametersByPathAPIClient, stack string) (map[string]access.Person, error) {
	path := access.Path(stack)
	values := map[string]string{}
	pages := ssm.NewGetParametersByPathPaginator(client, &ssm.GetParametersByPathInput{Path: &path, Recursive: aws.Bool(true)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("parameters below %s: %w", path, classified(err))
		}
		for _, p := range page.Parameters {
			values[aws.ToString(p.Name)] = aws.ToString(p.Value)
		}
	}
	return access.Load(stack, values)
}

// classified adds ErrMissing or ErrDenied to an error of Systems Manager that means it.
func classified(err error) error {
	var none *types.ParameterNotFound
	var noVersion *types.ParameterVersionNotFound
	if errors.As(err, &none) || errors.As(err, &noVersion) {
		return fmt.Errorf("%w: %w", ErrMissing, err)
	}
	var refused smithy.APIError
	if errors.As(err, &refused) && refused.ErrorCode() == "AccessDeniedException" {
		return fmt.Errorf("%w: %w", ErrDenied, err)
	}
	return err
}
