package live

import (
	"fmt"
	"slices"
	"strings"

	"ringfence.dev/ringfence/internal/discover"
)

// RoleName is the name of the role that may read what is read here.
const RoleName = "ringfence-needs"

// Role returns the ClusterRole, as YAML, that may read what is read here, and
// nothing else.
func Role() string {
	var groups []string
	names := map[string][]string{}
	for _, r := range discover.Resources() {
		if names[r.Group] == nil {
			groups = append(groups, r.Group)
		}
		names[r.Group] = append(names[r.Group], r.Name)
	}
	slices.Sort(groups)
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata:\n  name: %s\nrules:\n", RoleName)
	for _, g := range groups {
		slices.Sort(names[g])
		fmt.Fprintf(&b, "- apiGroups: [%q]\n  resources: [%s]\n  verbs: [get, list, watch]\n", g, strings.Join(names[g], ", "))
	}
	return b.String()
}
