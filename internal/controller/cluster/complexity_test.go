package cluster

import (
	"errors"
	"fmt"
	"testing"

	"ringfence.dev/ringfence/rules"
	"ringfence.dev/ringfence/rules/flowset"
)

func TestComplexity(t *testing.T) {
	var c complexity
	simple := merged(t, 3)
	if err := c.check(simple); err != nil || len(c.known) != 1 {
		t.Errorf("three rules: %v, %d known", err, len(c.known))
	}
	if err := c.check(merged(t, 3)); err != nil || len(c.known) != 1 {
		t.Errorf("the same three again: %v, %d known", err, len(c.known))
	}
	if err := c.check(merged(t, 4)); err != nil || len(c.known) != 2 {
		t.Errorf("four: %v, %d known", err, len(c.known))
	}
	c.known[fingerprint(simple)] = fmt.Errorf("too much: %w", flowset.ErrBudget)
	if err := c.check(simple); !errors.Is(err, flowset.ErrBudget) {
		t.Errorf("what is known is not tried again: %v", err)
	}
}

// merged is n rules of one group.
func merged(t *testing.T, n int) *rules.Ruleset {
	t.Helper()
	g := &rules.Group{Name: "web"}
	for i := range n {
		g.Append(rules.Rule{Priority: 1, Protocol: rules.TCP, Ports: rules.PortRange{First: 1, Last: 1}, Peer: rules.MustCIDR(fmt.Sprintf("10.%d.0.0/16", i))})
	}
	rs, err := rules.Merge([]*rules.Group{g}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return rs
}
