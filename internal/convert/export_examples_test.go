package convert_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ringfence.dev/ringfence/internal/convert"
	"ringfence.dev/ringfence/profiles"
	"ringfence.dev/ringfence/rules"
)

func example(t *testing.T, name string) *convert.Inventory {
	t.Helper()
	var files []convert.File
	found, err := filepath.Glob(filepath.Join("..", "..", "examples", name, "*.json"))
	if err != nil || len(found) == 0 {
		t.Fatalf("no example %s: %v", name, err)
	}
	for _, f := range found {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, convert.File{Name: filepath.Base(f), Data: data})
	}
	return mustParse(t, files)
}

// flows lists what rules let through, one flow a line.
func flows(list []rules.Rule) []string {
	var out []string
	for _, r := range list {
		peer := r.Peer.String()
		if c, ok := r.Peer.(rules.CIDR); ok {
			peer = c.Prefix.String()
		}
		out = append(out, fmt.Sprint(r.Direction, " ", r.Action, " ", r.Protocol, " ", r.Ports, " ", peer))
	}
	slices.Sort(out)
	return out
}

// differences expands a profile for the example's only cluster and returns the
// rules that its group lacks and has beyond it.
func differences(t *testing.T, v *convert.Inventory, scope profiles.Scope, webhooks ...uint16) (lacks, beyond []string) {
	t.Helper()
	if len(v.Clusters) != 1 || len(v.Clusters[0].Unknown) != 0 {
		t.Fatalf("clusters %+v: want one whose facts are all told", v.Clusters)
	}
	c := v.Clusters[0]
	g := groupOf(t, v, c.Group)
	f := c.Facts
	f.Group, f.GroupType, f.InnerAccess, f.WebhookPorts = g.Name, g.Type, g.InnerAccess, webhooks
	tables, err := profiles.Load()
	if err != nil {
		t.Fatal(err)
	}
	e, err := tables.Expand(&f, scope)
	if err != nil {
		t.Fatal(err)
	}
	want, have := flows(e.Rules), flows(slices.Concat(g.Ingress, g.Egress))
	lacks = slices.DeleteFunc(slices.Clone(want), func(s string) bool { return slices.Contains(have, s) })
	beyond = slices.DeleteFunc(have, func(s string) bool { return slices.Contains(want, s) })
	return lacks, beyond
}

func TestTerwayExample(t *testing.T) {
	v := example(t, "ack-terway-advanced")
	lacks, beyond := differences(t, v, profiles.LeastPrivilege, 8443)
	if diff := cmp.Diff([]string{"ingress accept TCP 22/22 0.0.0.0/0"}, beyond); diff != "" {
		t.Errorf("rules beyond the profile (-want +got):\n%s", diff)
	}
	ports := map[string]int{}
	for _, l := range lacks {
		words := strings.Fields(l)
		ports[words[0]+" "+words[3]]++
	}
	// Four subnets; egress to the API server's load balancer besides.
	if diff := cmp.Diff(map[string]int{"ingress 6443/6443": 4, "ingress 8443/8443": 4, "egress 6443/6443": 5, "egress 8443/8443": 4}, ports); diff != "" {
		t.Errorf("rules of the profile that are missing (-want +got):\n%s\n%s", diff, strings.Join(lacks, "\n"))
	}
	if g := groupOf(t, v, v.Clusters[0].Group); len(v.Interfaces) != 6 || len(g.Members) != 10 {
		t.Errorf("%d interfaces with %d addresses, want 6 with 10", len(v.Interfaces), len(g.Members))
	}
}

func TestFlannelExample(t *testing.T) {
	lacks, beyond := differences(t, example(t, "ack-flannel-basic"), profiles.Recommended)
	if diff := cmp.Diff([]string{"ingress accept ALL -1/-1 172.20.0.0/16"}, lacks); diff != "" {
		t.Errorf("rules of the profile that are missing (-want +got):\n%s", diff)
	}
	if len(beyond) > 0 {
		t.Errorf("rules beyond the profile: %s", beyond)
	}
}
