package gcp

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/sluice-data/sluice/local/plugins/internal/native"
)

// holder is what a kind of member resource grants roles on.
type holder struct {
	inputs map[string]native.Input
	// id is the resource's name in the ids of its members, and back.
	id    func(in native.Object) string
	parse func(id string) native.Object
	// read and write are its policy's.
	read  func(ctx context.Context, in native.Object) (native.Object, error)
	write func(ctx context.Context, in, policy native.Object) error
}

// members is a type whose resources are one member of one role each.
func (c *client) members(h holder) native.Type {
	typ := native.Type{
		Inputs: map[string]native.Input{
			"role":   {Required: true, Immutable: true, Names: true},
			"member": {Required: true, Immutable: true, Names: true},
		},
		Outputs: []string{"etag"},
	}
	for name, input := range h.inputs {
		typ.Inputs[name] = input
	}
	parse := func(id string) (native.Object, error) {
		at := strings.Index(id, "/roles/")
		if at < 0 {
			return nil, fmt.Errorf("id %q is not <resource>/roles/<role>/<member>", id)
		}
		parts := strings.SplitN(id[at+1:], "/", 3)
		if len(parts) < 3 {
			return nil, fmt.Errorf("id %q names no member", id)
		}
		return with(h.parse(id[:at]), native.Object{"role": "roles/" + parts[1], "member": parts[2]}), nil
	}
	read := func(ctx context.Context, id string, _ native.Object) (native.Object, error) {
		in, err := parse(id)
		if err != nil {
			return nil, err
		}
		policy, err := h.read(ctx, in)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(granted(policy, text(in, "role")), in["member"]) {
			return nil, native.ErrNotFound
		}
		return with(in, native.Object{"etag": policy["etag"]}), nil
	}
	change := func(ctx context.Context, in native.Object, apply func(members []any) []any) error {
		var policy native.Object
		return c.changePolicy(ctx, func() (err error) {
			policy, err = h.read(ctx, in)
			return err
		}, func() error {
			role := text(in, "role")
			regrant(policy, role, apply(granted(policy, role)))
			return h.write(ctx, in, policy)
		})
	}
	typ.Create = func(ctx context.Context, in native.Object) (string, native.Object, error) {
		id := h.id(in) + "/" + text(in, "role") + "/" + text(in, "member")
		err := change(ctx, in, func(members []any) []any {
			if slices.Contains(members, in["member"]) {
				return members
			}
			return append(members, in["member"])
		})
		if err != nil {
			return "", nil, err
		}
		live, err := read(ctx, id, nil)
		return id, live, err
	}
	typ.Read = read
	typ.Delete = func(ctx context.Context, id string, _ native.Object) error {
		in, err := parse(id)
		if err != nil {
			return err
		}
		return change(ctx, in, func(members []any) []any {
			return slices.DeleteFunc(members, func(m any) bool { return m == in["member"] })
		})
	}
	return typ
}

// granted are the members of a role.
func granted(policy native.Object, role string) []any {
	bindings, _ := policy["bindings"].([]any)
	for _, b := range bindings {
		if binding, ok := b.(map[string]any); ok && binding["role"] == role {
			members, _ := binding["members"].([]any)
			return slices.Clone(members)
		}
	}
	return nil
}

// regrant sets the members of a role.
func regrant(policy native.Object, role string, members []any) {
	bindings, _ := policy["bindings"].([]any)
	bindings = slices.DeleteFunc(slices.Clone(bindings), func(b any) bool {
		binding, ok := b.(map[string]any)
		return ok && binding["role"] == role
	})
	if len(members) > 0 {
		bindings = append(bindings, native.Object{"role": role, "members": members})
	}
	policy["bindings"] = bindings
}

// named is an input that names what a role is granted on.
func named() native.Input {
	return native.Input{Required: true, Immutable: true, Names: true}
}

// actions are the policy methods of most services: POST …:getIamPolicy and :setIamPolicy.
func (c *client) actions(path func(native.Object) string) (
	func(context.Context, native.Object) (native.Object, error), func(context.Context, native.Object, native.Object) error,
) {
	read := func(ctx context.Context, in native.Object) (native.Object, error) {
		policy, err := c.do(ctx, "POST", path(in)+":getIamPolicy", native.Object{})
		return policy, gone(err)
	}
	write := func(ctx context.Context, in, policy native.Object) error {
		_, err := c.do(ctx, "POST", path(in)+":setIamPolicy", native.Object{"policy": policy})
		return gone(err)
	}
	return read, write
}

func (c *client) projectMember() native.Type {
	h := holder{
		inputs: map[string]native.Input{"project": named()},
		id:     func(in native.Object) string { return text(in, "project") },
		parse:  func(id string) native.Object { return native.Object{"project": id} },
	}
	h.read, h.write = c.actions(func(in native.Object) string { return projectsAPI + "/projects/" + text(in, "project") })
	return c.members(h)
}

