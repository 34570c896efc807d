package policies

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strings"
	"testing"
)

// calls are the operations that a file of package engine asks of its service.
func calls(t *testing.T, file string) []string {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), "../internal/engine/adapter/"+file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	ast.Inspect(parsed, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		method, ok := call.Fun.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if paged, ok := strings.CutSuffix(method.Sel.Name, "Paginator"); ok {
			found = append(found, strings.TrimPrefix(paged, "New"))
		}
		if client, ok := method.X.(*ast.SelectorExpr); ok && (client.Sel.Name == "client" || client.Sel.Name == "emr") {
			found = append(found, method.Sel.Name)
		}
		return true
	})
	return found
}

// What EMR asks before a cluster has an id names the resource cluster/*; every cluster that is there has an id of its own.
func TestStartJobsTagsAndLimitsNoClusterThatIsThere(t *testing.T) {
	c := country()
	clusters := "arn:aws:elasticmapreduce:" + c.Region + ":" + c.Account + ":cluster/"
	document, _ := Function("start-jobs", "arn", c)
	for _, action := range []string{"elasticmapreduce:AddTags", "elasticmapreduce:PutAutoTerminationPolicy", "elasticmapreduce:PutManagedScalingPolicy"} {
		var allowed, denied []Statement
		for _, s := range document.Statement {
			if slices.Contains(s.Action, action) && s.Effect == "Allow" {
				allowed = append(allowed, s)
			} else if slices.Contains(s.Action, action) {
				denied = append(denied, s)
			}
		}
		if len(allowed) != 1 || !slices.Equal(allowed[0].Resource, Strings{clusters + "*"}) {
			t.Errorf("%s is allowed by %+v", action, allowed)
		}
		if len(denied) != 1 || !slices.Equal(denied[0].Resource, Strings{clusters + "j-*"}) || denied[0].Condition != nil {
			t.Errorf("%s is denied by %+v", action, denied)
		}
		for _, s := range allowed { // limits know no request's tags, and a statement that wants one would never allow them
			_, tags := s.Condition["StringEquals"]["aws:RequestTag/Country"]
			if tags != (action == "elasticmapreduce:AddTags") {
				t.Errorf("%s is allowed where %v", action, s.Condition)
			}
		}
	}
}

// A role that may less fails where nobody looks, when a run is to be cancelled; one that may more is more than it needs.
func TestStartJobsMayExactlyWhatTheEnginesCall(t *testing.T) {
	want := []string{"elasticmapreduce:AddTags", "elasticmapreduce:PutAutoTerminationPolicy", "elasticmapreduce:PutManagedScalingPolicy", "emr-serverless:TagResource"} // what is started is tagged, and has limits
	for file, service := range map[string]string{"emr.go": "elasticmapreduce", "serverless.go": "emr-serverless", "glue.go": "glue"} {
		for _, operation := range calls(t, file) {
			want = append(want, service+":"+operation)
		}
	}
	document, _ := Function("start-jobs", "arn", country())
	var may []string
	for _, s := range document.Statement {
		if s.Effect != "Allow" {
			continue
		}
		for _, action := range s.Action {
			if service, _, _ := strings.Cut(action, ":"); slices.Contains([]string{"elasticmapreduce", "emr-serverless", "glue"}, service) {
				may = append(may, action)
			}
		}
	}
	slices.Sort(want)
	slices.Sort(may)
	if want = slices.Compact(want); len(want) < 10 || !slices.Equal(may, want) {
		t.Errorf("the role may\n%q\nthe engines call\n%q", may, want)
	}
}
