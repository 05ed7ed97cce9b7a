package cli

import (
	"fmt"
	"slices"
	"strings"

	"ringfence.dev/ringfence/internal/convert"
	"ringfence.dev/ringfence/internal/judge"
	"ringfence.dev/ringfence/rules"
)

// The JSON form of a report. Its names are a contract.
type jsonReport struct {
	Missing  []jsonItem `json:"missing"`
	Excess   []jsonItem `json:"excess"`
	Findings []jsonItem `json:"findings"`
	Checked  jsonCount  `json:"checked"`
}

type jsonCount struct {
	Needs     int `json:"needs"`
	GroupSets int `json:"groupSets"`
}

type jsonItem struct {
	ID        string      `json:"id"`
	Severity  string      `json:"severity"`
	Cluster   string      `json:"cluster,omitempty"`
	Group     string      `json:"group,omitempty"`
	Worn      []string    `json:"worn,omitempty"`
	Who       []string    `json:"who,omitempty"`
	Direction string      `json:"direction"`
	Protocol  string      `json:"protocol"`
	Ports     string      `json:"ports"`
	Peer      string      `json:"peer"`
	Component string      `json:"component,omitempty"`
	Why       string      `json:"why"`
	Logs      string      `json:"logs,omitempty"`
	Source    string      `json:"source"`
	Example   *jsonPacket `json:"example,omitempty"`
	Fix       []string    `json:"fix"`
}

type jsonPacket struct {
	Local       string `json:"local"`
	Remote      string `json:"remote,omitempty"`
	RemoteGroup string `json:"remoteGroup,omitempty"`
	Protocol    string `json:"protocol"`
	Port        uint16 `json:"port"`
	SourcePort  uint16 `json:"sourcePort,omitzero"`
}

func reportOf(r *judge.Report) jsonReport {
	return jsonReport{itemsOf(r.Missing), itemsOf(r.Excess), itemsOf(r.Findings), jsonCount{r.Needs, r.Groups}}
}

func itemsOf(list []judge.Item) []jsonItem {
	out := make([]jsonItem, 0, len(list))
	for i := range list {
		it := &list[i]
		out = append(out, jsonItem{
			ID: it.ID, Severity: it.Severity.String(), Cluster: it.Cluster, Group: it.Group, Worn: it.Worn, Who: it.Who,
			Direction: it.Direction.String(), Protocol: it.Protocol, Ports: it.Ports, Peer: it.Peer,
			Component: it.Component, Why: it.Why, Logs: it.Logs, Source: it.Source, Example: packetOf(it.Example), Fix: fixesOf(it),
		})
	}
	return out
}

func packetOf(f *rules.Flow) *jsonPacket {
	if f == nil {
		return nil
	}
	p := &jsonPacket{
		Local: f.Local.String(), RemoteGroup: f.RemoteGroup, Protocol: strings.ToLower(f.Protocol.String()),
		Port: f.Port, SourcePort: f.SourcePort,
	}
	if f.Remote.IsValid() {
		p.Remote = f.Remote.String()
	}
	return p
}

// fixesOf returns one text an edit, so that whoever applies the fixes of many
// items can tell by the text what has been done already.
func fixesOf(it *judge.Item) []string {
	texts := make([]string, 0, len(it.Fix))
	for i := range it.Fix {
		texts = append(texts, convert.EditTexts(it.Target, it.Fix[i:i+1])...)
	}
	return texts
}

// writeReport writes a report for people.
func writeReport(p *printer, r *judge.Report) {
	writeMissing(p, r.Missing)
	writeList(p, "TOO OPEN", r.Excess)
	writeList(p, "FINDINGS", r.Findings)
	p.printf("%s\n", summary(p, r))
}

func summary(p *printer, r *judge.Report) string {
	text := fmt.Sprintf("%s checked against %s", count(r.Groups, "set of groups", "sets of groups"), count(r.Needs, "need", "needs"))
	switch {
	case r.Groups == 0:
		return p.paint(styleRed, "nothing could be checked") + ": " + text
	case len(r.Missing) == 0 && !r.Fails(rules.High) && unknown(r):
		return p.paint(styleYellow, "no known need is missing, but not every fact is known, see the findings") + ": " + text
	case len(r.Missing) == 0 && !r.Fails(rules.High):
		return p.paint(styleGreen, "nothing is missing") + ": " + text
	case len(r.Missing) == 0:
		return p.paint(styleRed, "no known need is missing, but see the findings of severity high") + ": " + text
	}
	return p.paint(styleRed, count(len(r.Missing), "need is", "needs are")+" missing") + ": " + text
}

// unknown reports whether needs went unchecked for want of facts.
func unknown(r *judge.Report) bool {
	return slices.ContainsFunc(r.Findings, func(it judge.Item) bool {
		return it.ID == "unknown-fact" && it.Severity > rules.Info || it.ID == "unknown-need"
	})
}

func count(n int, singular, plural string) string {
	if n == 1 {
		return "1 " + singular
	}
	return fmt.Sprintf("%d %s", n, plural)
}

// writeMissing writes missing needs, those that differ in the peer alone together.
func writeMissing(p *printer, list []judge.Item) {
	if len(list) == 0 {
		return
	}
	p.printf("%s %s\n\n", p.paint(styleRed, "MISSING"), count(len(list), "need", "needs"))
	for _, same := range bySameNeed(list) {
		writeNeed(p, same)
	}
}

