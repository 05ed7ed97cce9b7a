package discover

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/rules"
)

// What an object holds of a report: some 300 KiB at most.
const (
	maxNeeds      = 500
	maxUnknown    = 100
	maxParties    = 500
	maxPerParty   = 2000
	maxAllParties = 5000
)

// kindNames are the words for kinds of party in objects. They are a contract.
func kindNames() map[PartyKind]string {
	return map[PartyKind]string{
		Anywhere: "Anywhere", APIServer: "APIServer", ControlPlane: "ControlPlane", Nodes: "Nodes", AllPods: "AllPods",
		Pods: "Pods", Hosts: "Hosts", LoadBalancer: "LoadBalancer", CIDR: "CIDR", Address: "Address", External: "External",
	}
}

func classNames() map[Class]v1alpha1.NeedClass {
	return map[Class]v1alpha1.NeedClass{Essential: v1alpha1.NeedEssential, Expected: v1alpha1.NeedExpected, Optional: v1alpha1.NeedOptional}
}

func wireNames() map[Wire]v1alpha1.NeedWire {
	return map[Wire]v1alpha1.NeedWire{Host: v1alpha1.WireHost, RoutedPod: v1alpha1.WireRoutedPod, Overlay: v1alpha1.WireOverlay, WireUnknown: v1alpha1.WireUnknown}
}

// Object returns the report as controllers publish it, without a name: bounded,
// what there is no room for only counted. Equal reports give equal objects.
func (r *Report) Object() *v1alpha1.ClusterNeeds {
	o := &v1alpha1.ClusterNeeds{Network: v1alpha1.SeenNetwork{
		Mode: v1alpha1.NetworkMode(r.Network.Mode), Encapsulation: v1alpha1.Encapsulation(r.Network.Encapsulation), EncapsulationPort: int32(r.Network.Port),
	}}
	o.Counts.Unknown = int32(len(r.Unknown)) //nolint:gosec // fewer than objects of a cluster
	used := map[Party]bool{{Kind: Nodes}: true, {Kind: APIServer}: true, {Kind: ControlPlane}: true, {Kind: AllPods}: true}
	for i := range r.Needs {
		n := &r.Needs[i]
		*map[Class]*int32{Essential: &o.Counts.Essential, Expected: &o.Counts.Expected, Optional: &o.Counts.Optional}[n.Class]++
		if len(o.Needs) < maxNeeds {
			o.Needs = append(o.Needs, n.object())
			used[n.From], used[n.To] = true, true
		}
	}
	for i := range r.Unknown[:min(len(r.Unknown), maxUnknown)] {
		u := &r.Unknown[i]
		o.Unknown = append(o.Unknown, v1alpha1.UnknownNeed{About: short(u.About, 1024), Why: short(u.Why, 1024), Tell: short(u.Tell, 1024)})
	}
	room := maxAllParties
	for i := range r.Parties {
		if l := &r.Parties[i]; used[l.Party] && len(o.Parties) < maxParties {
			p := l.object(room)
			room -= len(p.CIDRs)
			o.Parties = append(o.Parties, p)
		}
	}
	return o
}

func (n *Need) object() v1alpha1.ClusterNeed {
	out := v1alpha1.ClusterNeed{
		From: n.From.object(), To: n.To.object(), Protocol: n.Protocol.String(), Class: classNames()[n.Class], Wire: wireNames()[n.Wire],
		In: n.In, Why: short(n.Why, 512), Logs: short(n.Logs, 1024),
	}
	if !n.Ports.IsZero() {
		out.Ports = n.Ports.String()
	}
	for _, e := range n.Because.Evidence {
		out.Because = append(out.Because, short(e.String(), 1024))
	}
	return out
}

func (p Party) object() v1alpha1.NeedParty {
	return v1alpha1.NeedParty{Kind: kindNames()[p.Kind], Name: short(p.Name, 640)}
}

