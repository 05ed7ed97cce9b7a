package convert

import (
	"k8s.io/apimachinery/pkg/util/intstr"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/rules"
)

// SystemRules returns rules as they stand in the status of a SecurityGroup, in
// their order.
func SystemRules(list []rules.Rule) (ingress, egress []v1alpha1.SystemRule) {
	for i := range list {
		if list[i].Direction == rules.Egress {
			egress = append(egress, systemRule(&list[i]))
			continue
		}
		ingress = append(ingress, systemRule(&list[i]))
	}
	return ingress, egress
}

func systemRule(r *rules.Rule) v1alpha1.SystemRule {
	priority := int32(r.Priority)
	out := v1alpha1.SystemRule{Row: r.Row}
	out.Policy, out.Priority = v1alpha1.PolicyDrop, &priority
	if r.Action == rules.Accept {
		out.Policy = v1alpha1.PolicyAccept
	}
	out.Protocol, out.Ports = intstr.FromString(r.Protocol.String()), portsText(r.Ports)
	switch p := r.Peer.(type) {
	case rules.CIDR:
		out.Peer.CIDR = p.Text
	case rules.GroupPeer:
		out.Peer.GroupName = p.Name
	case rules.PrefixListPeer:
		out.Peer.PrefixListName = p.Name
	}
	if r.Member.IsValid() {
		out.MemberCIDR = r.Member.String()
	}
	out.SourcePorts, out.Description = portsText(r.SourcePorts), r.Description
	return out
}

// portsText is empty where there are no ports.
func portsText(p rules.PortRange) string {
	if p.IsZero() {
		return ""
	}
	return p.String()
}
