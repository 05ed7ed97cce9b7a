package nft_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"ringfence.dev/ringfence/internal/nft"
	"ringfence.dev/ringfence/rules"
)

// TestCrowd: the members of one class are in a set, all others in the map after
// it, and who changes sides leaves the one and comes into the other.
func TestCrowd(t *testing.T) {
	s := scenario{
		groups:  []*rules.Group{{Name: "web", Ingress: []rules.Rule{fromGroup(1, rules.TCP, "80/80", "app"), fromGroup(1, rules.TCP, "443/443", "db")}}},
		members: map[string][]string{"app": {"10.0.0.1", "10.0.0.2"}, "db": {"10.0.0.2", "10.0.0.3"}},
	}
	in, members := s.input(t)
	c, err := nft.New(in)
	if err != nil {
		t.Fatal(err)
	}
	v, err := c.Version(members)
	if err != nil {
		t.Fatal(err)
	}
	addresses := func(m nft.Map) (out []string) {
		for _, e := range m.Elements {
			out = append(out, e.Range.First.In4().String())
		}
		return out
	}
	dispatch := v.Dispatch[0]
	set, others := dispatch.Maps[0], dispatch.Maps[2]
	if !set.Set || others.Set || !slices.Equal(addresses(set), []string{"10.0.0.1"}) || !slices.Equal(addresses(others), []string{"10.0.0.2", "10.0.0.3"}) {
		t.Errorf("the set has %v, the map %v; want who is only in app, the first group, in the set", addresses(set), addresses(others))
	}
	for name, tc := range map[string]struct {
		before, after []string
		want          string
	}{
		"joins the crowd":       {nil, []string{"app"}, "+_members"},
		"joins others":          {nil, []string{"db"}, "+_others"},
		"leaves the crowd":      {[]string{"app"}, nil, "-_members"},
		"changes sides":         {[]string{"app"}, []string{"db"}, "-_members +_others"},
		"comes from the others": {[]string{"app", "db"}, []string{"app"}, "-_others +_members"},
		"stays with the others": {[]string{"db"}, []string{"app", "db"}, "-+_others"},
		"stays what it is":      {[]string{"app"}, []string{"app"}, ""},
	} {
		moves, err := c.Moves([]nft.Change{{Address: netip.MustParseAddr("10.0.0.9"), Before: tc.before, After: tc.after}})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, m := range moves {
			if !strings.HasPrefix(m.Map, dispatch.Name) {
				continue // egress
			}
			text := ""
			if m.From != "" {
				text += "-"
			}
			if m.To != "" {
				text += "+"
			}
			suffix := strings.TrimPrefix(m.Map, dispatch.Name)
			if m.Set != (suffix == "_members") {
				t.Errorf("%s: %s is a set: %t", name, suffix, m.Set)
			}
			got = append(got, fmt.Sprint(text, suffix))
		}
		if joined := strings.Join(got, " "); joined != tc.want {
			t.Errorf("%s: moves %q, want %q", name, joined, tc.want)
		}
	}
}
