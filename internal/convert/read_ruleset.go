package convert

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/profiles"
	"ringfence.dev/ringfence/rules"
)

// ReadRuleset is the inverse of [RulesetSpec], but for how people wrote
// addresses. It is all or nothing.
func ReadRuleset(spec *v1alpha1.RulesetSpec) (*rules.Ruleset, error) {
	rs := &rules.Ruleset{Type: rules.Basic, Groups: spec.SecurityGroupNames, InnerAccess: spec.InnerAccessGroupNames}
	switch spec.Type {
	case v1alpha1.GroupTypeAdvanced:
		rs.Type = rules.Advanced
	case v1alpha1.GroupTypeBasic:
	default:
		return nil, fmt.Errorf("ruleset of %v: type %q: want Basic or Advanced", spec.SecurityGroupNames, spec.Type)
	}
	var mistakes [2]error
	rs.Ingress, mistakes[0] = mergedRules(spec.Ingress, rules.Ingress)
	rs.Egress, mistakes[1] = mergedRules(spec.Egress, rules.Egress)
	if err := errors.Join(mistakes[:]...); err != nil {
		return nil, fmt.Errorf("ruleset of %v: %w", spec.SecurityGroupNames, err)
	}
	return rs, nil
}

func mergedRules(list []v1alpha1.RulesetRule, d rules.Direction) ([]rules.MergedRule, error) {
	var out []rules.MergedRule
	for i := range list {
		r, err := mergedRule(&list[i], d)
		if err != nil {
			return nil, fmt.Errorf("rule %s: %w", list[i].By, err)
		}
		out = append(out, r)
	}
	return out, nil
}

func mergedRule(in *v1alpha1.RulesetRule, d rules.Direction) (rules.MergedRule, error) {
	out := rules.MergedRule{Rule: rules.Rule{Direction: d}, Units: max(1, len(in.CIDRs))}
	by := strings.Split(in.By, "/")
	if len(by) != 3 || by[1] != d.String() { //nolint:mnd // GROUP/DIRECTION/POSITION
		return out, fmt.Errorf("by: want GROUP/%s/N", d)
	}
	out.Group = by[0]
	var p problemList
	var err error
	out.Position, err = strconv.Atoi(by[2])
	p.add(err)
	out.Protocol, err = rules.ParseProtocol(in.Protocol.String())
	p.add(err)
	out.Ports, err = optional(in.Ports, rules.ParsePortRange)
	p.add(err)
	out.SourcePorts, err = optional(in.SourcePorts, rules.ParsePortRange)
	p.add(err)
	out.Member, err = optional(in.MemberCIDR, netip.ParsePrefix)
	p.add(err)
	out.Prefixes, err = parseAll(in.CIDRs, netip.ParsePrefix)
	p.add(err)
	switch in.Policy {
	case v1alpha1.PolicyAccept:
		out.Action = rules.Accept
	case v1alpha1.PolicyDrop:
	default:
		p.add(fmt.Errorf("policy %q: want Accept or Drop", in.Policy))
	}
	if in.Priority < 1 || in.Priority > 100 {
		p.add(fmt.Errorf("priority %d: want 1 to 100", in.Priority))
	}
	out.Priority = uint8(in.Priority) //nolint:gosec // checked
	switch {
	case in.PrefixListName != "":
		out.Peer = rules.PrefixListPeer{Name: in.PrefixListName}
	case in.GroupName != "":
		out.Peer = rules.GroupPeer{Name: in.GroupName}
	case len(out.Prefixes) == 1:
		out.Peer = rules.CIDR{Prefix: out.Prefixes[0], Text: out.Prefixes[0].String()}
	default:
		p.add(fmt.Errorf("%d CIDRs: want one, a groupName, or the CIDRs of a prefixListName", len(in.CIDRs)))
	}
	return out, errors.Join(p...)
}

type problemList []error

func (p *problemList) add(err error) {
	if err != nil {
		*p = append(*p, err)
	}
}

// optional parses a text; empty gives the zero value.
func optional[T any, S ~string](text S, parse func(string) (T, error)) (T, error) {
	if text == "" {
		var zero T
		return zero, nil
	}
	return parse(string(text))
}

func parseAll[T any, S ~string](texts []S, parse func(string) (T, error)) ([]T, error) {
	var out []T
	for _, text := range texts {
		v, err := parse(string(text))
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

// KeepOf returns what one host may not lose while it wears groups of a type:
// nothing if it is in no cluster.
func (v *Inventory) KeepOf(t *profiles.Tables, host *Interface, groups rules.GroupType) []v1alpha1.KeepFlow {
	c, ok := v.Cluster(host.Cluster)
	if !ok {
		return nil
	}
	withRole := func(role v1alpha1.HostRole) []rules.CIDR {
		var list []rules.CIDR
		for i := range v.Interfaces {
			f := &v.Interfaces[i]
			if f.Cluster != c.ID || !slices.Contains(f.Roles, string(role)) {
				continue
			}
			for _, p := range f.Addresses {
				list = append(list, rules.CIDR{Prefix: p, Text: p.Addr().String()})
			}
		}
		return list
	}
	facts := c.Facts
	facts.GroupType = groups
	var out []v1alpha1.KeepFlow
	for _, k := range t.Keep(&facts, withRole(v1alpha1.RoleAPIServer), withRole(v1alpha1.RoleEtcd)) {
		mine := len(k.Roles) == 0 || slices.ContainsFunc(k.Roles, func(r string) bool { return slices.Contains(host.Roles, r) })
		if mine {
			out = append(out, keepFlows(c.ID, &k)...)
		}
	}
	return out
}

// KeepNeeds returns flows to keep as needs: one for each peer.
func KeepNeeds(flows []v1alpha1.KeepFlow) ([]rules.Need, error) {
	var out []rules.Need
	for i := range flows {
		f := &flows[i]
		n := rules.Need{ID: f.Row, Source: f.Row, Direction: rules.Ingress}
		if f.Direction == v1alpha1.DirectionEgress {
			n.Direction = rules.Egress
		}
		var p problemList
		var err error
		n.Protocol, err = rules.ParseProtocol(f.Protocol.String())
		p.add(err)
		n.Ports, err = optional(f.Ports, rules.ParsePortRange)
		p.add(err)
		cidrs, err := parseAll(f.CIDRs, rules.ParseCIDR)
		p.add(err)
		if err := errors.Join(p...); err != nil {
			return nil, fmt.Errorf("flow to keep %s: %w", f.Row, err)
		}
		for _, c := range cidrs {
			n.Peer = c
			out = append(out, n)
		}
		if f.GroupName != "" {
			n.Peer = rules.GroupPeer{Name: f.GroupName}
			out = append(out, n)
		}
	}
	return out, nil
}

// RulesetGroups returns the names of the groups on whose members a Ruleset
// depends, sorted: its rules and flows to keep name them, or they have inner
// access.
func RulesetGroups(spec *v1alpha1.RulesetSpec) []string {
	out := slices.Clone(spec.InnerAccessGroupNames)
	for _, list := range [][]v1alpha1.RulesetRule{spec.Ingress, spec.Egress} {
		for i := range list {
			if g := list[i].GroupName; g != "" {
				out = append(out, g)
			}
		}
	}
	for i := range spec.Keep {
		if g := spec.Keep[i].GroupName; g != "" {
			out = append(out, g)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
