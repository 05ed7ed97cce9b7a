package profiles_test

import (
	"fmt"

	"ringfence.dev/ringfence/profiles"
	"ringfence.dev/ringfence/rules"
)

func ExampleTables_Expand() {
	tables, err := profiles.Load()
	if err != nil {
		fmt.Println(err)
		return
	}
	facts := &profiles.Facts{
		Cluster: "shop", Group: "sg-shop", GroupType: rules.Advanced,
		Mode:        profiles.Flannel,
		VPC:         []rules.CIDR{rules.MustCIDR("192.168.0.0/16")},
		NodeSubnets: []rules.CIDR{rules.MustCIDR("192.168.0.0/24")},
		PodCIDRs:    []rules.CIDR{rules.MustCIDR("172.20.0.0/16")},
		AdminCIDRs:  []rules.CIDR{rules.MustCIDR("203.0.113.0/24")},
	}
	e, err := tables.Expand(facts, profiles.Recommended)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, r := range e.Rules {
		fmt.Println(r.Row, r.Direction, r.Action, r.Protocol, r.Ports, r.Peer)
	}
	// Output:
	// AI-R1 ingress accept ICMP -1/-1 0.0.0.0/0
	// AI-R2 ingress accept ALL -1/-1 192.168.0.0/16
	// AI-R2 ingress accept ALL -1/-1 172.20.0.0/16
	// X-SSH-I ingress accept TCP 22/22 203.0.113.0/24
	// AO-R1 egress accept ALL -1/-1 0.0.0.0/0
}

func ExampleFixRules() {
	facts := &profiles.Facts{Group: "sg-shop", NodeSubnets: []rules.CIDR{rules.MustCIDR("192.168.0.0/24")}}
	need := rules.Need{
		ID: "BI-L3", Protocol: rules.TCP, Ports: rules.PortRange{First: 10250, Last: 10250},
		Peer: rules.GroupPeer{Name: "sg-shop"}, Component: "kubelet", Why: "logs time out",
	}
	for _, r := range profiles.FixRules(need, facts) {
		fmt.Println(r.Action, r.Protocol, r.Ports, r.Peer, r.Description)
	}
	// Output: accept TCP 10250/10250 192.168.0.0/24 BI-L3 kubelet
}
