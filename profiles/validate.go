package profiles

import (
	"errors"
	"fmt"
	"slices"

	"ringfence.dev/ringfence/rules"
)

// Validate reports everything that keeps the facts from meaning one thing,
// joined. It takes empty lists at their word: a caller that does not know a
// fact must not ask.
func (f *Facts) Validate() error {
	err := errors.Join(f.groupErrors(), f.networkErrors(), f.addressErrors(), f.exposureErrors(), f.serviceErrors())
	if err != nil {
		return fmt.Errorf("the facts of cluster %q do not fit together: %w", f.Cluster, err)
	}
	return nil
}

func (f *Facts) groupErrors() error {
	var p problems
	if f.GroupType != rules.Basic && f.GroupType != rules.Advanced {
		p.addf("group type %d: want basic or advanced", f.GroupType)
	}
	for _, o := range f.Others {
		if o.Type != rules.Basic && o.Type != rules.Advanced {
			p.addf("type %d of group %q: want basic or advanced", o.Type, o.Name)
		}
		if o.Name != "" && o.Name == f.Group {
			p.addf("group %q is one of the others beside itself", o.Name)
		}
	}
	if f.InnerAccess && f.GroupType == rules.Advanced {
		p.addf("inner access on an advanced group: only basic groups have it")
	}
	return p.join()
}

func (f *Facts) networkErrors() error {
	var p problems
	p.add(known("network mode", f.Mode, NetworkModes()))
	if f.Encapsulation != "" && !slices.Contains(Encapsulations(), f.Encapsulation) {
		p.addf("encapsulation %q: want one of %s, or none given for the mode's default", f.Encapsulation, listing(Encapsulations()))
	}
	if len(f.NodeSubnets) == 0 {
		p.addf("no node subnets: a cluster has nodes somewhere")
	}
	if f.Mode == Terway && len(f.PodCIDRs) > 0 {
		p.addf("pod CIDR %s with Terway: its pods have addresses of pod subnets, and no rule may name a pod CIDR", f.PodCIDRs[0])
	}
	if f.Mode == Terway && f.Encapsulation != "" && f.Encapsulation != NoEncapsulation {
		p.addf("encapsulation %s with Terway: its pods have addresses of the VPC, nothing is wrapped", f.Encapsulation)
	}
	encapsulation := f.Encapsulation
	if encapsulation == "" && (f.Mode == Terway || f.Mode == Flannel) {
		encapsulation = NoEncapsulation
	}
	return errors.Join(p.join(), f.encapsulationErrors(encapsulation))
}

// encapsulationErrors checks what depends on how traffic is wrapped; an empty
// encapsulation is one that only the tables know.
func (f *Facts) encapsulationErrors(e Encapsulation) error {
	var p problems
	needsPods := f.Mode != Terway && f.Mode != OtherNetwork
	if e == NoEncapsulation && needsPods && len(f.PodCIDRs) == 0 {
		p.addf("no pod CIDRs with %s and no encapsulation: pod addresses appear on the wire, so rules must name them", f.Mode)
	}
	if (e == NoEncapsulation || e == IPIP) && f.EncapsulationPort != 0 {
		p.addf("encapsulation port %d with encapsulation %s, which has no port", f.EncapsulationPort, e)
	}
	return p.join()
}

func (f *Facts) addressErrors() error {
	var p problems
	lists := f.addressLists()
	for _, l := range lists {
		for i, c := range l.cidrs {
			if !c.Prefix.IsValid() {
				p.addf("%s: entry %d (%q) is no CIDR", l.name, i+1, c.Text)
			}
		}
	}
	for _, c := range f.APIServer {
		if c.Prefix.IsValid() && !c.Prefix.IsSingleIP() {
			p.addf("API server %s: want one address, not a range", c)
		}
	}
	for _, pod := range f.PodCIDRs {
		for _, s := range f.vSwitches() {
			if pod.Prefix.Overlaps(s.Prefix) {
				p.addf("pod CIDR %s overlaps subnet %s: nobody could tell a pod from a node", pod, s)
			}
		}
	}
	return p.join()
}

type addressList struct {
	name  string
	cidrs []rules.CIDR
}

