package convert

import (
	"fmt"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/profiles"
	"ringfence.dev/ringfence/rules"
)

func (r *reader) cluster(o *v1alpha1.Cluster) {
	r.name(v1alpha1.KindCluster, &o.ObjectMeta)
	r.vpcName(o.Spec.VPCName)
	c := cluster{Cluster: Cluster{
		ID: o.Name, Title: o.Name, VPC: o.Spec.VPCName, Origin: Manifest, Place: r.document.at(""),
		Facts: profiles.Facts{Cluster: o.Name},
	}}
	r.network(&c, &o.Spec.Network)
	r.clusterGroup(&c, o)
	r.facts(&c.Facts, &o.Spec)
	r.discovered(&c.Facts, o.Status.Discovered)
	for i := range o.Spec.Exposures {
		c.Facts.Exposures = append(c.Facts.Exposures, r.exposure(fmt.Sprintf("/spec/exposures/%d", i), &o.Spec.Exposures[i]))
	}
	r.builder.clusters = append(r.builder.clusters, c)
}

func (r *reader) network(c *cluster, in *v1alpha1.Network) {
	const at = "/spec/network"
	oneOf(r, at+"/mode", in.Mode,
		v1alpha1.NetworkTerway, v1alpha1.NetworkFlannel, v1alpha1.NetworkCalico, v1alpha1.NetworkCilium,
		v1alpha1.NetworkAntrea, v1alpha1.NetworkOVNKubernetes, v1alpha1.NetworkKubeRouter, v1alpha1.NetworkOther)
	oneOf(r, at+"/encapsulation", in.Encapsulation,
		v1alpha1.EncapsulationNone, v1alpha1.EncapsulationVXLAN, v1alpha1.EncapsulationGeneve,
		v1alpha1.EncapsulationIPIP, v1alpha1.EncapsulationWireGuard, "")
	c.Facts.Mode = profiles.NetworkMode(in.Mode)
	c.Facts.Encapsulation = profiles.Encapsulation(in.Encapsulation)
	c.Facts.EncapsulationPort = r.port(at+"/encapsulationPort", in.EncapsulationPort, 0)
	c.Facts.BGP = in.BGP

	terway := in.Mode == v1alpha1.NetworkTerway
	switch {
	case terway && len(in.PodCIDRs) > 0:
		r.badf(at+"/podCIDRs", "Terway has no pod CIDRs: its pods have addresses of podSubnets")
	case !terway && len(in.PodSubnets) > 0:
		r.badf(at+"/podSubnets", "pod subnets go with Terway: with %s, pods have addresses of podCIDRs", in.Mode)
	case !terway && len(in.PodSecurityGroupNames) > 0:
		r.badf(at+"/podSecurityGroupNames", "groups of pod interfaces go with Terway: with %s, pods have none", in.Mode)
	}
	r.referAll(subnetKind, c.VPC, at+"/nodeSubnets", in.NodeSubnets)
	r.referAll(subnetKind, c.VPC, at+"/podSubnets", in.PodSubnets)
	r.referAll(v1alpha1.KindSecurityGroup, "", at+"/podSecurityGroupNames", in.PodSecurityGroupNames)
	c.subnetIDs, c.podSubnetIDs, c.PodGroups = in.NodeSubnets, in.PodSubnets, in.PodSecurityGroupNames

	services := newRangeSet(r.apart(c, "service CIDR", at+"/serviceCIDRs", in.ServiceCIDRs))
	c.Facts.PodCIDRs = r.apart(c, podRange, at+"/podCIDRs", in.PodCIDRs)
	for i, pod := range c.Facts.PodCIDRs {
		if service, ok := services.find(pod.Prefix); ok {
			r.badf(fmt.Sprintf("%s/podCIDRs/%d", at, i), "pod CIDR %s overlaps service CIDR %s", pod, service)
		}
	}
}

// podRange is what messages call a range of pods.
const podRange = "pod CIDR"

// A clusterRange is a range of pods or services that must be disjoint from a
// VPC's; that of pods also from those of the clusters in it that were there
// before.
type clusterRange struct {
	what         string
	cidr         rules.CIDR
	cluster, vpc string
	place        Place
}

// apart reads CIDRs that must be disjoint from those of the cluster's VPC.
func (r *reader) apart(c *cluster, what, pointer string, texts []string) []rules.CIDR {
	list := r.cidrs(pointer, texts)
	for i, cidr := range list {
		r.builder.manifests.ranges = append(r.builder.manifests.ranges,
			clusterRange{what, cidr, c.ID, c.VPC, r.document.at(fmt.Sprintf("%s/%d", pointer, i))})
	}
	return list
}

func (r *reader) clusterGroup(c *cluster, o *v1alpha1.Cluster) {
	const at = "/spec/securityGroup"
	in := &o.Spec.SecurityGroup
	c.Profile = r.profile(at+"/profile", in.Profile)
	wish := r.wish(at, in.Type, in.InnerAccess)
	c.GroupType, c.InnerAccess = wish.Type, wish.InnerAccess
	switch {
	case in.Name != "" && (in.Type != "" || in.InnerAccess != ""):
		r.badf(at, "name stands for an existing group, type and innerAccess for a new one: want one or the other")
	case in.Name != "":
		c.Group = in.Name
		r.refer(object{kind: v1alpha1.KindSecurityGroup, name: c.Group}, at+"/name")
	case o.Status.SecurityGroupName != "":
		c.Group = o.Status.SecurityGroupName
		r.refer(object{kind: v1alpha1.KindSecurityGroup, name: c.Group}, "/status/securityGroupName")
	}
}

