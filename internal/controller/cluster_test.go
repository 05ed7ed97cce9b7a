package controller_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/cli"
)

const network = `apiVersion: ringfence.dev/v1alpha1
kind: VPC
metadata: {name: prod}
spec:
  cidrBlock: 192.168.0.0/16
  secondaryCIDRBlocks: [10.10.0.0/16]
  subnets:
  - {name: nodes-a, cidrBlock: 192.168.0.0/19}
  - {name: pods-a, cidrBlock: 192.168.32.0/19}`

// terway is a cluster that asks for this in securityGroup.
func terway(name, securityGroup string) string {
	return manifest("Cluster", name, `{vpcName: prod, network: {mode: Terway, nodeSubnets: [nodes-a], podSubnets: [pods-a], serviceCIDRs: [172.21.0.0/20]},
  apiServer: {addresses: [192.168.0.200]}, webhookPorts: [8443], securityGroup: `+securityGroup+`}`)
}

// flannel is a cluster with a pod CIDR 172.N.0.0/16.
func flannel(name string, n int, securityGroup string) string {
	return manifest("Cluster", name, fmt.Sprintf(`{vpcName: prod, network: {mode: Flannel, nodeSubnets: [nodes-a], podCIDRs: [172.%d.0.0/16]},
  apiServer: {addresses: [192.168.0.201]}, exposures: [{protocol: TCP, ports: 443/443, cidrs: [0.0.0.0/0]}], securityGroup: %s}`, n, securityGroup))
}

// A printedRule is what `ringfence rules -o json` prints of a rule.
type printedRule struct {
	Direction, Policy, Protocol, Ports, Peer, Row, Note string
	Priority                                            int32
}