func (f *Facts) addressLists() []addressList {
	lists := []addressList{
		{"VPC", f.VPC},
		{"secondary VPC CIDRs", f.SecondaryVPC},
		{"node subnets", f.NodeSubnets},
		{"pod subnets", f.PodSubnets},
		{"pod CIDRs", f.PodCIDRs},
		{"API server", f.APIServer},
		{"health-check peers", f.HealthCheckPeers},
		{"admin CIDRs", f.AdminCIDRs},
		{"NTP servers", f.NTPServers},
		{"metadata", f.Metadata},
		{"callers", f.Callers},
	}
	if f.NodePorts != nil {
		lists = append(lists, addressList{"NodePort peers", f.NodePorts.Peers})
	}
	return lists
}

func (f *Facts) serviceErrors() error {
	var p problems
	if slices.Contains(f.Hooks, 0) {
		p.addf("port 0 of what the API server calls: want one from 1 to 65535")
	}
	if slices.Contains(f.WebhookPorts, 0) {
		p.addf("webhook port 0: want one from 1 to 65535")
	}
	if f.NodePorts != nil {
		if len(f.NodePorts.Peers) == 0 {
			p.addf("NodePorts without peers: say who reaches them, or leave them out")
		}
		p.add(rangeError("NodePorts", f.NodePorts.Ports))
	}
	if len(f.HealthCheckPeers) == 0 && !f.HealthCheckPorts.IsZero() {
		p.addf("health-check ports %s without peers: say which load balancers probe them", f.HealthCheckPorts)
	}
	p.add(rangeError("health-check ports", f.HealthCheckPorts))
	return p.join()
}

// rangeError accepts the zero range.
func rangeError(what string, r rules.PortRange) error {
	if r.IsZero() || (r.First > 0 && r.First <= r.Last) {
		return nil
	}
	return fmt.Errorf("%s %d/%d: want FIRST/LAST from 1 to 65535 with FIRST <= LAST", what, r.First, r.Last)
}

func (f *Facts) exposureErrors() error {
	var p problems
	for i := range f.Exposures {
		x := &f.Exposures[i]
		name := fmt.Sprintf("exposure %d (%s %s %s)", i+1, x.Direction, x.Protocol, x.Ports)
		if x.Direction != rules.Ingress && x.Direction != rules.Egress {
			p.addf("%s: direction %d: want ingress or egress", name, x.Direction)
		}
		if x.Protocol < rules.AllProtocols || x.Protocol > 255 {
			p.addf("%s: want ALL or a protocol from 0 to 255", name)
		}
		if x.Protocol.HasPorts() == x.Ports.IsZero() {
			p.addf("%s: TCP, UDP and SCTP need ports, other protocols have none", name)
		}
		p.add(rangeError(name, x.Ports))
		if len(x.Peers) == 0 {
			p.addf("%s: no peers", name)
		}
		for _, peer := range x.Peers {
			if err := f.exposurePeerError(x, peer); err != nil {
				p.addf("%s: %w", name, err)
			}
		}
	}
	return p.join()
}

func (f *Facts) exposurePeerError(x *Exposure, peer rules.Peer) error {
	switch peer := peer.(type) {
	case nil:
		return errors.New("a peer is missing")
	case rules.CIDR:
		if !peer.Prefix.IsValid() {
			return fmt.Errorf("peer %q is no CIDR", peer.Text)
		}
		if x.Protocol == rules.ICMPv6 && peer.Prefix.Addr().Is4() {
			return fmt.Errorf("peer %s: ICMPv6 has IPv6 peers only", peer)
		}
	case rules.GroupPeer:
		return f.groupPeerError(peer)
	case rules.PrefixListPeer:
		if peer.Name == "" {
			return errors.New("a prefix list without a name")
		}
	}
	return nil
}

func (f *Facts) groupPeerError(peer rules.GroupPeer) error {
	switch {
	case peer.Name == "":
		return errors.New("a group without a name")
	case f.GroupType == rules.Advanced:
		return fmt.Errorf("peer is group %q, but an advanced group cannot name groups: use CIDRs or a prefix list", peer.Name)
	case f.isAdvanced(peer.Name):
		return fmt.Errorf("peer is group %q, which is advanced and cannot be named: use CIDRs or a prefix list", peer.Name)
	}
	return nil
}
