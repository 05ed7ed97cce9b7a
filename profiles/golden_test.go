package profiles_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"text/tabwriter"

	"github.com/google/go-cmp/cmp"

	"ringfence.dev/ringfence/profiles"
	"ringfence.dev/ringfence/rules"
)

var update = flag.Bool("update", false, "rewrite testdata/*.golden")

// TestGolden prints four typical clusters in full, for people to review.
func TestGolden(t *testing.T) {
	for name, tc := range map[string]struct {
		reason string
		facts  *profiles.Facts
		scope  profiles.Scope
	}{
		"flannel-basic-least": {
			reason: "an ACK cluster on routed Flannel with its own basic group",
			facts:  with(flannel(), func(f *profiles.Facts) { f.WebhookPorts = []uint16{8443} }),
			scope:  profiles.LeastPrivilege,
		},
		"terway-advanced-least": {
			reason: "an ACK cluster on Terway in two zones, with a webhook, Poseidon and two exposures",
			facts: with(terway(), advanced, func(f *profiles.Facts) {
				everything(f)
				f.BGP, f.Etcd, f.DHCP, f.NodePorts, f.AdminCIDRs = false, false, false, nil, nil
				f.HealthCheckPeers, f.NTPServers, f.Metadata = nil, nil, nil
				f.NodeSubnets = append(f.NodeSubnets, cidrs("192.168.64.0/19")...)
				f.PodSubnets = append(f.PodSubnets, cidrs("192.168.96.0/19")...)
			}),
			scope: profiles.LeastPrivilege,
		},
		"calico-own-hosts-least": {
			reason: "own dual-stack hosts with Calico over VXLAN and all that ACK's tables leave out",
			facts: with(flannel(), advanced, dualStack, everything, func(f *profiles.Facts) {
				f.Mode, f.Encapsulation, f.Poseidon, f.OmitLegacy = profiles.Calico, profiles.VXLAN, false, true
			}),
			scope: profiles.LeastPrivilege,
		},
		"flannel-pool-recommended": {
			reason: "a node pool's own basic group beside the cluster's, with SSH and an exposure",
			facts: with(flannel(), poolGroup, func(f *profiles.Facts) {
				f.AdminCIDRs = cidrs("203.0.113.0/24")
				f.Exposures = []profiles.Exposure{{Protocol: rules.TCP, Ports: ports(443, 443), Peers: []rules.Peer{rules.MustCIDR("0.0.0.0/0")}}}
			}),
			scope: profiles.Recommended,
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := tc.reason + ": " + string(tc.scope) + "\n\n" + table(expand(t, tc.facts, tc.scope))
			file := filepath.Join("testdata", name+".golden")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("%s\nExpand(...), run with -update if intended: -want +got:\n%s", tc.reason, diff)
			}
		})
	}
}

func table(e profiles.Expansion) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "RULE\tACTION\tPRIORITY\tPROTOCOL\tPORTS\tPEER\tDESCRIPTION")
	for _, r := range e.Rules {
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\t%s\t%s\n", r.Direction, r.Action, r.Priority, r.Protocol, r.Ports, r.Peer, r.Description)
	}
	w.Flush()
	fmt.Fprintln(w, "\nNEED\tROW\tPROTOCOL\tPORTS\tPEER\tCOMPONENT\tSOURCE")
	for _, n := range e.Needs {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", n.Direction, n.ID, n.Protocol, n.Ports, n.Peer, n.Component, n.Source)
	}
	w.Flush()
	fmt.Fprintln(w, "\nSKIPPED\tREASON")
	for _, s := range e.Skipped {
		fmt.Fprintf(w, "%s\t%s\n", s.Row, s.Reason)
	}
	w.Flush()
	return b.String()
}