func (r *reader) facts(f *profiles.Facts, in *v1alpha1.ClusterSpec) {
	for i, text := range in.APIServer.Addresses {
		at := fmt.Sprintf("/spec/apiServer/addresses/%d", i)
		switch c := r.cidr(at, text); {
		case !c.Prefix.IsValid():
		case !c.Prefix.IsSingleIP():
			r.badf(at, "%s is a range: want one address", c)
		default:
			f.APIServer = append(f.APIServer, c)
		}
	}
	f.APIServerPort = r.port("/spec/apiServer/port", in.APIServer.Port, 0)
	for i, n := range in.WebhookPorts {
		f.WebhookPorts = append(f.WebhookPorts, r.port(fmt.Sprintf("/spec/webhookPorts/%d", i), n, 1))
	}
	f.Etcd, f.DHCP, f.Poseidon = in.Etcd, in.DHCP, in.Poseidon
	f.AdminCIDRs = r.cidrs("/spec/adminCIDRs", in.AdminCIDRs)
	f.NTPServers = r.cidrs("/spec/ntpServers", in.NTPServers)
	f.Metadata = r.cidrs("/spec/metadataAddresses", in.MetadataAddresses)
	if in.NodePorts != nil {
		f.NodePorts = &profiles.NodePorts{
			Ports: r.ports("/spec/nodePorts/ports", in.NodePorts.Ports),
			Peers: r.needed("/spec/nodePorts/cidrs", in.NodePorts.CIDRs),
		}
	}
	if in.HealthChecks != nil {
		f.HealthCheckPorts = r.ports("/spec/healthChecks/ports", in.HealthChecks.Ports)
		f.HealthCheckPeers = r.needed("/spec/healthChecks/cidrs", in.HealthChecks.CIDRs)
		if f.HealthCheckPorts.IsZero() {
			r.badf("/spec/healthChecks/ports", "no ports: want FIRST/LAST, the ports that are probed")
		}
	}
}

// discovered reads what the controllers saw of the running cluster.
func (r *reader) discovered(f *profiles.Facts, in *v1alpha1.Discovered) {
	if in == nil {
		return
	}
	for i := range in.Callers {
		f.Callers = append(f.Callers, r.cidr(fmt.Sprintf("/status/discovered/callers/%d/address", i), in.Callers[i].Address))
	}
	for i := range in.Hooks {
		f.Hooks = append(f.Hooks, r.port(fmt.Sprintf("/status/discovered/hooks/%d/port", i), in.Hooks[i].Port, 1))
	}
}

// needed is cidrs for a list that must not be empty.
func (r *reader) needed(pointer string, texts []string) []rules.CIDR {
	if len(texts) == 0 {
		r.badf(pointer, "no CIDRs: want at least one")
	}
	return r.cidrs(pointer, texts)
}

func (r *reader) exposure(pointer string, in *v1alpha1.Exposure) profiles.Exposure {
	oneOf(r, pointer+"/direction", in.Direction, v1alpha1.DirectionIngress, v1alpha1.DirectionEgress, "")
	before := len(r.mistakes)
	x := profiles.Exposure{
		Protocol: r.protocol(pointer+"/protocol", in.Protocol),
		Ports:    r.ports(pointer+"/ports", in.Ports),
	}
	if in.Direction == v1alpha1.DirectionEgress {
		x.Direction = rules.Egress
	}
	for _, c := range r.cidrs(pointer+"/cidrs", in.CIDRs) {
		x.Peers = append(x.Peers, c)
	}
	r.referAll(v1alpha1.KindSecurityGroup, "", pointer+"/groupNames", in.GroupNames)
	for _, name := range in.GroupNames {
		x.Peers = append(x.Peers, rules.GroupPeer{Name: name})
	}
	r.referAll(v1alpha1.KindPrefixList, "", pointer+"/prefixListNames", in.PrefixListNames)
	for _, name := range in.PrefixListNames {
		x.Peers = append(x.Peers, rules.PrefixListPeer{Name: name})
	}
	if len(r.mistakes) > before {
		return x
	}
	if len(x.Peers) == 0 {
		r.badf(pointer, "no peers: want cidrs, groupNames or prefixListNames; there is no default")
	}
	// What holds of an exposure holds of a rule for each of its peers.
	for _, peer := range x.Peers {
		rule := rules.Rule{Direction: x.Direction, Priority: 1, Protocol: x.Protocol, Ports: x.Ports, Peer: peer}
		if err := (&rules.Group{}).ValidateRule(&rule); err != nil {
			r.badf(pointer+exposureField(&rule), "%w", err)
			break
		}
	}
	return x
}

func exposureField(rule *rules.Rule) string {
	if blamed(rule) == "/ports" {
		return "/ports"
	}
	return "/protocol"
}