func (c *client) accountMember() native.Type {
	h := holder{
		inputs: map[string]native.Input{"serviceAccountId": named()},
		id:     func(in native.Object) string { return text(in, "serviceAccountId") },
		parse:  func(id string) native.Object { return native.Object{"serviceAccountId": id} },
	}
	h.read, h.write = c.actions(func(in native.Object) string { return iamAPI + "/" + text(in, "serviceAccountId") })
	return c.members(h)
}

func (c *client) bucketMember() native.Type {
	path := func(in native.Object) string {
		return storageAPI + "/b/" + strings.TrimPrefix(text(in, "bucket"), "b/") + "/iam"
	}
	return c.members(holder{
		inputs: map[string]native.Input{"bucket": named()},
		id:     func(in native.Object) string { return "b/" + strings.TrimPrefix(text(in, "bucket"), "b/") },
		parse:  func(id string) native.Object { return native.Object{"bucket": strings.TrimPrefix(id, "b/")} },
		read: func(ctx context.Context, in native.Object) (native.Object, error) {
			return c.do(ctx, "GET", path(in), nil)
		},
		write: func(ctx context.Context, in, policy native.Object) error {
			_, err := c.do(ctx, "PUT", path(in), policy)
			return err
		},
	})
}

// datasetRoles are the roles that a dataset's access list still calls by BigQuery's first names.
var datasetRoles = map[string]string{
	"OWNER":  "roles/bigquery.dataOwner",
	"WRITER": "roles/bigquery.dataEditor",
	"READER": "roles/bigquery.dataViewer",
}

// accessKeys are the keys of an access list's entries by the kind of member.
var accessKeys = map[string]string{"user": "userByEmail", "serviceAccount": "userByEmail", "group": "groupByEmail", "domain": "domain"}

func (c *client) datasetMember() native.Type {
	path := func(in native.Object) string {
		return fmt.Sprintf("%s/projects/%s/datasets/%s", bigqueryAPI, text(in, "project"), text(in, "datasetId"))
	}
	return c.members(holder{
		inputs: map[string]native.Input{"datasetId": named(), "project": c.projectInput()},
		id: func(in native.Object) string {
			return fmt.Sprintf("projects/%s/datasets/%s", text(in, "project"), text(in, "datasetId"))
		},
		parse: func(id string) native.Object {
			parts := strings.Split(id, "/")
			return native.Object{"project": parts[1], "datasetId": parts[len(parts)-1]}
		},
		read: func(ctx context.Context, in native.Object) (native.Object, error) {
			dataset, err := c.do(ctx, "GET", path(in), nil)
			if err != nil {
				return nil, err
			}
			return datasetPolicy(dataset), nil
		},
		write: func(ctx context.Context, in, policy native.Object) error {
			_, err := c.doIf(ctx, "PATCH", path(in), text(policy, "etag"), native.Object{"access": datasetAccess(policy)})
			return err
		},
	})
}

// datasetPolicy reads an access list as a policy. What is no grant of a role to a member, for example an authorized view, stays aside.
func datasetPolicy(dataset native.Object) native.Object {
	policy := native.Object{"etag": dataset["etag"]}
	var others []any
	access, _ := dataset["access"].([]any)
	for _, a := range access {
		entry, _ := a.(map[string]any)
		member := memberOf(entry)
		role := text(entry, "role")
		if full, ok := datasetRoles[role]; ok {
			role = full
		}
		if member == "" || role == "" {
			others = append(others, a)
			continue
		}
		regrant(policy, role, append(granted(policy, role), member))
	}
	policy["others"] = others
	return policy
}

// memberOf is the IAM member that an access entry means, or nothing.
func memberOf(entry native.Object) string {
	if email := text(entry, "userByEmail"); email != "" {
		if strings.HasSuffix(email, ".gserviceaccount.com") {
			return "serviceAccount:" + email
		}
		return "user:" + email
	}
	if group := text(entry, "groupByEmail"); group != "" {
		return "group:" + group
	}
	if domain := text(entry, "domain"); domain != "" {
		return "domain:" + domain
	}
	return text(entry, "iamMember")
}

// datasetAccess writes a policy as an access list.
func datasetAccess(policy native.Object) []any {
	access, _ := policy["others"].([]any)
	bindings, _ := policy["bindings"].([]any)
	for _, b := range bindings {
		binding, _ := b.(map[string]any)
		role := text(binding, "role")
		for short, full := range datasetRoles {
			if role == full {
				role = short
			}
		}
		for _, m := range granted(policy, text(binding, "role")) {
			member, _ := m.(string)
			kind, name, _ := strings.Cut(member, ":")
			entry := native.Object{"role": role, "iamMember": member}
			if key, ok := accessKeys[kind]; ok {
				entry = native.Object{"role": role, key: name}
			}
			access = append(access, entry)
		}
	}
	return access
}
