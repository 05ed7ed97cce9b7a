package agent

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/upstream"
)

// TestHostStatus checks what a host says of itself, which decides how far a
// Rollout goes.
func TestHostStatus(t *testing.T) {
	saved := &record{Version: "v1", Why: "Ruleset good of groups web", Since: time.Unix(1000, 5), Order: Order{RulesetName: "good"}}
	observing := *saved
	observing.Order.Observe = true
	for name, tc := range map[string]struct {
		reason   string
		news     news
		want     string
		true     bool
		says     string
		rollback bool
	}{
		"Nothing":   {"nothing is enforced yet", news{wanted: "new"}, v1alpha1.ReasonTrial, false, "nothing", false},
		"Confirmed": {"what is wanted is in force", news{saved: saved, wanted: "good"}, v1alpha1.ReasonConfirmed, true, "Ruleset good", false},
		"Observing": {"and nothing is dropped", news{saved: &observing, wanted: "good"}, v1alpha1.ReasonObserving, true, "", false},
		"Opened":    {"what was opened enforces nothing, whatever else is true", news{saved: saved, wanted: "good", open: true}, v1alpha1.ReasonOpened, false, "resume", false},
		"Withdrawn": {"a candidate that failed its probes is named", news{saved: saved, wanted: "bad", applying: fmt.Errorf("%w: no DNS", errWithdrawn)}, v1alpha1.ReasonRolledBack, false, "Ruleset bad", true},
		"Cut":       {"so is one that was refused before it was tried", news{saved: saved, wanted: "bad", applying: fmt.Errorf("%w: row AO-L3", errCut)}, v1alpha1.ReasonKeepCut, false, "Ruleset bad", true},
		"FailsOnce": {"a kernel that is busy once says nothing about the rules", news{saved: saved, wanted: "bad", applying: errors.New("busy"), tries: 1}, v1alpha1.ReasonTrial, false, "Ruleset bad", false},
		"Fails":     {"one that refuses again does", news{saved: saved, wanted: "bad", applying: errors.New("too many"), tries: 2}, v1alpha1.ReasonApplyFailed, false, "Ruleset bad", true},
		"NotRead":   {"a Ruleset that is not understood is named by who read it", news{saved: saved, reading: fmt.Errorf("%w: Ruleset odd", upstream.ErrRuleset)}, v1alpha1.ReasonApplyFailed, false, "Ruleset odd", true},
		"Away":      {"a control plane that is silent changes nothing", news{saved: saved, reading: upstream.ErrUnknown}, v1alpha1.ReasonConfirmed, true, "Ruleset good", false},
		"OnTrial":   {"a person is waited for", news{saved: saved, wanted: "new", applying: errWaiting}, v1alpha1.ReasonTrial, false, "Ruleset new", false},
	} {
		t.Run(name, func(t *testing.T) {
			s := hostStatus(&tc.news, &facts{}, &v1alpha1.HostStatus{RollbackReason: "long ago"}, time.Unix(2000, 0))
			c := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionEnforced)
			if c == nil || c.Reason != tc.want || (c.Status == metav1.ConditionTrue) != tc.true || !strings.Contains(c.Message, tc.says) {
				t.Errorf("%s: %+v", tc.reason, c)
			}
			if (s.RollbackReason == c.Message) != tc.rollback || !tc.rollback && s.RollbackReason != "long ago" {
				t.Errorf("%s: rollback reason %q", tc.reason, s.RollbackReason)
			}
			if runs := tc.news.saved != nil; (s.RulesetName == "good") != runs || (s.RulesetSince != nil) != runs {
				t.Errorf("%s: it says that it runs %q", tc.reason, s.RulesetName)
			}
		})
	}
}

