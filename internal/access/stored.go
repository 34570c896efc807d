package access

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/sluice-data/sluice/internal/discovery"
)

// storedVersion is the version of a stored part of the table.
const storedVersion = 1

// part is some of a person's lines, as they are stored: as many as a parameter holds.
type part struct {
	Version int     `json:"version"`
	First   int     `json:"first"` // First is the place of the part's first line in its person's list, from 1.
	May     []Grant `json:"may"`
}

// Path is the path below which a stack's access table is stored in parameters of AWS Systems Manager: Path/<who>/<part>. They hold what is
// deployed, so that who has no access to the stack's file and state can be answered, too.
func Path(stack string) string { return "/sluice/" + stack + "/access" }

// Store renders what a person may do as the values of parameters by name, none larger than a parameter can be; there is at least one.
func Store(stack string, p Person) (map[string]string, error) {
	values := map[string]string{}
	name := func() string { return Path(stack) + "/" + p.Who + "/" + strconv.Itoa(len(values)+1) }
	now := part{Version: storedVersion, First: 1, May: []Grant{}}
	text, err := json.Marshal(now)
	if err != nil {
		return nil, err
	}
	for i, g := range p.May {
		more := part{storedVersion, now.First, append(slices.Clone(now.May), g)}
		longer, err := json.Marshal(more)
		if err == nil && len(longer) > discovery.MaxBytes && len(now.May) > 0 {
			values[name()] = string(text)
			more = part{storedVersion, i + 1, []Grant{g}}
			longer, err = json.Marshal(more)
		}
		if err != nil {
			return nil, err
		}
		if len(longer) > discovery.MaxBytes {
			return nil, fmt.Errorf("access table: line %d of %s has %d bytes, and a parameter of AWS Systems Manager holds %d", i+1, p.Who, len(longer), discovery.MaxBytes)
		}
		now, text = more, longer
	}
	values[name()] = string(text)
	return values, nil
}

// Load reads back what Store rendered of any number of people, by who.
func Load(stack string, values map[string]string) (map[string]Person, error) {
	parts := map[string][]part{}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		who, number, split := strings.Cut(strings.TrimPrefix(name, Path(stack)+"/"), "/")
		if _, err := strconv.Atoi(number); err != nil || !split {
			return nil, fmt.Errorf("access table: %s is no part of it; delete the parameter, or deploy the stack again", name)
		}
		one, err := readPart(values[name])
		if err != nil {
			return nil, fmt.Errorf("access table: %s: %w", name, err)
		}
		parts[who] = append(parts[who], one)
	}
	people := map[string]Person{}
	for who, list := range parts {
		slices.SortFunc(list, func(a, b part) int { return cmp.Compare(a.First, b.First) })
		p := Person{Who: who}
		for _, one := range list {
			if one.First != len(p.May)+1 {
				return nil, fmt.Errorf("access table: line %d of %s is not stored; deploy the stack again", len(p.May)+1, who)
			}
			p.May = append(p.May, one.May...)
		}
		people[who] = p
	}
	return people, nil
}

func readPart(text string) (part, error) {
	var versioned struct{ Version int }
	if err := json.Unmarshal([]byte(text), &versioned); err != nil {
		return part{}, fmt.Errorf("it cannot be read (%w); deploy the stack again", err)
	}
	if versioned.Version > storedVersion {
		return part{}, fmt.Errorf("it has version %d, and this program reads version %d: update the program (make commands in a newer checkout)", versioned.Version, storedVersion)
	}
	if versioned.Version < storedVersion {
		return part{}, fmt.Errorf("it has version %d, and this program reads version %d: deploy the stack again with this checkout (make up)", versioned.Version, storedVersion)
	}
	var one part
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	d.DisallowUnknownFields()
	if err := d.Decode(&one); err != nil {
		return part{}, fmt.Errorf("it cannot be read (%w); deploy the stack again", err)
	}
	return one, nil
}

// RoleName is the name of a person's role.
func RoleName(stack, who string) string { return "sluice-" + stack + "-access-" + who }

// OperatorRoleName is the name of the operators' role.
func OperatorRoleName(stack string) string { return "sluice-" + stack + "-operator" }

// WorkgroupName is the name of a person's Athena workgroup, below a catalog's name.
func WorkgroupName(catalog, who string) string { return catalog + "_" + who }

// PersonOf is who of the access table a caller is, by the ARN that AWS knows them by: the role of a person that was taken
// (arn:aws:sts::<account>:assumed-role/<role>/<session>). It is "" for everybody else.
func PersonOf(stack, callerARN string) string {
	_, taken, found := strings.Cut(callerARN, ":assumed-role/")
	if !found {
		return ""
	}
	role, _, _ := strings.Cut(taken, "/")
	who, ok := strings.CutPrefix(role, RoleName(stack, ""))
	if !ok {
		return ""
	}
	return who
}
