package infra

import (
	"fmt"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/sluice-data/sluice/internal/access"
	"github.com/sluice-data/sluice/policies"
)

// Access renders the documents of one country's roles from what the country is made of.
type Access struct {
	Account, Region, Stack, Country string
	Polling                         bool // Polling is set where the polling driver works.

	Keys      *Keys
	Lake      *DataLake
	Ledger    *Ledger
	Messaging *Messaging
}

// Job is what the record job may do, on the databases of the stages that it writes.
func (a Access) Job(databases ...string) pulumi.StringOutput {
	return a.render(func(c policies.Country) (policies.Document, error) { return policies.Job(c, databases...), nil }, nil)
}

// ServerlessJob is what the record job may do on EMR Serverless.
func (a Access) ServerlessJob(databases ...string) pulumi.StringOutput {
	return a.render(func(c policies.Country) (policies.Document, error) {
		return policies.ServerlessJob(c, databases...), nil
	}, nil)
}

// GlueJob is what the record job may do on Glue; its log groups' names begin with logs.
func (a Access) GlueJob(logs string, databases ...string) pulumi.StringOutput {
	return a.render(func(c policies.Country) (policies.Document, error) {
		return policies.GlueJob(c, logs, databases...), nil
	}, nil)
}

// UpkeepJob is what the upkeep of the stages' tables may do.
func (a Access) UpkeepJob(logs string, databases ...string) pulumi.StringOutput {
	return a.render(func(c policies.Country) (policies.Document, error) {
		return policies.UpkeepJob(c, logs, databases...), nil
	}, nil)
}

// Crawler is what the crawler of landed files may do.
func (a Access) Crawler(database string) pulumi.StringOutput {
	return a.render(func(c policies.Country) (policies.Document, error) { return policies.Crawler(c, database), nil }, nil)
}

// Engines are what computes a country's runs.
type Engines struct {
	Cluster    *Cluster
	Serverless *Serverless
	Glue       *Glue
}

// Function is what the function of this folder and physical name may do.
func (a Access) Function(folder, functionName string, engines Engines) pulumi.StringOutput {
	return a.render(func(c policies.Country) (policies.Document, error) {
		document, ok := policies.Function(folder, LogGroupARN(a.Account, a.Region, functionName), c)
		if !ok {
			return document, fmt.Errorf("function %s: no policy; write it in policies/functions.go", folder)
		}
		return document, nil
	}, pulumi.StringMap{"clusterService": engines.Cluster.ServiceRoleARN, "clusterNode": engines.Cluster.NodeRoleARN,
		"serverless": engines.Serverless.ApplicationARN, "serverlessRole": engines.Serverless.RoleARN, "glueJob": engines.Glue.JobARN})
}

// person is what somebody may do in the country by these rules, with the country's names as they are or as long as they will be.
func (a Access) person(c policies.Country, who string, rules []access.Rule) policies.Document {
	catalog := "sluice_" + a.Stack + "_" + a.Country
	return policies.Person(c, who, a.workgroupARN(access.WorkgroupName(catalog, who)), databaseNames(catalog), rules)
}

// pollingARN is the ARN of the polling driver's state machine; "" where there is none.
func (a Access) pollingARN() string {
	if !a.Polling {
		return ""
	}
	return stateMachineARN(a.Account, a.Region, PollingName("sluice-"+a.Stack+"-"+a.Country))
}

func (a Access) workgroupARN(name string) string {
	return "arn:aws:athena:" + a.Region + ":" + a.Account + ":workgroup/" + name
}

// databaseNames are the names of the stages' databases.
func databaseNames(catalog string) map[string]string {
	names := map[string]string{}
	for _, stage := range Stages {
		names[stage] = DatabaseName(catalog, stage)
	}
	return names
}

// render collects the ARNs that a document names, and more of them.
func (a Access) render(document func(policies.Country) (policies.Document, error), more pulumi.StringMap) pulumi.StringOutput {
	return a.country(more).ApplyT(func(c any) (string, error) {
		rendered, err := document(c.(policies.Country))
		if err != nil {
			return "", err
		}
		return rendered.JSON()
	}).(pulumi.StringOutput)
}

// country is an output of the policies.Country that documents are made of, with more ARNs.
func (a Access) country(more pulumi.StringMap) pulumi.Output {
	arns := pulumi.StringMap{
		"dataKey": a.Keys.DataARN, "stateKey": a.Keys.StateARN, "logsKey": a.Keys.LogsARN,
		"landed": a.Messaging.LandedARN, "tickets": a.Messaging.TicketsARN, "deadLetters": a.Messaging.DeadLettersARN,
		"jobsTopic": a.Messaging.JobsARN, "alertsTopic": a.Messaging.AlertsARN,
	}
	for word, arn := range a.Lake.ARNs {
		arns["bucket/"+word] = arn
	}
	for word, arn := range a.Ledger.ARNs {
		arns["table/"+word] = arn
	}
	for word, arn := range more {
		arns[word] = arn
	}
	return arns.ToStringMapOutput().ApplyT(func(arn map[string]string) policies.Country {
		return policies.Country{
			Account: a.Account, Region: a.Region, Stack: a.Stack, Code: a.Country,
			DataKeyARN: arn["dataKey"], StateKeyARN: arn["stateKey"], LogsKeyARN: arn["logsKey"],
			LandingARN: arn["bucket/landing"], ValidatedARN: arn["bucket/validated"], InvalidARN: arn["bucket/invalid"], VersionedARN: arn["bucket/versioned"],
			CuratedARN: arn["bucket/curated"], ArtifactsARN: arn["bucket/artifacts"], LogsARN: arn["bucket/logs"],
			FeedsARN: arn["table/feeds"], JobsARN: arn["table/jobs"], RunsARN: arn["table/runs"], FilesARN: arn["table/files"], ProgressARN: arn["table/progress"],
			LandedARN: arn["landed"], TicketsARN: arn["tickets"], DeadLettersARN: arn["deadLetters"],
			JobsTopicARN: arn["jobsTopic"], AlertsTopicARN: arn["alertsTopic"],
			ClusterServiceRoleARN: arn["clusterService"], ClusterNodeRoleARN: arn["clusterNode"],
			ServerlessARN: arn["serverless"], ServerlessRoleARN: arn["serverlessRole"], GlueJobARN: arn["glueJob"], PollingARN: a.pollingARN(),
		}
	})
}
