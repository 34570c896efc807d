package documents

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/aws/smithy-go"

	"github.com/sluice-data/sluice/internal/discovery"
)

// store is Systems Manager with two parameters a page, or with nothing but an error.
type store struct {
	values map[string]string
	err    error
}

func (s store) GetParameter(_ context.Context, in *ssm.GetParameterInput, _ ...func(*ssm.Options)) (*ssm.GetParameterOutput, error) {
	value, there := s.values[*in.Name]
	if s.err == nil && !there {
		return nil, &types.ParameterNotFound{}
	}
	return &ssm.GetParameterOutput{Parameter: &types.Parameter{Name: in.Name, Value: &value}}, s.err
}

func (s store) GetParametersByPath(_ context.Context, in *ssm.GetParametersByPathInput, _ ...func(*ssm.Options)) (*ssm.GetParametersByPathOutput, error) {
	if s.err != nil {
		return nil, s.err
	}
	out, from := &ssm.GetParametersByPathOutput{}, 0
	if in.NextToken != nil {
		from, _ = strconv.Atoi(*in.NextToken)
	}
	names := slices.Sorted(maps.Keys(s.values))
	names = slices.DeleteFunc(names, func(name string) bool { return !strings.HasPrefix(name, *in.Path+"/") })
	for _, name := range names[from:min(from+2, len(names))] {
		out.Parameters = append(out.Parameters, types.Parameter{Name: &name, Value: aws.String(s.values[name])})
	}
	if from+2 < len(names) {
		out.NextToken = aws.String(strconv.Itoa(from + 2))
	}
	return out, nil
}

// document is one of a country in which every text is there.
func document(t *testing.T, stack, country string) string {
	t.Helper()
	text, err := json.Marshal(discovery.Country{Version: discovery.Version})
	if err != nil {
		t.Fatal(err)
	}
	text = []byte(strings.ReplaceAll(string(text), `""`, `"x"`))
	text = []byte(strings.Replace(string(text), `"stack":"x","country":"x"`, fmt.Sprintf(`"stack":%q,"country":%q`, stack, country), 1))
	return string(text)
}

func TestFunctionReadsTheVersionThatItsConfigurationNames(t *testing.T) {
	s := store{values: map[string]string{"/sluice/prod/countries/us:7": document(t, "prod", "us")}}
	got, err := Read(t.Context(), s, "/sluice/prod/countries/us:7")
	if err != nil || got.Stack != "prod" || got.Country != "us" || got.Tables.Jobs != "x" {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestDocumentThatIsNotThereOrNotToBeReadIsTold(t *testing.T) {
	const name = "/sluice/prod/countries/us:7"
	throttled := &smithy.GenericAPIError{Code: "ThrottlingException", Message: "Rate exceeded"}
	for _, c := range []struct {
		err  error
		want error
	}{
		{&types.ParameterNotFound{}, ErrMissing},
		{&types.ParameterVersionNotFound{}, ErrMissing},
		{&smithy.GenericAPIError{Code: "AccessDeniedException", Message: "not authorized"}, ErrDenied},
		{throttled, throttled},
	} {
		if _, err := Read(t.Context(), store{err: c.err}, name); !errors.Is(err, c.want) || !errors.Is(err, c.err) || !strings.HasPrefix(err.Error(), "parameter "+name+": ") {
			t.Errorf("read, %v: %v", c.err, err)
		}
		if _, err := List(t.Context(), store{err: c.err}, "prod"); !errors.Is(err, c.want) || !strings.HasPrefix(err.Error(), "parameters below /sluice/prod/countries: ") {
			t.Errorf("list, %v: %v", c.err, err)
		}
	}
	for _, name := range []string{"", "us", "/sluice/prod/compute/us", "/sluice/prod/countries", "/sluice/prod/countries/us/more", `{"country":"us"}`} {
		if _, err := Read(t.Context(), store{}, name); err == nil || err.Error() != fmt.Sprintf("%q is no name of a discovery document; those are like /sluice/prod/countries/us", name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestEveryCountryOfAStackIsListedAndABadDocumentHidesNoOther(t *testing.T) {
	values := map[string]string{"/sluice/dev/countries/it": document(t, "dev", "it"), "/sluice/prod/compute/us/emr": "off"}
	for _, code := range []string{"ar", "es", "pr", "us", "uy"} {
		values[discovery.ParameterName("prod", code)] = document(t, "prod", code)
	}
	values[discovery.ParameterName("prod", "pr")] = `{"version":99}`
	found, err := List(t.Context(), store{values: values}, "prod")
	if err != nil || !slices.Equal(slices.Sorted(maps.Keys(found)), []string{"ar", "es", "pr", "us", "uy"}) {
		t.Fatalf("found %v, %v", found, err)
	}
	for code, f := range found {
		var other discovery.VersionError
		if bad := errors.As(f.Err, &other) && other.Found == 99; bad != (code == "pr") || !bad && (f.Err != nil || f.Country.Country != code) {
			t.Errorf("%s: %+v, %v", code, f.Country, f.Err)
		}
	}
	if found, err := List(t.Context(), store{values: values}, "test"); err != nil || len(found) != 0 {
		t.Errorf("a stack that is not deployed: %v, %v", found, err)
	}
}
