package convert

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"ringfence.dev/ringfence/rules"
)

// comparing tells go-cmp to compare addresses by ==, and inventories without
// their index.
func comparing() cmp.Options {
	return cmp.Options{
		cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{}),
		cmpopts.IgnoreUnexported(Inventory{}),
	}
}

// manifestFiles reads the manifests under testdata.
func manifestFiles(tb testing.TB, names ...string) []File {
	tb.Helper()
	var files []File
	for _, name := range names {
		data, err := os.ReadFile(filepath.Join("testdata", "manifests", name))
		if err != nil {
			tb.Fatal(err)
		}
		files = append(files, File{Name: name, Data: data})
	}
	return files
}

// parsed is Parse for input that must be right.
func parsed(tb testing.TB, files ...File) *Inventory {
	tb.Helper()
	inv, err := Parse(files)
	if err != nil {
		tb.Fatalf("Parse(...): %v", err)
	}
	checkInventory(tb, inv)
	return inv
}

func text(name, data string) File { return File{Name: name, Data: []byte(data)} }

// checkInventory checks all that the comments of Inventory promise.
func checkInventory(tb testing.TB, inv *Inventory) {
	tb.Helper()
	ok := func(right bool, format string, args ...any) {
		tb.Helper()
		if !right {
			tb.Errorf("Parse(...): "+format, args...)
		}
	}
	has := func(id string) bool { _, found := inv.Group(id); return found }
	ok(slices.IsSortedFunc(inv.Groups, func(x, y Group) int { return compareUnique(x.Name, y.Name) }), "groups out of order or twice")
	ok(slices.IsSortedFunc(inv.Clusters, func(x, y Cluster) int { return compareUnique(x.ID, y.ID) }), "clusters out of order or twice")
	ok(slices.IsSortedFunc(inv.VPCs, func(x, y VPC) int { return compareUnique(x.ID, y.ID) }), "VPCs out of order or twice")
	ok(slices.IsSortedFunc(inv.Subnets, func(x, y Subnet) int { return compareUnique(x.VPC+"\x00"+x.ID, y.VPC+"\x00"+y.ID) }), "subnets out of order or twice")
	ok(slices.IsSortedFunc(inv.Interfaces, func(x, y Interface) int { return compareUnique(x.ID, y.ID) }), "interfaces out of order or twice")
	for i := range inv.Groups {
		g := &inv.Groups[i]
		ok(g.Name != "", "a group without name")
		ok(len(g.Ingress) == len(g.IngressPlaces) && len(g.Egress) == len(g.EgressPlaces), "group %s: places are not parallel to rules", g.Name)
		ok(!g.RulesUnknown || len(g.Ingress)+len(g.Egress) == 0, "group %s: rules that are unknown", g.Name)
		ok(slices.IsSortedFunc(g.Members, func(x, y netip.Prefix) int { return compareUniqueBy(x, y, netip.Prefix.Compare) }), "group %s: members out of order or twice", g.Name)
		for _, d := range []rules.Direction{rules.Ingress, rules.Egress} {
			for j, r := range g.Rules(d) {
				ok(r.Direction == d, "group %s: a rule in the wrong direction", g.Name)
				ok(g.ValidateRule(&r) == nil, "group %s: %s rule %d: %v", g.Name, d, j+1, g.ValidateRule(&r))
				switch p := r.Peer.(type) {
				case rules.PrefixListPeer:
					_, found := inv.PrefixLists[p.Name]
					ok(found, "group %s: no prefix list %s", g.Name, p.Name)
				case rules.GroupPeer:
					ok(g.Origin != Manifest || has(p.Name), "group %s: no group %s", g.Name, p.Name)
				case rules.CIDR:
				}
			}
		}
	}
	for i := range inv.Clusters {
		checkCluster(tb, inv, &inv.Clusters[i])
	}
	for i := range inv.Interfaces {
		f := &inv.Interfaces[i]
		ok(f.ID != "", "an interface without ID")
		ok(slices.IsSortedFunc(f.Groups, compareUnique), "interface %s: groups out of order or twice", f.ID)
		ok(len(f.Groups) <= rules.MaxGroupsPerHost, "interface %s: %d groups", f.ID, len(f.Groups))
		for _, name := range f.Groups {
			g, found := inv.Group(name)
			ok(found, "interface %s: no group %s", f.ID, name)
			for _, a := range f.Addresses {
				ok(found && slices.Contains(g.Members, a), "interface %s: %s is no member of %s", f.ID, a, name)
			}
		}
		for _, a := range f.Addresses {
			ok(a == a.Masked(), "interface %s: host bits in %s", f.ID, a)
			ok(slices.Contains(inv.InterfacesAt(a.Addr()), f) || !a.IsSingleIP(), "interface %s: not found by %s", f.ID, a)
		}
		if f.Cluster != "" {
			_, found := inv.Cluster(f.Cluster)
			ok(found, "interface %s: no cluster %s", f.ID, f.Cluster)
		}
	}
}

func checkCluster(tb testing.TB, inv *Inventory, c *Cluster) {
	tb.Helper()
	ok := func(right bool, format string, args ...any) {
		tb.Helper()
		if !right {
			tb.Errorf("Parse(...): cluster %s: "+format, append([]any{c.ID}, args...)...)
		}
	}
	ok(c.ID != "" && c.Title != "", "no ID or no title")
	ok(slices.IsSorted(c.Unknown), "unknown facts out of order: %v", c.Unknown)
	ok(slices.Contains(c.Unknown, FactNodeSubnets) == (len(c.Facts.NodeSubnets) == 0), "node subnets %v, unknown %v", c.Facts.NodeSubnets, c.Unknown)
	names := slices.Clone(c.PodGroups)
	if c.Group != "" {
		names = append(names, c.Group)
	}
	for i := range c.Pools {
		p := &c.Pools[i]
		names = append(names, p.Groups...)
		ok(len(p.Groups) > 0 || p.Wants != nil || c.Group == "", "pool %s without a group", p.ID)
		ok(len(p.Groups) == 0 || p.Wants == nil, "pool %s has groups and wants one", p.ID)
	}
	for _, name := range names {
		_, found := inv.Group(name)
		ok(found, "no group %s", name)
	}
}

