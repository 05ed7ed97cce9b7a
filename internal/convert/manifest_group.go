package convert

import (
	"fmt"
	"net/netip"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/util/intstr"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/profiles"
	"ringfence.dev/ringfence/rules"
)

func (r *reader) securityGroup(o *v1alpha1.SecurityGroup) {
	r.name(v1alpha1.KindSecurityGroup, &o.ObjectMeta)
	oneOf(r, "/spec/management", o.Spec.Management, v1alpha1.ManagementManaged, v1alpha1.ManagementManual, "")
	r.vpcName(o.Spec.VPCName)
	wish := r.wish("/spec", o.Spec.Type, o.Spec.InnerAccess)
	g := groupReader{reader: r, group: Group{Title: o.Name, Origin: Manifest, Place: r.document.at("")}, cloud: r.provider(o.Spec.Provider)}
	g.group.Name, g.group.VPC = o.Name, o.Spec.VPCName
	g.group.Type, g.group.InnerAccess = wish.Type, wish.InnerAccess

	g.system(rules.Ingress, "/status/systemIngress", o.Status.SystemIngress)
	g.system(rules.Egress, "/status/systemEgress", o.Status.SystemEgress)
	g.users(rules.Ingress, "/spec/ingress", o.Spec.Ingress)
	g.users(rules.Egress, "/spec/egress", o.Spec.Egress)
	r.builder.groups = append(r.builder.groups, g.group)
}

// vpcName reads a VPC that an object must name.
func (r *reader) vpcName(name string) {
	if name == "" {
		r.badf("/spec/vpcName", "no VPC: want the name of the VPC that this belongs to")
		return
	}
	r.refer(object{kind: v1alpha1.KindVPC, name: name}, "/spec/vpcName")
}

// wish reads the type and the inner access of a group under a pointer.
func (r *reader) wish(pointer string, groupType v1alpha1.GroupType, inner v1alpha1.InnerAccess) GroupWish {
	oneOf(r, pointer+"/type", groupType, v1alpha1.GroupTypeBasic, v1alpha1.GroupTypeAdvanced, "")
	oneOf(r, pointer+"/innerAccess", inner, v1alpha1.InnerAccessAccept, v1alpha1.InnerAccessDrop, "")
	if groupType == v1alpha1.GroupTypeAdvanced {
		if inner == v1alpha1.InnerAccessAccept {
			r.badf(pointer+"/innerAccess", "an advanced group has no inner access: members reach each other by rules only; want Drop, or nothing")
		}
		return GroupWish{Type: rules.Advanced}
	}
	return GroupWish{Type: rules.Basic, InnerAccess: inner != v1alpha1.InnerAccessDrop}
}

// profile reads the name of a profile; it may be empty.
func (r *reader) profile(pointer string, name v1alpha1.Profile) profiles.Scope {
	oneOf(r, pointer, name, v1alpha1.ProfileRecommended, v1alpha1.ProfileLeastPrivilege, "")
	return profiles.Scope(name)
}

// provider reports whether the group is meant for Alibaba Cloud.
func (r *reader) provider(p *v1alpha1.Provider) bool {
	if p == nil {
		return false
	}
	oneOf(r, "/spec/provider/type", p.Type, v1alpha1.ProviderHosts, v1alpha1.ProviderAlibabaCloud, "")
	if p.Type == v1alpha1.ProviderAlibabaCloud {
		return true
	}
	if p.RegionID != "" || p.ID != "" {
		r.badf("/spec/provider", "regionID and id go with type AlibabaCloud")
	}
	return false
}

// A groupReader reads the rules of one group.
type groupReader struct {
	*reader
	group Group
	// cloud refuses what Alibaba Cloud cannot express.
	cloud bool
}

func (g *groupReader) system(d rules.Direction, pointer string, list []v1alpha1.SystemRule) {
	for i := range list {
		g.rule(d, fmt.Sprintf("%s/%d", pointer, i), &list[i])
	}
}

func (g *groupReader) users(d rules.Direction, pointer string, list []v1alpha1.Rule) {
	for i := range list {
		g.rule(d, fmt.Sprintf("%s/%d", pointer, i), &v1alpha1.SystemRule{Rule: list[i]})
	}
}

