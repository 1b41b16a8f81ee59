package compose

import (
	"slices"
	"strings"

	"github.com/mlops-integration/mlops"
)

// supervisorName is the name under which the supervisor writes its log.
const supervisorName = "supervisor"

// added are the recipes that their own files add, in init, to those below; see
// [service].
var added []func() service

// recipes lists the services of the stack in an order in which they can be
// started. The light stack is MLflow alone, with the agent; both have s3, on request.
func (s *Stack) recipes(light bool) []service {
	if s.catalog != nil {
		return s.catalog(light)
	}
	var all []service
	if light {
		all = []service{mlflowService(true)}
	} else {
		all = append([]service{postgresService(), mlflowService(false)}, airflowServices()...)
		all = append(all, rayService(), evidentlyService())
	}
	all = append(all, s3Service())
	for _, recipe := range added {
		if v := recipe(); !light {
			all = append(all, v)
		}
	}
	if s.command != "" { // a program that is not mlopsctl has no agent to start
		all = append(all, agentService())
	}
	return all
}

// resolve picks the services that names mean, names of services or of groups,
// in the order of all. No names means all. With needs it adds what those
// depend on.
func resolve(all []service, names []string, needs bool) ([]service, error) {
	want := map[string]bool{}
	for _, n := range names {
		found := false
		for _, v := range all {
			if v.name == n || v.group == n {
				want[v.name], found = true, true
			}
		}
		if !found {
			return nil, &mlops.Error{Kind: mlops.ErrInvalid, Service: "compose", Message: "no service " + n + "; there are " + strings.Join(known(all), ", ")}
		}
	}
	if len(names) == 0 {
		return all, nil
	}
	var out []service
	for _, v := range slices.Backward(all) {
		if !want[v.name] {
			continue
		}
		out = append(out, v)
		if needs {
			for _, a := range v.after {
				want[a] = true
			}
		}
	}
	slices.Reverse(out)
	return out, nil
}

// toStart is resolve for a start: no names mean all but the optional services,
// of which kept are those that belong to the stack.
func toStart(all []service, names, kept []string) ([]service, error) {
	if len(names) == 0 {
		return slices.DeleteFunc(slices.Clone(all), func(v service) bool { return v.optional && !slices.Contains(kept, v.name) }), nil
	}
	return resolve(all, names, true)
}

// known lists the names that a user may say.
func known(all []service) []string {
	var out []string
	for _, v := range all {
		for _, n := range []string{v.group, v.name} {
			if n != "" && !slices.Contains(out, n) {
				out = append(out, n)
			}
		}
	}
	return out
}
