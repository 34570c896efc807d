// Package parameters keeps the switch of package compute in parameters of AWS Systems Manager.
package parameters

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/sluice-data/sluice/internal/compute"
	"github.com/sluice-data/sluice/internal/discovery"
)

// Client is the part of Systems Manager that Parameters needs.
type Client interface {
	ssm.GetParametersByPathAPIClient
	PutParameter(ctx context.Context, in *ssm.PutParameterInput, options ...func(*ssm.Options)) (*ssm.PutParameterOutput, error)
}

// Parameters are the parameters of one country's parts.
type Parameters struct {
	client         Client
	stack, country string
}

// New returns the parameters of a country, in the account and region that client works in.
func New(client Client, stack, country string) Parameters {
	return Parameters{client, stack, country}
}

// Of returns the parameters of the country that a function belongs to.
func Of(client Client, country discovery.Country) Parameters {
	return New(client, country.Stack, country.Country)
}

// Read reads which parts are off.
func (p Parameters) Read(ctx context.Context) (compute.Switches, error) {
	path := compute.Path(p.stack, p.country)
	var names, values []string
	pages := ssm.NewGetParametersByPathPaginator(p.client, &ssm.GetParametersByPathInput{Path: &path})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return compute.Switches{}, fmt.Errorf("parameters below %s: %w", path, err)
		}
		for _, found := range page.Parameters {
			names, values = append(names, aws.ToString(found.Name)), append(values, aws.ToString(found.Value))
		}
	}
	return compute.Read(names, values)
}

// Write records whether a part is on.
func (p Parameters) Write(ctx context.Context, part string, on bool) error {
	name, value := compute.ParameterName(p.stack, p.country, part), compute.Off
	if on {
		value = compute.On
	}
	_, err := p.client.PutParameter(ctx, &ssm.PutParameterInput{Name: &name, Value: &value, Type: types.ParameterTypeString, Overwrite: aws.Bool(true)})
	if err != nil {
		return fmt.Errorf("parameter %s: %w", name, err)
	}
	return nil
}

// Off returns the engines that are off, each with the reason in a sentence.
func (p Parameters) Off(ctx context.Context) (map[string]string, error) {
	switches, err := p.Read(ctx)
	if err != nil {
		return nil, err
	}
	off := map[string]string{}
	for engine, part := range compute.EngineParts {
		if blocker := switches.Blocker(part); blocker != "" {
			off[engine] = fmt.Sprintf("%s is switched off: sluice compute on --part %s --country %s --stack %s", blocker, blocker, p.country, p.stack)
		}
	}
	return off, nil
}
