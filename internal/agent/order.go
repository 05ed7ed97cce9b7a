package agent

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/convert"
	"ringfence.dev/ringfence/internal/judge"
	"ringfence.dev/ringfence/internal/nft"
	"ringfence.dev/ringfence/profiles"
	"ringfence.dev/ringfence/rules"
)

// An Order is what one host is to enforce. Nothing in it is looked up anywhere.
type Order struct {
	Host string `json:"host"`
	// Addresses are the host's own: what tells its uplinks.
	Addresses []netip.Addr `json:"addresses"`
	// Ruleset is the merged rules, and the flows that this host may not lose.
	Ruleset v1alpha1.RulesetSpec `json:"ruleset"`
	// RulesetName is its name in the control plane; empty if it has none.
	RulesetName string `json:"rulesetName,omitempty"`
	// Plane is where the control plane is: this passes, whatever the rules say,
	// since they came from there.
	Plane []netip.AddrPort `json:"plane,omitempty"`
	// Serves are the ports on which the control plane is on this host, and Around
	// from where it is reached: a host that is to join wears nothing yet.
	Serves []uint16       `json:"serves,omitempty"`
	Around []netip.Prefix `json:"around,omitempty"`
	// Observe counts what would be dropped, and lets it pass.
	Observe bool `json:"observe,omitempty"`
	// Members are the addresses of each group that the rules name, or that has
	// inner access. A group that is here has no other members.
	Members map[string][]netip.Addr `json:"members"`
}

// An inputError is a mistake in what people wrote or typed.
type inputError struct{ error }

// Unwrap returns the mistake.
func (e inputError) Unwrap() error { return e.error }

func isInput(err error) bool {
	_, ok := errors.AsType[inputError](err)
	return ok
}

// decide finds what a host is to enforce in an inventory that has all hosts.
func decide(inv *convert.Inventory, tables *profiles.Tables, name string) (*intent, error) {
	inv, err := judge.Complete(inv, tables)
	if err != nil {
		return nil, inputError{err}
	}
	i := slices.IndexFunc(inv.Interfaces, func(f convert.Interface) bool { return f.ID == name && f.Origin == convert.Manifest })
	if i < 0 {
		return nil, inputError{fmt.Errorf("there is no Host %s in the manifests, which have %d hosts: name it with --host, or write it", name, len(inv.Interfaces))}
	}
	host := &inv.Interfaces[i]
	if len(host.Groups) == 0 {
		return nil, inputError{fmt.Errorf("%s: host %s wears no group: nothing says what it may do; give it a group, or a cluster (to enforce nothing any more: ringfence-agent uninstall)", host.Place, name)}
	}
	rs, err := merged(inv, host)
	if err != nil {
		return nil, inputError{fmt.Errorf("%s: host %s: %w", host.Place, name, err)}
	}
	all, err := members(inv)
	if err != nil {
		return nil, inputError{err}
	}
	o := Order{
		Host: name, Observe: host.Observe, Members: map[string][]netip.Addr{},
		Ruleset: convert.RulesetSpec(rs, inv.KeepOf(tables, host, rs.Type)),
	}
	for _, p := range host.Addresses {
		o.Addresses = append(o.Addresses, p.Addr())
	}
	for _, g := range convert.RulesetGroups(&o.Ruleset) {
		o.Members[g] = all[g]
	}
	return &intent{order: o, members: all}, nil
}

// members returns the addresses of each group, sorted. All hosts are known, so
// a group that nobody wears has none.
func members(inv *convert.Inventory) (map[string][]netip.Addr, error) {
	all := map[string][]netip.Addr{}
	for i := range inv.Groups {
		all[inv.Groups[i].Name] = []netip.Addr{}
	}
	for i := range inv.Interfaces {
		f := &inv.Interfaces[i]
		for _, p := range f.Addresses {
			if !p.IsSingleIP() {
				return nil, fmt.Errorf("%s: %s: %s is more than one address", f.Place, f.ID, p)
			}
			for _, g := range f.Groups {
				all[g] = append(all[g], p.Addr())
			}
		}
	}
	for g, list := range all {
		slices.SortFunc(list, netip.Addr.Compare)
		all[g] = slices.Compact(list)
	}
	return all, nil
}

func merged(inv *convert.Inventory, host *convert.Interface) (*rules.Ruleset, error) {
	var worn []*rules.Group
	for _, name := range host.Groups {
		g, ok := inv.Group(name)
		if !ok || g.RulesUnknown || g.TypeUnknown {
			return nil, fmt.Errorf("the rules of group %s are not in the manifests", name)
		}
		worn = append(worn, &g.Group)
	}
	rs, err := rules.Merge(worn, inv.PrefixLists)
	if err != nil {
		return nil, err
	}
	return rs, rs.Limits()
}

