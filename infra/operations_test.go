package infra

import "github.com/pulumi/pulumi/sdk/v3/go/pulumi"

// operations is what people run a country with.
func (e example) operations(ctx *pulumi.Context, p parts) error {
	pipeline, _, err := e.pipeline(ctx, p)
	if err != nil {
		return err
	}
	alarms, err := NewAlarms(ctx, "us", &AlarmsArgs{Prefix: "sluice-prod-us", Stack: "prod", Country: "us", AlertsARN: p.messaging.AlertsARN,
		Functions: pipeline.Functions, Queues: p.messaging.Queues, Tags: tags})
	if err != nil {
		return err
	}
	if _, err := NewDashboard(ctx, "us", &DashboardArgs{DashboardName: "sluice-prod-us", Stack: "prod", Country: "us", Account: "111122223333", Region: "eu-west-1",
		Functions: pipeline.Functions, Queues: p.messaging.Queues, Alarms: alarms.Names}); err != nil {
		return err
	}
	_, err = NewBudget(ctx, "us", &BudgetArgs{BudgetName: "sluice-prod-us", Country: "us", AlertsARN: p.messaging.AlertsARN, Tags: tags})
	return err
}

func (e example) trail(ctx *pulumi.Context) (*Trail, error) {
	return NewTrail(ctx, "shared-111122223333", &TrailArgs{TrailName: "sluice-prod", Account: "111122223333", Region: "eu-west-1",
		BucketName: pulumi.String("sluicetrail-prod-1a2b3c4d"), LakePrefix: "sluice-prod-", Protect: e.protect,
		Tags: map[string]string{"Product": "sluice", "Stack": "prod", "Country": "shared"}})
}
