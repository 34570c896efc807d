package infra

import (
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/athena"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/glue"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// CatalogArgs is what a Catalog is made of.
type CatalogArgs struct {
	Name    string             // Name is the workgroup's name and begins the databases' names, for example "sluice_prod_us".
	Lake    *DataLake          // Lake has the buckets that the databases describe, and takes query results among its artifacts.
	KeyARN  pulumi.StringInput // KeyARN is the key that query results are encrypted with.
	ScanGB  int                // ScanGB ends a query that reads more gigabytes, 100 by default.
	Protect bool               // Protect refuses to delete the databases.
	Tags    map[string]string  // Tags go on everything that takes tags.
}

// Catalog is how a country's tables are found and queried: a Glue database a stage, and an Athena workgroup.
type Catalog struct {
	pulumi.ResourceState

	Databases map[string]pulumi.StringOutput // Databases are the databases' names by stage.
	Workgroup pulumi.StringOutput            // Workgroup is the name of the Athena workgroup.
}

// DatabaseName is the Glue database of a stage, below a catalog's name.
func DatabaseName(catalog, stage string) string { return catalog + "_" + stage }

// NewCatalog creates a Catalog.
func NewCatalog(ctx *pulumi.Context, name string, args *CatalogArgs, opts ...pulumi.ResourceOption) (*Catalog, error) {
	c := &Catalog{Databases: map[string]pulumi.StringOutput{}}
	if err := register(ctx, "sluice:analytics:Catalog", name, c, opts); err != nil {
		return nil, err
	}
	outputs := pulumi.Map{}
	for _, stage := range Stages {
		database, err := glue.NewCatalogDatabase(ctx, name+"-"+stage, &glue.CatalogDatabaseArgs{
			Name:        pulumi.String(DatabaseName(args.Name, stage)),
			Description: pulumi.String("Tables of the stage " + stage),
			LocationUri: pulumi.Sprintf("s3://%s/", args.Lake.Names[stage]),
			// IAM decides who may touch a new table. Said here because an account can have another default in Lake Formation.
			CreateTableDefaultPermissions: glue.CatalogDatabaseCreateTableDefaultPermissionArray{&glue.CatalogDatabaseCreateTableDefaultPermissionArgs{
				Permissions: pulumi.StringArray{pulumi.String("ALL")},
				Principal:   &glue.CatalogDatabaseCreateTableDefaultPermissionPrincipalArgs{DataLakePrincipalIdentifier: pulumi.String("IAM_ALLOWED_PRINCIPALS")},
			}},
			Tags: tagged(args.Tags, map[string]string{"Stage": stage}),
		}, pulumi.Parent(c), pulumi.Protect(args.Protect))
		if err != nil {
			return nil, err
		}
		c.Databases[stage] = database.Name
		outputs[stage] = database.Name
	}
	group, err := newWorkgroup(ctx, name, &workgroupArgs{name: args.Name, results: pulumi.Sprintf("s3://%s/queries/", args.Lake.Names["artifacts"]),
		keyARN: args.KeyARN, scanGB: args.ScanGB, tags: args.Tags}, pulumi.Parent(c))
	if err != nil {
		return nil, err
	}
	c.Workgroup = group.Name
	outputs["workgroup"] = group.Name
	return c, ctx.RegisterResourceOutputs(c, outputs)
}

// workgroupArgs is what differs between two of a country's workgroups.
type workgroupArgs struct {
	name    string             // name is the workgroup's name.
	results pulumi.StringInput // results is the folder that results of queries go to.
	keyARN  pulumi.StringInput // keyARN is the key that results are encrypted with.
	scanGB  int                // scanGB ends a query that reads more gigabytes, 100 by default.
	tags    map[string]string
}

// newWorkgroup creates an Athena workgroup whose settings no client can leave.
func newWorkgroup(ctx *pulumi.Context, name string, args *workgroupArgs, parent pulumi.ResourceOption) (*athena.Workgroup, error) {
	return athena.NewWorkgroup(ctx, name, &athena.WorkgroupArgs{
		Name:         pulumi.String(args.name),
		ForceDestroy: pulumi.Bool(true), // saved queries and history, no data
		Configuration: &athena.WorkgroupConfigurationArgs{
			EnforceWorkgroupConfiguration:   pulumi.Bool(true), // a client cannot write its results elsewhere or in plain text
			PublishCloudwatchMetricsEnabled: pulumi.Bool(true),
			BytesScannedCutoffPerQuery:      pulumi.Int(withDefault(args.scanGB, 100) * 1_000_000_000), // what is read is paid
			ResultConfiguration: &athena.WorkgroupConfigurationResultConfigurationArgs{
				OutputLocation: args.results.ToStringOutput().ToStringPtrOutput(),
				EncryptionConfiguration: &athena.WorkgroupConfigurationResultConfigurationEncryptionConfigurationArgs{
					EncryptionOption: pulumi.String("SSE_KMS"), KmsKeyArn: args.keyARN.ToStringOutput().ToStringPtrOutput()},
			},
		},
		Tags: tagged(args.tags),
	}, parent)
}