// bySameNeed puts missing needs that differ in the peer alone together, in the
// order of the first of each.
func bySameNeed(list []judge.Item) [][]judge.Item {
	var out [][]judge.Item
	for i := range list {
		k := slices.IndexFunc(out, func(same []judge.Item) bool { return sameNeed(&same[0], &list[i]) })
		if k < 0 {
			out = append(out, nil)
			k = len(out) - 1
		}
		out[k] = append(out[k], list[i])
	}
	return out
}

func sameNeed(a, b *judge.Item) bool {
	return a.ID == b.ID && a.Group == b.Group && a.Direction == b.Direction && a.Protocol == b.Protocol && a.Ports == b.Ports &&
		a.Why == b.Why && a.Component == b.Component
}

func writeNeed(p *printer, same []judge.Item) {
	it := &same[0]
	p.printf("  %s  %s\n", p.paint(styleBold, fmt.Sprintf("%s %s", it.Direction, flowText(it))), p.paint(styleDim, it.ID))
	peers := make([]string, len(same))
	for i := range same {
		peers[i] = same[i].Peer
	}
	labelled(p, map[rules.Direction]string{rules.Ingress: "from", rules.Egress: "to"}[it.Direction], strings.Join(peers, ", "))
	labelled(p, "group", groupText(it))
	labelled(p, "breaks", it.Component)
	labelled(p, "why", it.Why)
	if it.Example != nil {
		labelled(p, "packet", packetText(it.Example))
	}
	if it.Logs != "" {
		labelled(p, "logs", it.Logs)
	}
	labelled(p, "source", it.Source)
	var edits []rules.Edit
	for i := range same {
		edits = append(edits, same[i].Fix...)
	}
	writeFix(p, it.Target, edits)
	p.printf("\n")
}

func groupText(it *judge.Item) string {
	text := it.Group
	if it.Cluster != "" {
		text += " of cluster " + it.Cluster
	}
	if len(it.Worn) > 1 {
		text += fmt.Sprintf("; %s wears it together: %s", it.Who[0], strings.Join(it.Worn, ", "))
	}
	if more := len(it.Who) - 1; more > 0 {
		text += fmt.Sprintf("; the same holds for %s", some(it.Who[1:]))
	}
	return text
}

// flowText says protocol and ports as people do.
func flowText(it *judge.Item) string {
	if it.Ports == "" || it.Ports == (rules.PortRange{}).String() {
		return it.Protocol
	}
	first, last, _ := strings.Cut(it.Ports, "/")
	if first == last {
		return it.Protocol + " " + first
	}
	return it.Protocol + " " + first + "-" + last
}

// packetText writes a packet as SOURCE -> DESTINATION.
func packetText(q *rules.Flow) string {
	remote := "a member of group " + q.RemoteGroup
	if q.Remote.IsValid() {
		remote = q.Remote.String()
	}
	source, destination := remote, q.Local.String()
	if q.Direction == rules.Egress {
		source, destination = destination, source
	}
	text := fmt.Sprintf("%s -> %s %s", source, destination, q.Protocol)
	if q.Protocol.HasPorts() {
		text += fmt.Sprintf(" port %d", q.Port)
	}
	if q.SourcePort != 0 {
		text += fmt.Sprintf(", from port %d", q.SourcePort)
	}
	return text
}

func severityStyle(s rules.Severity) string {
	return [...]string{styleDim, styleCyan, styleYellow, styleRed}[s]
}

// writeList writes excess or findings, one entry each.
func writeList(p *printer, title string, list []judge.Item) {
	if len(list) == 0 {
		return
	}
	p.printf("%s\n\n", p.paint(styleBold, title))
	for i := range list {
		it := &list[i]
		head := fmt.Sprintf("%s  %s", p.paint(severityStyle(it.Severity), fmt.Sprintf("%-6s", it.Severity)), it.ID)
		if it.Protocol != "" {
			head += fmt.Sprintf("  %s %s %s", it.Direction, flowText(it), preposition(it)+it.Peer)
		}
		p.printf("  %s\n", head)
		labelled(p, "why", it.Why)
		if it.Severity > rules.Info {
			writeDetails(p, it)
		}
	}
	p.printf("\n")
}

func writeDetails(p *printer, it *judge.Item) {
	if it.Example != nil {
		labelled(p, "packet", packetText(it.Example))
	}
	if it.Logs != "" {
		labelled(p, "logs", it.Logs)
	}
	if it.Source != "" {
		labelled(p, "where", it.Source)
	}
	writeFix(p, it.Target, it.Fix)
}

// writeFix writes the edits that were not written before in this report, as
// few commands: additions, then removals.
func writeFix(p *printer, target convert.Target, edits []rules.Edit) {
	var adds, removals []rules.Edit
	for _, e := range edits {
		switch {
		case p.fixes[e]:
			continue
		case e.Remove:
			removals = append(removals, e)
		default:
			adds = append(adds, e)
		}
		p.fixes[e] = true
	}
	for _, fix := range convert.EditTexts(target, slices.Concat(adds, removals)) {
		command(p, "fix", fix)
	}
	if len(edits) > 0 && len(adds)+len(removals) == 0 {
		labelled(p, "fix", "as above")
	}
}

func preposition(it *judge.Item) string {
	if it.Direction == rules.Egress {
		return "to "
	}
	return "from "
}
