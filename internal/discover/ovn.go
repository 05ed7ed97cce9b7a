package discover

import (
	"slices"
	"strings"

	"ringfence.dev/ringfence/rules"
)

// Ports of OVN, unless the environment says otherwise: the databases, and what
// their replicas agree by.
const (
	ovnNorthPort     = 6641
	ovnSouthPort     = 6642
	ovnNorthRaftPort = 6643
	ovnSouthRaftPort = 6644
)

// ovn reads how OVN-Kubernetes runs; false if it does not.
func (d *derivation) ovn() bool {
	agents := d.running("ovnkube", "ovnkube.sh")
	if len(agents) == 0 {
		return false
	}
	var node *found
	for i := range agents {
		d.ovnDatabase(&agents[i])
		if node == nil && agents[i].runsOVNNode() {
			node = &agents[i]
		}
	}
	if node == nil {
		return false
	}
	env := environment{d, *node}
	port, ok := d.flagPort(node, "encap-port", genevePort)
	if p := env.port("OVN_ENCAP_PORT"); p != 0 {
		port = p
	}
	if !ok {
		return false
	}
	d.wrapped(overlay{"Geneve", rules.UDP, port}, false, node.pod.at("%s%s", node.pod.root, node.container.field))
	// Gateway routers put their node's address on what leaves, unless told not to.
	if off, _ := env.get("OVN_DISABLE_SNAT_MULTIPLE_GWS"); off != "true" && !node.container.switched("disable-snat-multiple-gws", false) {
		d.configured.sends(asNode)
	}
	return true
}

// runsOVNNode reports whether a container is what makes the network of a node.
func (f *found) runsOVNNode() bool {
	return slices.ContainsFunc(f.container.command, func(arg string) bool {
		return arg == "ovn-node" || strings.HasPrefix(arg, "ovnkube-controller-with-node") || strings.TrimLeft(arg, "-") == "init-node"
	})
}

// ovnDatabase adds the databases that all nodes share. Those on every node, as in
// the mode of interconnected zones, are asked over a socket.
func (d *derivation) ovnDatabase(f *found) {
	if f.pod.Kind == "DaemonSet" || f.pod.owner.kind == "DaemonSet" {
		return
	}
	env := environment{d, *f}
	database := func(arg, variable string, byDefault uint16, from Party, why string) {
		if !slices.Contains(f.container.command, arg) {
			return
		}
		port := byDefault
		if p := env.port(variable); p != 0 {
			port = p
		}
		to := Party{Hosts, "OVN databases"}
		d.hostsOf(to, f.pod)
		if from.Kind == Hosts {
			from = to
		}
		d.hostNeed(&Need{From: from, To: to, Protocol: rules.TCP, Ports: one(port), Class: Essential, Why: why}, f.pod.at("%s%s", f.pod.root, f.container.field))
	}
	database("nb-ovsdb", "OVN_NB_PORT", ovnNorthPort, Party{Kind: Nodes}, "changes of pods and Services do not get into the network")
	database("sb-ovsdb", "OVN_SB_PORT", ovnSouthPort, Party{Kind: Nodes}, "nodes learn of no new pods and Services")
	replicas := Party{Kind: Hosts}
	if f.pod.Kind == "StatefulSet" || f.pod.owner.kind == "StatefulSet" {
		database("nb-ovsdb", "OVN_NB_RAFT_PORT", ovnNorthRaftPort, replicas, "replicas of OVN's database lose each other")
		database("sb-ovsdb", "OVN_SB_RAFT_PORT", ovnSouthRaftPort, replicas, "replicas of OVN's database lose each other")
	}
}
