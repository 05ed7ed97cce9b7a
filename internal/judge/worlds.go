package judge

import (
	"slices"

	"ringfence.dev/ringfence/internal/convert"
	"ringfence.dev/ringfence/rules"
)

// An ExemptChoice says for which groups exempt traffic passes unasked.
type ExemptChoice uint8

// The choices. The zero value is what own hosts do and clouds do not.
const (
	ExemptOwnHosts ExemptChoice = iota
	ExemptAlways
	ExemptNever
)

// worlds are what verdicts about an inventory depend on beside rules.
type worlds struct {
	choice           ExemptChoice
	plain, exempting *rules.World
}

func newWorlds(inv *convert.Inventory, exempt []rules.Exempt, choice ExemptChoice) worlds {
	plain := world(inv)
	return worlds{choice, plain, &rules.World{Members: plain.Members, Exempt: exempt}}
}

// world returns who is a member of which group.
func world(inv *convert.Inventory) *rules.World {
	w := &rules.World{}
	for i := range inv.Groups {
		if g := &inv.Groups[i]; len(g.Members) > 0 {
			w.Members.Set(g.Name, g.Members)
		}
	}
	return w
}

// of returns the world of those who wear some groups together.
func (w *worlds) of(groups []*convert.Group) *rules.World {
	own := !slices.ContainsFunc(groups, func(g *convert.Group) bool { return g.Origin != convert.Manifest })
	if w.choice == ExemptAlways || w.choice == ExemptOwnHosts && own {
		return w.exempting
	}
	return w.plain
}