// TestHostStatusIsStill checks that a host which does the same says the same.
func TestHostStatusIsStill(t *testing.T) {
	n := &news{saved: &record{Why: "w", Order: Order{RulesetName: "good"}}, wanted: "good"}
	first := hostStatus(n, &facts{}, &v1alpha1.HostStatus{}, time.Unix(1000, 0))
	again := hostStatus(n, &facts{}, first, time.Unix(2000, 0))
	if got, want := again.Conditions[0].LastTransitionTime, first.Conditions[0].LastTransitionTime; !got.Equal(&want) {
		t.Errorf("the condition turned at %s, then at %s", want, got)
	}
	foreign := metav1.Condition{Type: v1alpha1.ConditionAccepted, Status: metav1.ConditionTrue}
	first.Conditions = append(first.Conditions, foreign)
	if got := hostStatus(n, &facts{}, first, time.Unix(2000, 0)).Conditions; len(got) != 1 {
		t.Errorf("it speaks for the controllers: %v", got)
	}
	round := &news{saved: n.saved, wanted: "good", bypassed: []string{"eth1 is no uplink", "eth2 neither"}}
	passed := hostStatus(round, &facts{}, first, time.Unix(2000, 0))
	if c := meta.FindStatusCondition(passed.Conditions, v1alpha1.ConditionEnforcementBypassed); c == nil || c.Status != metav1.ConditionTrue || !strings.Contains(c.Message, "eth2") {
		t.Errorf("what passes by is not told: %v", passed.Conditions)
	}
	if got := hostStatus(n, &facts{}, passed, time.Unix(3000, 0)).Conditions; len(got) != 1 {
		t.Errorf("it is told when it is over: %v", got)
	}
	long := &news{saved: n.saved, applying: fmt.Errorf("%w: %s", errCut, strings.Repeat("ä", 2000)), wanted: "bad"}
	if got := hostStatus(long, &facts{}, first, time.Unix(2000, 0)).Conditions[0].Message; len(got) > 1024 || !strings.HasSuffix(got, "ä") {
		t.Errorf("a message of %d bytes, ending in %q", len(got), got[len(got)-4:])
	}
}

// TestListeners reads what the kernel wrote on a machine of the little kind: an
// API server on all addresses, etcd on one and on loopback, and a connection.
func TestListeners(t *testing.T) {
	const head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
	for name, tc := range map[string]struct {
		reason, table string
		want          []uint16
	}{
		"Four": {
			"two ports, one of them on one address only", head +
				"   0: 00000000:192B 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0\n" +
				"   1: 0B00320A:094C 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2 1 0 100 0 0 10 0\n" +
				"   2: 0100007F:094B 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 3 1 0 100 0 0 10 0\n" +
				"   3: 0B00320A:0016 0C00320A:B1C2 01 00000000:00000000 00:00000000 00000000     0        0 4 1 0 100 0 0 10 0\n",
			[]uint16{2380, 6443},
		},
		"Six": {
			"all addresses, and the loopback", head +
				"   0: 00000000000000000000000000000000:094B 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 5\n" +
				"   1: 00000000000000000000000001000000:192B 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 6\n",
			[]uint16{2379},
		},
		"Nothing": {"a table without lines", head, nil},
	} {
		t.Run(name, func(t *testing.T) {
			ports := map[uint16]bool{}
			if err := listeners(strings.NewReader(tc.table), ports); err != nil {
				t.Fatal(err)
			}
			var got []uint16
			for p := range ports {
				got = append(got, p)
			}
			slices.Sort(got)
			if !slices.Equal(got, tc.want) {
				t.Errorf("%s: got %v, want %v", tc.reason, got, tc.want)
			}
		})
	}
	connected := map[netip.AddrPort]bool{}
	table := head + "   2: 0B00320A:280A 00000000:0000 0A 0:0 00:0 0 0 0 5\n   3: 0B00320A:280A 0C00320A:B1C2 01 0:0 00:0 0 0 0 6\n" +
		"   4: 0B00320A:0016 0C00320A:B1C3 01 0:0 00:0 0 0 0 7\n   5: 0B00320A:280A 0D00320A:B1C4 06 0:0 00:0 0 0 0 8\n"
	if err := callers(strings.NewReader(table), 10250, connected); err != nil {
		t.Fatal(err)
	}
	if want := map[netip.AddrPort]bool{netip.MustParseAddrPort("10.50.0.12:45506"): true, netip.MustParseAddrPort("10.50.0.13:45508"): true}; !maps.Equal(connected, want) {
		t.Errorf("connected to port 10250: %v, want %v", connected, want)
	}
	if got := rolesOf(map[uint16]bool{6443: true, 2380: true, 22: true}); !slices.Equal(got, []v1alpha1.HostRole{v1alpha1.RoleAPIServer, v1alpha1.RoleEtcd}) {
		t.Errorf("roles: %v", got)
	}
}