// offline returns what `ringfence rules` prints for manifests.
func offline(t *testing.T, manifests string) []printedRule {
	t.Helper()
	file := filepath.Join(t.TempDir(), "in.yaml")
	if err := os.WriteFile(file, []byte(manifests), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	if code := cli.Main([]string{"ringfence", "rules", "-f", file, "-o", "json"}, cli.Streams{In: strings.NewReader(""), Out: &out, Err: &errs}); code != 0 {
		t.Fatalf("ringfence rules: exit %d: %s", code, &errs)
	}
	var list []printedRule
	if err := json.Unmarshal(out.Bytes(), &list); err != nil {
		t.Fatal(err)
	}
	return list
}

// printed returns the system rules of a group in the same form.
func printed(g *v1alpha1.SecurityGroup) []printedRule {
	var list []printedRule
	for direction, rules := range map[string][]v1alpha1.SystemRule{"ingress": g.Status.SystemIngress, "egress": g.Status.SystemEgress} {
		for _, r := range rules {
			ports := r.Ports
			if ports == "" {
				ports = "-1/-1"
			}
			list = append(list, printedRule{
				direction, strings.ToLower(string(r.Policy)), r.Protocol.String(), ports,
				r.Peer.CIDR + r.Peer.GroupName + r.Peer.PrefixListName, r.Row, r.Description, *r.Priority,
			})
		}
	}
	slices.SortStableFunc(list, func(a, b printedRule) int { return strings.Compare(b.Direction, a.Direction) })
	return list
}

// TestTables compares all eight tables as groups have them with what the
// command prints for the same manifests.
func TestTables(t *testing.T) {
	t.Parallel()
	r := newRoom(t)
	r.apply(network)
	n := 16
	for _, groupType := range []string{"Basic", "Advanced"} {
		for _, profile := range []string{"Recommended", "LeastPrivilege"} {
			for mode, cluster := range map[string]func(string, string) string{
				"terway":  terway,
				"flannel": func(name, group string) string { return flannel(name, n, group) },
			} {
				n++
				name := strings.ToLower(mode + "-" + groupType + "-" + profile)
				manifests := all(network, cluster(name, fmt.Sprintf("{type: %s, profile: %s}", groupType, profile)))
				r.apply(manifests)
				r.ready(name)
				g := r.group(name)
				want := offline(t, manifests)
				if len(want) == 0 {
					t.Errorf("%s: no rules offline, so they prove nothing", name)
				}
				if diff := cmp.Diff(want, printed(g)); diff != "" {
					t.Errorf("%s: -offline +group:\n%s", name, diff)
				}
				if g.Spec.Management != v1alpha1.ManagementManaged || string(g.Spec.Type) != groupType || len(g.Spec.Ingress)+len(g.Spec.Egress) > 0 {
					t.Errorf("%s: made as %+v", name, g.Spec)
				}
				r.says(&v1alpha1.Cluster{}, name, "NeedsMet=True/NothingMissing")
				r.says(&v1alpha1.Cluster{}, name, "Tight=True/NothingInExcess")
				r.says(&v1alpha1.SecurityGroup{}, name, "Tight=True/NothingInExcess")
			}
		}
	}
}

func TestNodePools(t *testing.T) {
	t.Parallel()
	r := newRoom(t)
	r.apply(all(
		network, terway("shop", "{}"), manifest("SecurityGroup", "web", "{vpcName: prod}"),
		manifest("NodePool", "inherits", "{clusterName: shop}"),
		manifest("NodePool", "names", "{clusterName: shop, securityGroup: {names: [web]}}"),
		manifest("NodePool", "own", "{clusterName: shop, securityGroup: {type: Advanced, profile: LeastPrivilege}}"),
		manifest("Host", "one", "{nodePoolName: names, addresses: [192.168.0.1]}"),
	))
	for pool, group := range map[string]string{"inherits": "shop", "names": "web", "own": "shop-own"} {
		o := &v1alpha1.NodePool{}
		r.says(o, pool, "Ready=True/GroupInUse")
		if !slices.Equal(o.Status.EffectiveSecurityGroupNames, []string{group}) {
			t.Errorf("%s wears %v, want %s", pool, o.Status.EffectiveSecurityGroupNames, group)
		}
		g := r.group(group)
		if len(g.Status.Clusters) != 1 || !slices.Contains(g.Status.Clusters[0].NodePools, pool) || !*g.Status.Protected {
			t.Errorf("group %s: %+v", group, g.Status)
		}
	}
	if own := r.group("shop-own"); len(own.Status.SystemEgress) == 0 || own.Spec.Type != v1alpha1.GroupTypeAdvanced || own.OwnerReferences[0].Kind != "NodePool" {
		t.Errorf("the pool's own group: %+v", own)
	}
	if web := r.group("web"); len(web.Status.SystemIngress)+len(web.Status.SystemEgress) > 0 || web.Status.UsedBy != "shop (names)" {
		t.Errorf("a group that was there gets no rules: %+v", web.Status)
	}
	r.delete(&v1alpha1.NodePool{}, "own")
	r.gone(&v1alpha1.SecurityGroup{}, "shop-own")
}

// TestFactsChange watches a group while the facts of its cluster change: every
// version of it has all the rules that the one before and the last one share.
func TestFactsChange(t *testing.T) {
	t.Parallel()
	r := newRoom(t)
	r.apply(all(network, terway("shop", "{type: Advanced, profile: LeastPrivilege}")))
	r.ready("shop")
	user := `{vpcName: prod, type: Advanced, management: Managed, ingress: [{protocol: TCP, ports: 22/22, peer: {cidr: 10.9.0.0/16}}]}`
	r.apply(manifest("SecurityGroup", "shop", user))
	manifests := all(network, terway("shop", "{type: Advanced, profile: LeastPrivilege}"))
	for _, change := range []struct {
		reason, from, to string
		writes           int // at least
	}{
		{"a webhook's port moves", "webhookPorts: [8443]", "webhookPorts: [9443]", 2},
		{"the API server moves", "192.168.0.200", "192.168.0.210", 2},
		{"somebody outside is let in", "webhookPorts", "exposures: [{protocol: TCP, ports: 443/443, cidrs: [0.0.0.0/0]}], webhookPorts", 1},
		{"the nodes' subnet changes", "192.168.0.0/19", "192.168.64.0/19", 2},
	} {
		if seen := r.follows(change.reason, manifests, strings.ReplaceAll(manifests, change.from, change.to)); seen < change.writes {
			t.Errorf("%s: %d writes, want %d", change.reason, seen, change.writes)
		}
	}
	if g := r.group("shop"); len(g.Spec.Ingress) != 1 || g.Spec.Ingress[0].Peer.CIDR != "10.9.0.0/16" {
		t.Errorf("the user's rule is not there any more: %+v", g.Spec)
	}
}

// follows applies manifests with a change and back, watches the group shop, and
// returns how often it was written.
func (r room) follows(reason, manifests, changed string) int {
	r.t.Helper()
	before := r.group("shop")
	w, err := r.Watch(r.t.Context(), &v1alpha1.SecurityGroupList{}, client.InNamespace(r.ns))
	if err != nil {
		r.t.Fatal(err)
	}
	defer w.Stop()
	r.apply(changed)
	want := offline(r.t, changed)
	var last *v1alpha1.SecurityGroup
	r.within(reason+": the rules follow", func(ctx context.Context) error {
		last, err = fetch[v1alpha1.SecurityGroup](ctx, r, "shop")
		if err != nil {
			return err
		}
		if diff := cmp.Diff(want, printed(last)); diff != "" {
			return fmt.Errorf("-want +got:\n%s", diff)
		}
		return nil
	})
	if cmp.Equal(printed(before), want) {
		r.t.Errorf("%s: it changes no rule, so it proves nothing", reason)
	}
	seen := 0
	for e := range w.ResultChan() {
		g, ok := e.Object.(*v1alpha1.SecurityGroup)
		if !ok || e.Type != watch.Modified {
			continue
		}
		seen++
		for _, rule := range printed(before) {
			if slices.Contains(want, rule) && !slices.Contains(printed(g), rule) {
				r.t.Errorf("%s: version %s lacks %v, which was there and stays", reason, g.ResourceVersion, rule)
			}
		}
		if slices.ContainsFunc(printed(before), func(rule printedRule) bool { return !slices.Contains(printed(g), rule) }) &&
			slices.ContainsFunc(want, func(rule printedRule) bool { return !slices.Contains(printed(g), rule) }) {
			r.t.Errorf("%s: version %s removes before it has added", reason, g.ResourceVersion)
		}
		if g.ResourceVersion == last.ResourceVersion {
			break
		}
	}
	r.apply(manifests)
	want = offline(r.t, manifests)
	r.within(reason+": and back", func(ctx context.Context) error {
		g, err := fetch[v1alpha1.SecurityGroup](ctx, r, "shop")
		if err == nil && !cmp.Equal(printed(g), want) {
			return fmt.Errorf("not yet")
		}
		return err
	})
	return seen
}

// TestSharedGroup lets a second cluster use the group that was made for a first.
func TestSharedGroup(t *testing.T) {
	t.Parallel()
	r := newRoom(t)
	r.apply(all(network, flannel("first", 20, "{type: Advanced, profile: LeastPrivilege}")))
	r.ready("first")
	alone := printed(r.group("first"))
	r.apply(flannel("second", 30, "{name: first}"))
	r.ready("first", "second")
	r.says(&v1alpha1.Cluster{}, "second", "NeedsMet=True/NothingMissing")
	both := printed(r.group("first"))
	for _, rule := range alone {
		if !slices.Contains(both, rule) {
			t.Errorf("the second cluster took away %v", rule)
		}
	}
	if !slices.ContainsFunc(both, func(rule printedRule) bool { return rule.Peer == "172.30.0.0/16" }) {
		t.Errorf("no rule for the second cluster's pods in %v", both)
	}
	if g := r.group("first"); g.Status.UsedBy != "first, second" {
		t.Errorf("used by %q", g.Status.UsedBy)
	}
	r.delete(&v1alpha1.Cluster{}, "second")
	r.within("its rules go with it", func(ctx context.Context) error {
		g, err := fetch[v1alpha1.SecurityGroup](ctx, r, "first")
		if err == nil && !cmp.Equal(alone, printed(g)) {
			return fmt.Errorf("%s", cmp.Diff(alone, printed(g)))
		}
		return err
	})
}

// TestNameTaken makes nothing of a group that somebody else made.
func TestNameTaken(t *testing.T) {
	t.Parallel()
	r := newRoom(t)
	r.apply(all(network, manifest("SecurityGroup", "shop", "{vpcName: prod}")))
	r.says(&v1alpha1.SecurityGroup{}, "shop", "Accepted=True/Accepted")
	r.apply(terway("shop", "{}"))
	message := r.says(&v1alpha1.Cluster{}, "shop", "Accepted=False/NameTaken")
	if !strings.Contains(message, "a group of that name exists") {
		t.Errorf("message %q", message)
	}
	if g := r.group("shop"); len(g.Status.SystemIngress) > 0 || len(g.OwnerReferences) > 0 {
		t.Errorf("the group was taken: %+v", g)
	}
	r.delete(&v1alpha1.SecurityGroup{}, "shop")
	r.ready("shop")
}

// TestMovesToExisting lets a cluster go from a group of its own to one that is
// there, and away. Only its own goes with it.
func TestMovesToExisting(t *testing.T) {
	t.Parallel()
	r := newRoom(t)
	r.apply(all(network, manifest("SecurityGroup", "web", "{vpcName: prod}"), terway("shop", "{}")))
	r.ready("shop")
	r.apply(terway("shop", "{name: web}"))
	r.within("the use moves", func(ctx context.Context) error {
		web, err := fetch[v1alpha1.SecurityGroup](ctx, r, "web")
		if err != nil {
			return err
		}
		shop, err := fetch[v1alpha1.SecurityGroup](ctx, r, "shop")
		if err != nil {
			return err
		}
		if web.Status.UsedBy != "shop" || shop.Status.UsedBy != "" || *shop.Status.Protected || len(shop.Finalizers) > 0 {
			return fmt.Errorf("web is used by %q, shop by %q (finalizers %v)", web.Status.UsedBy, shop.Status.UsedBy, shop.Finalizers)
		}
		return nil
	})
	r.ready("shop")
	r.delete(&v1alpha1.Cluster{}, "shop")
	r.gone(&v1alpha1.SecurityGroup{}, "shop")
	r.within("the other is left alone, and free", func(ctx context.Context) error {
		web, err := fetch[v1alpha1.SecurityGroup](ctx, r, "web")
		if err == nil && (*web.Status.Protected || len(web.Finalizers) > 0) {
			return fmt.Errorf("protected %t, finalizers %v", *web.Status.Protected, web.Finalizers)
		}
		return err
	})
	r.delete(&v1alpha1.SecurityGroup{}, "web")
	r.gone(&v1alpha1.SecurityGroup{}, "web")
}

// TestGroupsThatNameEachOther deletes a cluster and its pool, whose groups have
// rules about each other: both groups go.
func TestGroupsThatNameEachOther(t *testing.T) {
	t.Parallel()
	r := newRoom(t)
	r.apply(all(network, terway("shop", "{profile: LeastPrivilege}"), manifest("NodePool", "workers", "{clusterName: shop, securityGroup: {type: Basic}}")))
	r.ready("shop")
	r.says(&v1alpha1.NodePool{}, "workers", "Ready=True/GroupInUse")
	for _, pair := range [][2]string{{"shop", "shop-workers"}, {"shop-workers", "shop"}} {
		if !slices.ContainsFunc(printed(r.group(pair[0])), func(rule printedRule) bool { return rule.Peer == pair[1] }) {
			t.Errorf("group %s has no rule about %s", pair[0], pair[1])
		}
	}
	// In the wrong order, and waiting for what hangs on it.
	if err := r.Delete(t.Context(), &v1alpha1.Cluster{ObjectMeta: metav1.ObjectMeta{Namespace: r.ns, Name: "shop"}}, client.PropagationPolicy(metav1.DeletePropagationForeground)); err != nil {
		t.Fatal(err)
	}
	r.gone(&v1alpha1.Cluster{}, "shop")
	r.says(&v1alpha1.NodePool{}, "workers", "Accepted=False/NotFound")
	r.delete(&v1alpha1.NodePool{}, "workers")
	r.gone(&v1alpha1.SecurityGroup{}, "shop-workers")
	r.gone(&v1alpha1.SecurityGroup{}, "shop")
}
