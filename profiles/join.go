package profiles

import "ringfence.dev/ringfence/rules"

// joined returns the facts with as few CIDRs as mean the same addresses.
func (f *Facts) joined() Facts {
	out := *f
	for _, list := range []*[]rules.CIDR{
		&out.VPC, &out.SecondaryVPC, &out.NodeSubnets, &out.PodSubnets, &out.PodCIDRs, &out.APIServer,
		&out.HealthCheckPeers, &out.AdminCIDRs, &out.NTPServers, &out.Metadata, &out.Callers,
	} {
		*list = rules.JoinCIDRs(*list)
	}
	if f.NodePorts != nil {
		out.NodePorts = &NodePorts{Ports: f.NodePorts.Ports, Peers: rules.JoinCIDRs(f.NodePorts.Peers)}
	}
	return out
}