// compareUnique orders as strings.Compare, but finds equal ones out of order.
func compareUnique(x, y string) int { return compareUniqueBy(x, y, strings.Compare) }

// compareUniqueBy is for IsSortedFunc, which asks for compare(next, previous) < 0.
func compareUniqueBy[T any](x, y T, compare func(T, T) int) int {
	if c := compare(x, y); c != 0 {
		return c
	}
	return -1
}

func TestInterfaceAt(t *testing.T) {
	b := builder{interfaces: []Interface{
		{ID: "eni-1", VPC: "v1", Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/32"), netip.MustParsePrefix("10.0.1.7/28")}, Groups: []string{"sg-1"}},
		{ID: "eni-2", VPC: "v1", Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.1.3/32"), netip.MustParsePrefix("2001:db8::/80")}, Groups: []string{"sg-1"}},
		{ID: "eni-3", VPC: "v2", Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/32")}, Groups: []string{"sg-2"}},
	}}
	inv, err := b.finish()
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		reason string
		addr   string
		want   []string
	}{
		"Single":       {"a single address", "10.0.1.3", []string{"eni-2"}},
		"Prefix":       {"an address of a prefix", "10.0.1.4", []string{"eni-1"}},
		"IPv6":         {"families do not mix", "2001:db8::42", []string{"eni-2"}},
		"Mapped":       {"IPv4 in IPv6 clothes is IPv4", "::ffff:10.0.1.3", []string{"eni-2"}},
		"Ambiguous":    {"two networks may use one address", "10.0.0.1", []string{"eni-1", "eni-3"}},
		"Outside":      {"an address of nobody", "10.0.2.1", nil},
		"JustOutside":  {"the first address after a prefix", "10.0.1.16", nil},
		"OutsideIPv6":  {"an IPv6 address of nobody", "2001:db9::", nil},
		"NotAnAddress": {"the zero Addr", "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			a, _ := netip.ParseAddr(tc.addr)
			var got []string
			for _, f := range inv.InterfacesAt(a) {
				got = append(got, f.ID)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%s\nInterfacesAt(%s): -want +got:\n%s", tc.reason, a, diff)
			}
			if _, ok := inv.InterfaceAt(a); ok != (len(tc.want) == 1) {
				t.Errorf("InterfaceAt(%s): found %t, want %t", a, ok, len(tc.want) == 1)
			}
		})
	}
}

func TestClusterLookup(t *testing.T) {
	one := cluster{Cluster: Cluster{ID: "c1", Title: "shop"}}
	one.Facts.PodCIDRs = []rules.CIDR{rules.MustCIDR("172.20.0.0/16"), rules.MustCIDR("2001:db8::/64")}
	two := cluster{Cluster: Cluster{ID: "c2", Title: "blog"}}
	two.Facts.PodCIDRs = []rules.CIDR{rules.MustCIDR("172.20.1.0/24"), rules.MustCIDR("172.30.0.0/16")}
	three := cluster{Cluster: Cluster{ID: "c3", Title: "blog"}}
	three.Facts.PodCIDRs = []rules.CIDR{rules.MustCIDR("172.30.0.0/16")}
	b := builder{clusters: []cluster{two, three, one}}
	inv, err := b.finish()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"c1": "c1", "shop": "c1", "c2": "c2", "blog": "", "": "", "x": ""} {
		got := ""
		if c, ok := inv.Cluster(name); ok {
			got = c.ID
		}
		if got != want {
			t.Errorf("Cluster(%q): %q, want %q", name, got, want)
		}
	}
	for addr, want := range map[string]string{
		"172.20.2.1": "c1", "172.20.1.1": "c2", "172.30.0.1": "", "10.0.0.1": "", "2001:db8::1": "c1", "::ffff:172.20.2.1": "c1",
	} {
		got := ""
		if c, ok := inv.ClusterByPodAddress(netip.MustParseAddr(addr)); ok {
			got = c.ID
		}
		if got != want {
			t.Errorf("ClusterByPodAddress(%s): %q, want %q", addr, got, want)
		}
	}
}

func TestPlaceString(t *testing.T) {
	for want, p := range map[string]Place{
		"a.yaml:3: /spec":  {File: "a.yaml", Line: 3, Path: "/spec"},
		"a.json: /Vpcs":    {File: "a.json", Path: "/Vpcs"},
		"a.yaml":           {File: "a.yaml"},
		"a.yaml:3":         {File: "a.yaml", Line: 3},
		"a.json: /x/0/x/1": {File: "a.json", Path: "/x/0/x/1"},
	} {
		if got := p.String(); got != want {
			t.Errorf("%#v.String(): %q, want %q", p, got, want)
		}
	}
	long := Place{File: "a", Path: fmt.Sprintf("/%0500d", 7)}
	if got := long.String(); len(got) > 320 {
		t.Errorf("String() of a pointer of 500 bytes: %d bytes", len(got))
	}
}

func TestCompareNatural(t *testing.T) {
	want := []string{"", "a", "a01", "a1", "a2", "a2b", "a10", "a10b", "b", "page-9.json", "page-10.json"}
	got := slices.Clone(want)
	slices.Reverse(got)
	slices.SortFunc(got, compareNatural)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("sorted by compareNatural: -want +got:\n%s", diff)
	}
}
