package profiles_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ringfence.dev/ringfence/profiles"
	"ringfence.dev/ringfence/rules"
)

func TestKeep(t *testing.T) {
	cidrs := func(texts ...string) []rules.CIDR {
		var out []rules.CIDR
		for _, text := range texts {
			out = append(out, rules.MustCIDR(text))
		}
		return out
	}
	facts := profiles.Facts{
		Mode: profiles.Calico, NodeSubnets: cidrs("10.0.1.0/24", "10.0.0.0/24"), APIServer: cidrs("10.0.9.9"),
	}
	for name, tc := range map[string]struct {
		reason    string
		groupType rules.GroupType
		port      uint16
		etcdRuns  bool
		api, etcd []rules.CIDR
		want      []string
	}{
		"Basic": {
			reason: "nodes need the API server, it needs the kubelets; while nobody says which hosts it runs on, its address stands for them",
			want: []string{
				"BO-L3 [] egress TCP 6443/6443 [10.0.9.9]",
				"BI-L3 [APIServer] ingress TCP 6443/6443 [10.0.0.0/24 10.0.1.0/24]",
				"BI-L3 [] ingress TCP 10250/10250 [10.0.9.9]",
				"BO-L3 [APIServer] egress TCP 10250/10250 [10.0.0.0/24 10.0.1.0/24]",
			},
		},
		"HostsKnown": {
			reason: "known hosts are named one by one, and etcd runs where hosts say so", groupType: rules.Advanced, port: 443,
			api: cidrs("10.0.0.2", "10.0.0.1"), etcd: cidrs("10.0.0.2"),
			want: []string{
				"AO-L3 [] egress TCP 443/443 [10.0.9.9]",
				"AI-L3 [APIServer] ingress TCP 443/443 [10.0.0.0/24 10.0.1.0/24]",
				"AI-L3 [] ingress TCP 10250/10250 [10.0.0.1 10.0.0.2]",
				"AO-L3 [APIServer] egress TCP 10250/10250 [10.0.0.0/24 10.0.1.0/24]",
				"X-ETCD-I [Etcd] ingress TCP 2379/2380 [10.0.0.1 10.0.0.2]",
				"X-ETCD-O [Etcd APIServer] egress TCP 2379/2380 [10.0.0.2]",
			},
		},
		"EtcdSomewhere": {
			reason: "etcd runs in the groups on hosts that nobody named: any node may be one", groupType: rules.Advanced, etcdRuns: true,
			want: []string{
				"AO-L3 [] egress TCP 6443/6443 [10.0.9.9]",
				"AI-L3 [APIServer] ingress TCP 6443/6443 [10.0.0.0/24 10.0.1.0/24]",
				"AI-L3 [] ingress TCP 10250/10250 [10.0.9.9]",
				"AO-L3 [APIServer] egress TCP 10250/10250 [10.0.0.0/24 10.0.1.0/24]",
				"X-ETCD-I [Etcd] ingress TCP 2379/2380 [10.0.0.0/24 10.0.1.0/24 10.0.9.9]",
				"X-ETCD-O [Etcd APIServer] egress TCP 2379/2380 [10.0.0.0/24 10.0.1.0/24]",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			tables, err := profiles.Load()
			if err != nil {
				t.Fatal(err)
			}
			f := facts
			f.GroupType, f.APIServerPort, f.Etcd = tc.groupType, tc.port, tc.etcdRuns
			var got []string
			for _, k := range tables.Keep(&f, tc.api, tc.etcd) {
				got = append(got, fmt.Sprintf("%s %v %s %s %s %v", k.Row, k.Roles, k.Direction, k.Protocol, k.Ports, k.Peers))
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%s\nKeep: -want +got:\n%s", tc.reason, diff)
			}
		})
	}
}
