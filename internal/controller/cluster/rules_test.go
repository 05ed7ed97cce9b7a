package cluster

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ringfence.dev/ringfence/internal/convert"
	"ringfence.dev/ringfence/rules"
)

// list returns system rules by their ports, one rule a port; a letter behind it
// is the row.
func list(ports ...string) systemRules {
	var s systemRules
	for _, text := range ports {
		var port uint16
		row := ""
		if _, err := fmt.Sscanf(text, "%d%s", &port, &row); port == 0 {
			panic(err)
		}
		in, _ := convert.SystemRules([]rules.Rule{{
			Priority: 1, Protocol: rules.TCP, Ports: rules.PortRange{First: port, Last: port}, Peer: rules.MustCIDR("10.0.0.0/8"), Row: row,
		}})
		s.ingress = append(s.ingress, in...)
	}
	return s
}

func many(from, to int) systemRules {
	var ports []string
	for i := from; i < to; i++ {
		ports = append(ports, fmt.Sprintf("%da", i))
	}
	return list(ports...)
}

func TestSteps(t *testing.T) {
	for name, tc := range map[string]struct {
		reason     string
		have, want systemRules
		steps      []systemRules
	}{
		"Same":     {"nothing to write", list("1a", "2a"), list("1a", "2a"), nil},
		"New":      {"additions alone take one write", systemRules{}, list("1a", "2a"), []systemRules{list("1a", "2a")}},
		"Gone":     {"removals alone too", list("1a", "2a"), list("2a"), []systemRules{list("2a")}},
		"Replaced": {"additions first, and what goes stands behind what stays", list("1a", "2a"), list("3a", "2a"), []systemRules{list("3a", "2a", "1a"), list("3a", "2a")}},
		"Halfway":  {"who stopped after the additions goes on with the removals", list("3a", "2a", "1a"), list("3a", "2a"), []systemRules{list("3a", "2a")}},
		"Row":      {"a rule for another reason is the same rule", list("1a"), list("1b"), []systemRules{list("1b")}},
		"Order":    {"another order is one write", list("1a", "2a"), list("2a", "1a"), []systemRules{list("2a", "1a")}},
		"Full":     {"where both do not fit, one write replaces them", many(1, 601), many(501, 1101), []systemRules{many(501, 1101)}},
		"JustFits": {"a thousand are fine", many(1, 501), many(501, 1001), []systemRules{{with(many(501, 1001).ingress, many(1, 501).ingress), nil}, many(501, 1001)}},
	} {
		t.Run(name, func(t *testing.T) {
			got := steps(tc.have, tc.want)
			if diff := cmp.Diff(tc.steps, got, cmp.AllowUnexported(systemRules{})); diff != "" {
				t.Errorf("%s\nsteps(...): -want +got:\n%s", tc.reason, diff)
			}
		})
	}
}