func (l *Located) object(room int) v1alpha1.PartyAddresses {
	list := make([]rules.CIDR, 0, len(l.Prefixes))
	for _, p := range l.Prefixes {
		list = append(list, rules.CIDR{Prefix: p, Text: p.String()})
	}
	list = rules.JoinCIDRs(list)
	out := v1alpha1.PartyAddresses{NeedParty: l.Party.object()}
	for _, c := range list[:min(len(list), maxPerParty, room)] {
		out.CIDRs = append(out.CIDRs, c.Prefix.String())
	}
	out.Omitted = int32(len(list) - len(out.CIDRs)) //nolint:gosec // fewer than addresses of a cluster
	return out
}

// String returns KIND NAMESPACE/NAME FIELD.
func (e Evidence) String() string { return strings.TrimSpace(e.Object.String() + " " + e.Field) }

// short cuts a text that is too long, which none is that Kubernetes lets in.
func short(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most-3], "") + "..."
}

// FromObject returns the report that an object was made from, as far as there
// was room in it. Errors name what makes no sense.
func FromObject(o *v1alpha1.ClusterNeeds) (*Report, error) {
	r := &Report{Network: Network{string(o.Network.Mode), string(o.Network.Encapsulation), uint16(o.Network.EncapsulationPort)}} //nolint:gosec // the schema has looked
	for i := range o.Needs {
		n, err := needFrom(&o.Needs[i])
		if err != nil {
			return nil, fmt.Errorf("ClusterNeeds %s: /needs/%d: %w", o.Name, i, err)
		}
		r.Needs = append(r.Needs, n)
	}
	for _, u := range o.Unknown {
		r.Unknown = append(r.Unknown, Unknown{About: u.About, Why: u.Why, Tell: u.Tell})
	}
	for i := range o.Parties {
		l, err := locatedFrom(&o.Parties[i])
		if err != nil {
			return nil, fmt.Errorf("ClusterNeeds %s: /parties/%d: %w", o.Name, i, err)
		}
		r.Parties = append(r.Parties, l)
	}
	return r, nil
}

func needFrom(in *v1alpha1.ClusterNeed) (Need, error) {
	n := Need{In: in.In, Why: in.Why, Logs: in.Logs}
	var errs [6]error
	n.From, errs[0] = partyFrom(in.From)
	n.To, errs[1] = partyFrom(in.To)
	n.Protocol, errs[2] = rules.ParseProtocol(in.Protocol)
	if in.Ports != "" {
		n.Ports, errs[3] = rules.ParsePortRange(in.Ports)
	}
	n.Class, errs[4] = keyOf(classNames(), in.Class)
	n.Wire, errs[5] = keyOf(wireNames(), in.Wire)
	for _, text := range in.Because {
		kind, rest, _ := strings.Cut(text, " ")
		object, field, _ := strings.Cut(rest, " ")
		ref := Ref{Kind: kind, Name: object}
		if ns, name, ok := strings.Cut(object, "/"); ok {
			ref.Namespace, ref.Name = ns, name
		}
		n.Because.Evidence = append(n.Because.Evidence, Evidence{Object: ref, Field: field})
	}
	return n, cmp.Or(errs[:]...)
}

func partyFrom(in v1alpha1.NeedParty) (Party, error) {
	kind, err := keyOf(kindNames(), in.Kind)
	return Party{kind, in.Name}, err
}

func locatedFrom(in *v1alpha1.PartyAddresses) (Located, error) {
	party, err := partyFrom(in.NeedParty)
	l := Located{Party: party}
	for _, text := range in.CIDRs {
		p, perr := netip.ParsePrefix(text)
		if perr != nil {
			return l, fmt.Errorf("%q: want a CIDR", text)
		}
		l.Prefixes = append(l.Prefixes, p.Masked())
	}
	slices.SortFunc(l.Prefixes, netip.Prefix.Compare)
	return l, err
}

// keyOf looks up what has a name.
func keyOf[K comparable, V ~string](names map[K]V, text V) (K, error) {
	for k, v := range names {
		if v == text {
			return k, nil
		}
	}
	var zero K
	return zero, fmt.Errorf("%q is not known", text)
}
