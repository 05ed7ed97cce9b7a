package agent

import (
	"cmp"
	"math"
	"regexp"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/rules"
)

const (
	// maxRows is how many rows a FlowReport has at most; of these, minHits are
	// for rules even where there are more flows.
	maxRows = 64
	minHits = 16
)

// flowReport makes the host's FlowReport out of what was seen, and the counters.
func (h *host) flowReport(t *Traffic, now time.Time) (*v1alpha1.FlowReport, error) {
	tallies, err := h.kernel.Tallies()
	if err != nil {
		return nil, err
	}
	r := reportFlows(t, h.current.counts(tallies, nil), now)
	r.Name, r.RulesetName = h.current.order.Host, h.current.order.RulesetName
	return r, nil
}

// reportFlows chooses what a FlowReport has room for: the most frequent flows
// and rules. The other ones count as omitted, and so do flows that gave up
// their place before.
func reportFlows(t *Traffic, counts []RuleCount, now time.Time) *v1alpha1.FlowReport {
	r := &v1alpha1.FlowReport{
		TypeMeta: metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "FlowReport"},
		From:     metav1.NewTime(now), To: metav1.NewTime(now),
	}
	r.Omitted = clamp(t.Logged.Replaced)
	for i := range t.Flows {
		f := &t.Flows[i]
		row, ok := reportFlow(f)
		if !ok {
			r.Omitted++
			continue
		}
		if f.First.Before(r.From.Time) {
			r.From = metav1.NewTime(f.First)
		}
		r.Denied = append(r.Denied, row)
	}
	for i := range counts {
		if c := &counts[i]; c.Packets > 0 && c.By != unreadable {
			r.Hits = append(r.Hits, v1alpha1.RuleHits{By: c.By, Direction: sides[c.Direction], Packets: clamp(c.Packets)})
		}
	}
	slices.SortStableFunc(r.Denied, func(a, b v1alpha1.DeniedFlow) int { return cmp.Compare(b.Packets, a.Packets) })
	slices.SortStableFunc(r.Hits, func(a, b v1alpha1.RuleHits) int { return cmp.Compare(b.Packets, a.Packets) })
	denied := min(len(r.Denied), max(maxRows-minHits, maxRows-len(r.Hits)))
	hits := min(len(r.Hits), maxRows-denied)
	r.Omitted += int64(len(r.Denied) - denied + len(r.Hits) - hits)
	r.Denied, r.Hits = r.Denied[:denied], r.Hits[:hits]
	return r
}

// sides are the directions, as the API spells them.
var sides = map[string]v1alpha1.Direction{ //nolint:gochecknoglobals // a constant
	rules.Ingress.String(): v1alpha1.DirectionIngress, rules.Egress.String(): v1alpha1.DirectionEgress,
}

var ruleName = regexp.MustCompile(`^[a-z0-9.-]+/(ingress|egress)/[1-9][0-9]*$`)

// reportFlow returns a row; false if the API would refuse it: it has no name for
// what denied it, or takes an IPv4 address in IPv6 for none.
func reportFlow(f *DeniedFlow) (v1alpha1.DeniedFlow, bool) {
	p, err := rules.ParseProtocol(f.Protocol)
	if err != nil || f.Local.Is4In6() || f.Remote.Is4In6() || f.By != "default" && !ruleName.MatchString(f.By) {
		return v1alpha1.DeniedFlow{}, false
	}
	return v1alpha1.DeniedFlow{
		By: f.By, Direction: sides[f.Direction], Local: f.Local.String(), Remote: f.Remote.String(),
		Protocol: int32(p), Port: int32(f.Port), Packets: clamp(f.Packets), LastTime: metav1.NewTime(f.Last), Observed: f.Observed,
	}, true
}

func clamp(n uint64) int64 { return int64(min(n, math.MaxInt64)) }
