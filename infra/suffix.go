package infra

import (
	"github.com/pulumi/pulumi-random/sdk/v4/go/random"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// NewSuffix creates the eight random letters that end the names which must be unique in the world. They stay as long as the country
// does.
func NewSuffix(ctx *pulumi.Context, name string, opts ...pulumi.ResourceOption) (pulumi.StringOutput, error) {
	id, err := random.NewRandomId(ctx, name, &random.RandomIdArgs{ByteLength: pulumi.Int(4)}, opts...)
	if err != nil {
		return pulumi.StringOutput{}, err
	}
	return id.Hex, nil
}
