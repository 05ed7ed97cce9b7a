package cluster

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"

	"ringfence.dev/ringfence/rules"
	"ringfence.dev/ringfence/rules/flowset"
)

// maxRemembered is how many sets of rules are remembered: more than the sets of
// groups of one namespace, and at 32 bytes each nothing to speak of.
const maxRemembered = 4096

// A complexity knows which sets of rules are within the engine's budget.
// Compiling one takes up to a tenth of a second, and most events change no rule.
// Not for concurrent use; the zero value knows none.
type complexity struct {
	known map[[sha256.Size]byte]error
}

// check returns an error that wraps flowset.ErrBudget if no host could load the
// rules. Groups that they name count as one member each: what a host makes of
// more is bounded by its own budget.
func (c *complexity) check(rs *rules.Ruleset) error {
	key := fingerprint(rs)
	if err, ok := c.known[key]; ok {
		return err
	}
	_, err := rules.NewWorkspace(&rules.World{}, 0).Compile(rs)
	if err != nil && !errors.Is(err, flowset.ErrBudget) {
		return err
	}
	if len(c.known) >= maxRemembered || c.known == nil {
		c.known = map[[sha256.Size]byte]error{}
	}
	c.known[key] = err
	return err
}

// fingerprint is the same for sets of the same rules in the same order.
func fingerprint(rs *rules.Ruleset) [sha256.Size]byte {
	var b strings.Builder
	fmt.Fprintf(&b, "%v %v %v\n", rs.Type, rs.Groups, rs.InnerAccess)
	for _, list := range [][]rules.MergedRule{rs.Ingress, rs.Egress} {
		for i := range list {
			r := &list[i]
			fmt.Fprintf(&b, "%v %v %v %v %v %T%v %v %v %v\n",
				r, r.Action, r.Priority, r.Protocol, r.Ports, r.Peer, r.Peer, r.Prefixes, r.Member, r.SourcePorts)
		}
	}
	return sha256.Sum256([]byte(b.String()))
}