// TestOrdered checks what a host makes of what the control plane says.
func TestOrdered(t *testing.T) {
	a := &upstream.Assignment{
		Host:        &v1alpha1.Host{Spec: v1alpha1.HostSpec{NodePoolName: "p", Addresses: []v1alpha1.Address{"10.0.0.1"}, Roles: []v1alpha1.HostRole{v1alpha1.RoleWorker}}},
		Rollout:     &v1alpha1.Rollout{Spec: v1alpha1.RolloutSpec{NodePools: []v1alpha1.RolloutNodePool{{Name: "p", ClusterName: "shop", Enforcement: v1alpha1.EnforcementObserve}}, VPCCIDRBlocks: []v1alpha1.CIDR{"10.0.0.0/8"}}},
		RulesetName: "r",
		Ruleset: &v1alpha1.RulesetSpec{
			SecurityGroupNames: []string{"web"}, Type: v1alpha1.GroupTypeBasic, InnerAccessGroupNames: []string{"web"},
			Keep: []v1alpha1.KeepFlow{
				{Row: "mine", ClusterName: "shop", Direction: v1alpha1.DirectionEgress, Protocol: intstr.FromString("TCP"), Ports: "6443/6443", CIDRs: []v1alpha1.CIDR{"10.0.0.9"}},
				{Row: "theirs", ClusterName: "bank", Direction: v1alpha1.DirectionEgress, Protocol: intstr.FromString("TCP"), Ports: "1/1", CIDRs: []v1alpha1.CIDR{"10.0.0.8"}},
			},
		},
		Members: map[string][]netip.Addr{"web": {netip.MustParseAddr("10.0.0.1")}, "old": nil},
		Reached: []netip.AddrPort{netip.MustParseAddrPort("10.0.0.7:6443")}, Here: []uint16{6443},
	}
	in, err := ordered("node-1", a)
	if err != nil {
		t.Fatal(err)
	}
	var rows []string
	for _, k := range in.order.Ruleset.Keep {
		rows = append(rows, k.Row)
	}
	if got := strings.Join(rows, " "); got != "mine control-plane" {
		t.Errorf("it keeps %q", got)
	}
	if len(a.Ruleset.Keep) != 2 {
		t.Errorf("it changed what it was told: %v", a.Ruleset.Keep)
	}
	if !in.order.Observe || in.order.RulesetName != "r" || len(in.order.Members) != 1 || len(in.members) != 2 || !slices.Equal(in.order.Serves, []uint16{6443}) {
		t.Errorf("order %+v, members %v", in.order, in.members)
	}
	var passes []string
	for _, e := range in.order.passes() {
		passes = append(passes, fmt.Sprintf("%v %v", e.Peer, e.Ports))
	}
	if got := strings.Join(passes, ", "); got != "10.0.0.7/32 6443/6443, 10.0.0.0/8 6443/6443" {
		t.Errorf("passes %s", got)
	}
	if _, err := lay(&in.order, nil); err != nil {
		t.Errorf("it cannot be laid out: %v", err)
	}
	delete(a.Members, "web")
	if _, err := ordered("node-1", a); !errors.Is(err, upstream.ErrUnknown) {
		t.Errorf("members that are not known are not none: %v", err)
	}
}