// rule reads one rule and adds it to the group if it is right.
func (g *groupReader) rule(d rules.Direction, pointer string, in *v1alpha1.SystemRule) {
	before := len(g.mistakes)
	oneOf(g.reader, pointer+"/policy", in.Policy, v1alpha1.PolicyAccept, v1alpha1.PolicyDrop, "")
	out := rules.Rule{
		Direction:   d,
		Action:      rules.Accept,
		Priority:    g.priority(pointer+"/priority", in.Priority),
		Protocol:    g.protocol(pointer+"/protocol", in.Protocol),
		Ports:       g.ports(pointer+"/ports", in.Ports),
		Peer:        g.peer(pointer+"/peer", &in.Peer),
		Member:      g.member(pointer+"/memberCIDR", in.MemberCIDR),
		SourcePorts: g.ports(pointer+"/sourcePorts", in.SourcePorts),
		Description: in.Description,
		Row:         in.Row,
	}
	if in.Policy == v1alpha1.PolicyDrop {
		out.Action = rules.Drop
	}
	if n := utf8.RuneCountInString(in.Description); n > 512 {
		g.badf(pointer+"/description", "%d characters: want at most 512", n)
	}
	if len(g.mistakes) > before {
		return
	}
	if err := g.group.ValidateRule(&out); err != nil {
		g.badf(pointer+blamed(&out), "%w", err)
		return
	}
	if want := wantedFamily(out.Protocol, out.Member); want != "" {
		g.badf(pointer+"/memberCIDR", "protocol %s goes with %s addresses, not %s", out.Protocol, want, out.Member)
		return
	}
	if g.cloud {
		if err := out.ValidateECS(); err != nil {
			g.badf(pointer+"/protocol", "%w", err)
			return
		}
	}
	g.group.AppendAt(out, g.document.at(pointer))
}

// wantedFamily returns the family that a protocol demands where addresses are
// of the other one, and else nothing.
func wantedFamily(p rules.Protocol, addresses netip.Prefix) v1alpha1.AddressFamily {
	switch {
	case !addresses.IsValid():
	case p == rules.ICMP && addresses.Addr().Is6():
		return v1alpha1.IPv4
	case p == rules.ICMPv6 && addresses.Addr().Is4():
		return v1alpha1.IPv6
	}
	return ""
}

// blamed returns the pointer of the field that [rules.Group.ValidateRule]
// finds fault with, in a rule whose fields are right one by one.
func blamed(rule *rules.Rule) string {
	switch {
	case rule.Protocol.HasPorts() == rule.Ports.IsZero():
		return "/ports"
	case !rule.Protocol.HasPorts() && !rule.SourcePorts.IsZero():
		return "/sourcePorts"
	case familiesDiffer(rule):
		return "/memberCIDR"
	}
	return "/peer"
}

func familiesDiffer(rule *rules.Rule) bool {
	c, ok := rule.Peer.(rules.CIDR)
	return ok && rule.Member.IsValid() && rule.Member.Addr().Is4() != c.Prefix.Addr().Is4()
}

func (r *reader) priority(pointer string, p *int32) uint8 {
	if p == nil {
		return 1
	}
	if *p < 1 || *p > 100 {
		r.badf(pointer, "priority %d: want 1 (first) to 100 (last)", *p)
		return 1
	}
	return uint8(*p)
}

// protocol reads a name or a number.
func (r *reader) protocol(pointer string, in intstr.IntOrString) rules.Protocol {
	text := in.StrVal
	if r.document.base.Object != (Object{}) {
		text = in.String() // files have numbers read as text
	}
	if text == "" {
		r.badf(pointer, "no protocol: want ALL, TCP, UDP, ICMP, ICMPv6, another name or a number from 0 to 255")
		return rules.AllProtocols
	}
	p, err := rules.ParseProtocol(text)
	if err != nil {
		r.badf(pointer, "%w", err)
	}
	return p
}

// peer reads who is on the other end; nil after a mistake.
func (r *reader) peer(pointer string, in *v1alpha1.Peer) rules.Peer {
	said := 0
	for _, s := range []string{in.CIDR, in.GroupName, in.PrefixListName} {
		if s != "" {
			said++
		}
	}
	switch {
	case said == 0:
		r.badf(pointer, "no peer: want a cidr, groupName or prefixListName; there is no default")
	case said > 1:
		r.badf(pointer, "%d peers: want one of cidr, groupName and prefixListName", said)
	case in.GroupName != "":
		r.refer(object{kind: v1alpha1.KindSecurityGroup, name: in.GroupName}, pointer+"/groupName")
		return rules.GroupPeer{Name: in.GroupName}
	case in.PrefixListName != "":
		return rules.PrefixListPeer{Name: in.PrefixListName} // finish looks for the list
	default:
		if c := r.cidr(pointer+"/cidr", in.CIDR); c.Prefix.IsValid() {
			return c
		}
	}
	return nil
}

// member reads an optional CIDR of the group's own addresses.
func (r *reader) member(pointer, text string) netip.Prefix {
	if text == "" {
		return netip.Prefix{}
	}
	return r.cidr(pointer, text).Prefix
}