// A layout is an order laid out for the kernel.
type layout struct {
	order    *Order
	rules    *rules.Ruleset
	members  rules.Membership
	compiler *nft.Compiler
	version  *nft.Version
	exempt   []rules.Exempt
}

// lay lays an order out. The same order gives the same names, whoever lays it
// out and whenever.
func lay(o *Order, exempt []rules.Exempt) (*layout, error) {
	exempt = slices.Concat(exempt, o.passes())
	l := &layout{order: o, exempt: exempt}
	var err error
	if l.rules, err = convert.ReadRuleset(&o.Ruleset); err != nil {
		return nil, err
	}
	if l.compiler, err = nft.New(nft.Input{Ruleset: l.rules, Exempt: exempt, Observe: o.Observe}); err != nil {
		return nil, err
	}
	return l, l.setMembers(o)
}

// setMembers takes over the members of an order with the same rules.
func (l *layout) setMembers(o *Order) error {
	var members rules.Membership
	for g, list := range o.Members {
		prefixes := make([]netip.Prefix, len(list))
		for i, a := range list {
			prefixes[i] = netip.PrefixFrom(a, a.BitLen())
		}
		members.Set(g, prefixes)
	}
	v, err := l.compiler.Version(&members)
	if err != nil {
		return err
	}
	l.order, l.members, l.version = o, members, v
	return nil
}

// changes are the addresses whose groups differ between two orders, by address.
func changes(before, after *Order) []nft.Change {
	old, now := groupsOf(before), groupsOf(after)
	var out []nft.Change
	for a, held := range old {
		if !slices.Equal(held, now[a]) {
			out = append(out, nft.Change{Address: a, Before: held, After: now[a]})
		}
	}
	for a, held := range now {
		if _, ok := old[a]; !ok {
			out = append(out, nft.Change{Address: a, After: held})
		}
	}
	slices.SortFunc(out, func(a, b nft.Change) int { return a.Address.Compare(b.Address) })
	return out
}

// groupsOf returns the groups of each address, sorted.
func groupsOf(o *Order) map[netip.Addr][]string {
	out := map[netip.Addr][]string{}
	for g, list := range o.Members {
		for _, a := range list {
			out[a] = append(out[a], g)
		}
	}
	for _, held := range out {
		slices.Sort(held)
	}
	return out
}

// errCut says that an order would cut a flow that the host may not lose.
var errCut = errors.New("refused: it would cut flows that this host may not lose")

// cuts returns an error if the host would lose a flow to keep, but for the rows
// that are forced. What only observes cuts nothing.
func (l *layout) cuts(forced []string) error {
	if l.order.Observe {
		return nil
	}
	needs, err := convert.KeepNeeds(l.order.Ruleset.Keep)
	if err != nil {
		return err
	}
	needs = slices.DeleteFunc(needs, func(n rules.Need) bool { return slices.Contains(forced, n.ID) })
	if len(needs) == 0 {
		return nil
	}
	policy, err := l.policy(&l.members)
	if err != nil {
		return err
	}
	missing, err := policy.Cover(needs, nil)
	if err != nil || len(missing) == 0 {
		return err
	}
	var lines, rows []string
	for i := range missing {
		m := &missing[i]
		lines = append(lines, fmt.Sprintf("row %s: %s %s %s, peer %s: dropped by %s", m.Need.ID, m.Need.Direction, m.Need.Protocol, m.Need.Ports, m.Need.Peer, m.Verdict.By()))
		rows = append(rows, "--force "+m.Need.ID)
	}
	slices.Sort(rows)
	return fmt.Errorf("%w:\n%s\nlet them through, or say %s", errCut, strings.Join(lines, "\n"), strings.Join(slices.Compact(rows), " "))
}

// rowControlPlane is what stands for a row of the tables where a flow is the
// agent's own.
const rowControlPlane = "control-plane"

// passes is what passes on this host alone, before any rule.
func (o *Order) passes() []rules.Exempt {
	var out []rules.Exempt
	pass := func(port uint16, with netip.Prefix, why string) {
		out = append(out, rules.Exempt{
			Name: rowControlPlane, Protocol: rules.TCP, Ports: rules.PortRange{First: port, Last: port},
			Peer: rules.CIDR{Prefix: with, Text: with.String()}, Why: why,
		})
	}
	for _, at := range o.Plane {
		pass(at.Port(), netip.PrefixFrom(at.Addr(), at.Addr().BitLen()), "a host that has lost its control plane cannot be told otherwise")
	}
	for _, port := range o.Serves {
		for _, cidr := range o.Around {
			pass(port, cidr, "a host that is to join wears no group yet")
		}
	}
	return out
}
