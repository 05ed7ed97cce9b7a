package assign

import (
	"cmp"
	"net/netip"
	"slices"

	"ringfence.dev/ringfence/api/v1alpha1"
)

// A Dialer is a host that dials others of a step, from an address.
type Dialer struct {
	Host    string
	Address netip.Addr
}

// Dialers are those of a Rollout, but for a host itself: who may dial it. One
// whose address cannot be read is left out: it dials nobody.
func Dialers(r *v1alpha1.RolloutSpec, host string) []Dialer {
	var out []Dialer
	for _, d := range r.Dialers {
		if a, err := netip.ParseAddr(d.Address); err == nil && d.HostName != host {
			out = append(out, Dialer{d.HostName, a})
		}
	}
	return out
}

// maxDialled is how many hosts one dials at most. Of a step with more than four
// times as many hosts, the rest is not dialled: they all get the same rules.
const maxDialled = 100

// Dialled returns which of these hosts, that wear the set of a Rollout, one of
// its dialers is to dial, and the address that it dials from. The address is not
// valid if the host is none of the dialers. Critical hosts come first, then
// those that were chosen last, and the dialers share them evenly.
func Dialled(r *v1alpha1.RolloutSpec, dialer string, hosts []string) ([]string, netip.Addr) {
	mine := slices.IndexFunc(r.Dialers, func(d v1alpha1.RolloutDialer) bool { return d.HostName == dialer })
	if mine < 0 {
		return nil, netip.Addr{}
	}
	from, err := netip.ParseAddr(r.Dialers[mine].Address)
	if err != nil {
		return nil, netip.Addr{}
	}
	var critical, normal []string
	for _, h := range hosts {
		switch {
		case slices.ContainsFunc(r.Dialers, func(d v1alpha1.RolloutDialer) bool { return d.HostName == h }):
		case slices.Contains(r.CriticalHostNames, h):
			critical = append(critical, h)
		case Digest(r.CandidateRulesetName, h) < r.Bound:
			normal = append(normal, h)
		}
	}
	slices.Sort(critical)
	slices.SortFunc(normal, func(a, b string) int {
		return cmp.Compare(Digest(r.CandidateRulesetName, b), Digest(r.CandidateRulesetName, a))
	})
	chosen := slices.Concat(critical, normal)
	var out []string
	for i := mine; i < len(chosen) && len(out) < maxDialled; i += len(r.Dialers) {
		out = append(out, chosen[i])
	}
	return out, from
}
