// Package main is the Pulumi program: it reads a stack's configuration, builds what is deployed, and composes the components of
// package infra, the shared things first, then each country by itself. It creates no resource of its own.
package main

import "github.com/pulumi/pulumi/sdk/v3/go/pulumi"

func main() {
	var run pulumi.RunInfo
	pulumi.Run(func(ctx *pulumi.Context) error {
		config, err := ReadConfig(ctx.Stack(), run.Config, ctx.RootDirectory())
		if err != nil {
			return err
		}
		return Deploy(ctx, config)
	}, func(info *pulumi.RunInfo) { run = *info })
}
