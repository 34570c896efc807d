package main

import (
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/sluice-data/sluice/infra"
)

// newOperations creates what people run the country with: alarms, a dashboard of them, and a budget.
func newOperations(ctx *pulumi.Context, config *Config, country *Country, name string, messaging *infra.Messaging, pipeline *infra.Pipeline, tags map[string]string, child pulumi.ResourceOption) error {
	alarms, err := infra.NewAlarms(ctx, country.Code, &infra.AlarmsArgs{Prefix: name, Stack: config.Stack, Country: country.Code,
		AlertsARN: messaging.AlertsARN, Functions: pipeline.Functions, Queues: messaging.Queues, Polling: pipeline.Polling, Tags: tags}, child)
	if err != nil {
		return err
	}
	if _, err := infra.NewDashboard(ctx, country.Code, &infra.DashboardArgs{DashboardName: name, Stack: config.Stack, Country: country.Code,
		Account: country.Account, Region: country.Region, Functions: pipeline.Functions, Queues: messaging.Queues, Alarms: alarms.Names}, child); err != nil {
		return err
	}
	_, err = infra.NewBudget(ctx, country.Code, &infra.BudgetArgs{BudgetName: name, Country: country.Code, MonthlyUSD: country.BudgetUSD, AlertsARN: messaging.AlertsARN, Tags: tags}, child)
	return err
}
