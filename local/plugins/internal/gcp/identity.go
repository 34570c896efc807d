package gcp

import (
	"context"
	"fmt"
	"strings"

	"github.com/sluice-data/sluice/local/plugins/internal/native"
)

var (
	poolFields     = append(plain("", "displayName", "description"), field{input: "disabled", none: false})
	providerFields = append(poolFields[:len(poolFields):len(poolFields)],
		field{input: "attributeCondition", none: ""},
		field{input: "attributeMapping", none: native.Object{}},
		field{input: "aws"},
	)
)

func (c *client) pool() native.Type {
	typ := native.Type{
		Inputs: map[string]native.Input{
			"workloadIdentityPoolId": {Required: true, Immutable: true, Names: true},
			"project":                c.projectInput(),
			"displayName":            {},
			"description":            {},
			"disabled":               {},
		},
		Outputs: []string{"name", "state"},
	}
	return c.federation(typ, poolFields, "workloadIdentityPoolId", func(in native.Object) string {
		return fmt.Sprintf("projects/%s/locations/global/workloadIdentityPools", text(in, "project"))
	})
}

func (c *client) poolProvider() native.Type {
	typ := native.Type{
		Inputs: map[string]native.Input{
			"workloadIdentityPoolId":         {Required: true, Immutable: true, Names: true},
			"workloadIdentityPoolProviderId": {Required: true, Immutable: true, Names: true},
			"project":                        c.projectInput(),
			"displayName":                    {},
			"description":                    {},
			"disabled":                       {},
			"attributeCondition":             {},
			"attributeMapping":               {},
			"aws":                            {},
		},
		Outputs: []string{"name", "state"},
	}
	return c.federation(typ, providerFields, "workloadIdentityPoolProviderId", func(in native.Object) string {
		pool := text(in, "workloadIdentityPoolId")
		return fmt.Sprintf("projects/%s/locations/global/workloadIdentityPools/%s/providers", text(in, "project"), pool)
	})
}

// federation completes a pool or a provider: both are made below a parent with an id in the query, and patched by a mask.
func (c *client) federation(typ native.Type, fields []field, idInput string, parent func(native.Object) string) native.Type {
	live := func(id string, answer native.Object) native.Object {
		parts := strings.Split(id, "/")
		more := native.Object{"name": answer["name"], "state": answer["state"], "project": parts[1], "workloadIdentityPoolId": parts[5]}
		if len(parts) > 7 {
			more["workloadIdentityPoolProviderId"] = parts[7]
		}
		return with(properties(fields, answer), more)
	}
	typ.Create = func(ctx context.Context, in native.Object) (string, native.Object, error) {
		at := parent(in)
		id := at + "/" + text(in, idInput)
		operation, err := c.do(ctx, "POST", iamAPI+"/"+at+"?"+idInput+"="+text(in, idInput), body(fields, in, false))
		if err != nil {
			return "", nil, err
		}
		answer, _ := operation["response"].(map[string]any)
		return id, live(id, answer), nil
	}
	typ.Read = func(ctx context.Context, id string, _ native.Object) (native.Object, error) {
		answer, err := c.do(ctx, "GET", iamAPI+"/"+id, nil)
		if err != nil {
			return nil, err
		}
		if answer["state"] == "DELETED" {
			return nil, native.ErrNotFound
		}
		return live(id, answer), nil
	}
	typ.Update = func(ctx context.Context, id string, old, new native.Object) (native.Object, error) {
		different := changed(fields, old, new)
		mask := make([]string, len(different))
		for i, f := range different {
			mask[i] = f.at()
		}
		path := iamAPI + "/" + id + "?updateMask=" + strings.Join(mask, ",")
		operation, err := c.do(ctx, "PATCH", path, body(different, new, true))
		if err != nil {
			return nil, err
		}
		answer, _ := operation["response"].(map[string]any)
		return live(id, answer), nil
	}
	typ.Delete = func(ctx context.Context, id string, _ native.Object) error {
		_, err := c.do(ctx, "DELETE", iamAPI+"/"+id, nil)
		return err
	}
	return typ
}

var accountFields = plain("", "displayName", "description")

func (c *client) account() native.Type {
	return native.Type{
		Inputs: map[string]native.Input{
			"accountId":   {Required: true, Immutable: true, Names: true},
			"project":     c.projectInput(),
			"displayName": {},
			"description": {},
			"disabled":    {},
		},
		Outputs: []string{"email", "member", "name", "uniqueId"},
		Create: func(ctx context.Context, in native.Object) (string, native.Object, error) {
			request := native.Object{"accountId": in["accountId"], "serviceAccount": body(accountFields, in, false)}
			answer, err := c.do(ctx, "POST", iamAPI+"/projects/"+text(in, "project")+"/serviceAccounts", request)
			if err != nil {
				return "", nil, err
			}
			id := text(answer, "name")
			if in["disabled"] == true {
				answer["disabled"] = true
				_, err = c.do(ctx, "POST", iamAPI+"/"+id+":disable", nil)
			}
			return id, accountProperties(answer), err
		},
		Read: func(ctx context.Context, id string, _ native.Object) (native.Object, error) {
			answer, err := c.do(ctx, "GET", iamAPI+"/"+id, nil)
			if err != nil {
				return nil, err
			}
			return accountProperties(answer), nil
		},
		Update: func(ctx context.Context, id string, old, new native.Object) (native.Object, error) {
			different := changed(accountFields, old, new)
			mask := make([]string, len(different))
			for i, f := range different {
				mask[i] = f.at()
			}
			request := native.Object{"serviceAccount": body(different, new, true), "updateMask": strings.Join(mask, ",")}
			answer, err := c.do(ctx, "PATCH", iamAPI+"/"+id, request)
			if err != nil {
				return nil, err
			}
			if disabled := new["disabled"] == true; disabled != (answer["disabled"] == true) {
				action := map[bool]string{true: ":disable", false: ":enable"}[disabled]
				if _, err := c.do(ctx, "POST", iamAPI+"/"+id+action, nil); err != nil {
					return nil, err
				}
				answer["disabled"] = disabled
			}
			return accountProperties(answer), nil
		},
		Delete: func(ctx context.Context, id string, _ native.Object) error {
			_, err := c.do(ctx, "DELETE", iamAPI+"/"+id, nil)
			return err
		},
	}
}

func accountProperties(answer native.Object) native.Object {
	email := text(answer, "email")
	account, _, _ := strings.Cut(email, "@")
	return with(properties(accountFields, answer), native.Object{
		"accountId": account,
		"project":   answer["projectId"],
		"disabled":  answer["disabled"],
		"email":     email,
		"member":    "serviceAccount:" + email,
		"name":      answer["name"],
		"uniqueId":  answer["uniqueId"],
	})
}
