// Package judge holds a cluster's facts against the groups that its hosts wear:
// which needed flows are missing, which rules let in more than anybody asked
// for, and what is wrong with the rules themselves.
//
// It decides and does no I/O: what `ringfence check` prints, a controller can
// put into conditions.
package judge

import (
	"ringfence.dev/ringfence/internal/convert"
	"ringfence.dev/ringfence/rules"
)

// A Report is the verdict on an inventory. All lists are sorted by severity, then
// cluster; what is left is in the order of the sets of groups and of the tables.
type Report struct {
	// Missing are needs that the groups do not let through.
	Missing []Item
	// Excess are rules and defaults that let through what nobody needs.
	Excess []Item
	// Findings are everything else.
	Findings []Item
	// Needs is how many needs were checked, and Groups how many distinct sets
	// of groups: a report that checked nothing says so.
	Needs, Groups int
	// Unmet is how many of Needs are not met: an item of Missing may stand for
	// that of several sets.
	Unmet int
}

// An Item is one line of a report.
type Item struct {
	// ID is the profile's row for a missing need, the rule for an excess, and
	// the kind of finding else.
	ID       string
	Severity rules.Severity
	Cluster  string // empty if no cluster is concerned
	Group    string // the group to look at
	// Worn are the groups that were judged together, sorted.
	Worn []string
	// Who wears the group and has this item, in words: one entry a set of
	// groups, whose first wearer it names. Worn are those of the first.
	Who       []string
	Direction rules.Direction
	Protocol  string
	Ports     string // FIRST/LAST or -1/-1
	Peer      string
	Component string // what breaks; missing needs only
	Why       string
	// Logs is what the API server logs meanwhile; empty if nothing of its own.
	Logs string
	// Source is the row of the table, or where the rule stands.
	Source  string
	Example *rules.Flow // nil if no flow shows it; has a source port only if that matters
	// Fix is what would put it right, in order: additions before removals.
	Fix []rules.Edit
	// Place is where the rule or group stands.
	Place convert.Place
	// Target is where Fix is to be made.
	Target convert.Target

	// subject is the rule that a finding is about, and in what respect.
	subject string
	// asked is who wears the set that was looked at; empty if none was.
	asked string
}
