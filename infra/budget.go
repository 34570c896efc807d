package infra

import (
	"strconv"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/budgets"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// BudgetArgs is what a Budget is made of.
type BudgetArgs struct {
	BudgetName string             // BudgetName is the budget's physical name.
	Country    string             // Country is the value of the cost-allocation tag Country whose costs are counted.
	MonthlyUSD int                // MonthlyUSD is what the country may cost in a month, in US dollars, 500 by default: a few days' files, clusters that end when idle.
	AlertsARN  pulumi.StringInput // AlertsARN is the topic that hears of it.
	Tags       map[string]string  // Tags go on everything that takes tags.
}

// Budget tells people when a country is about to cost more in a month than it should: once when 80 % are forecast, and once when all
// of it is spent. AWS counts by the tag Country from the day on which somebody activates it as a cost-allocation tag.
type Budget struct {
	pulumi.ResourceState
}

// NewBudget creates a Budget.
func NewBudget(ctx *pulumi.Context, name string, args *BudgetArgs, opts ...pulumi.ResourceOption) (*Budget, error) {
	b := &Budget{}
	if err := register(ctx, "sluice:operations:Budget", name, b, opts); err != nil {
		return nil, err
	}
	notify := func(kind string, percent float64) budgets.BudgetNotificationInput {
		return &budgets.BudgetNotificationArgs{NotificationType: pulumi.String(kind), ComparisonOperator: pulumi.String("GREATER_THAN"),
			Threshold: pulumi.Float64(percent), ThresholdType: pulumi.String("PERCENTAGE"), SubscriberSnsTopicArns: pulumi.StringArray{args.AlertsARN}}
	}
	if _, err := budgets.NewBudget(ctx, name, &budgets.BudgetArgs{
		Name: pulumi.String(args.BudgetName), BudgetType: pulumi.String("COST"), TimeUnit: pulumi.String("MONTHLY"),
		LimitAmount: pulumi.String(strconv.Itoa(withDefault(args.MonthlyUSD, 500))), LimitUnit: pulumi.String("USD"),
		CostFilters:   budgets.BudgetCostFilterArray{&budgets.BudgetCostFilterArgs{Name: pulumi.String("TagKeyValue"), Values: pulumi.StringArray{pulumi.String("user:Country$" + args.Country)}}},
		Notifications: budgets.BudgetNotificationArray{notify("FORECASTED", 80), notify("ACTUAL", 100)},
		Tags:          tagged(args.Tags),
	}, pulumi.Parent(b)); err != nil {
		return nil, err
	}
	return b, ctx.RegisterResourceOutputs(b, pulumi.Map{})
}
