package convert

import (
	"fmt"
	"strconv"
	"strings"

	"ringfence.dev/ringfence/rules"
)

// ManifestRule returns a rule as one element of spec.ingress or spec.egress of
// a SecurityGroup, in YAML's flow style.
func ManifestRule(r *rules.Rule) string {
	policy := "Drop"
	if r.Action == rules.Accept {
		policy = "Accept"
	}
	fields := []field{{"policy", policy}, {"priority", strconv.Itoa(int(r.Priority))}, {"protocol", yamlText(r.Protocol.String())}}
	if !r.Ports.IsZero() {
		fields = append(fields, field{"ports", r.Ports.String()})
	}
	fields = append(fields, field{"peer", "{" + manifestPeer(r.Peer) + "}"})
	if r.Member.IsValid() {
		fields = append(fields, field{"memberCIDR", yamlText(r.Member.String())})
	}
	if !r.SourcePorts.IsZero() {
		fields = append(fields, field{"sourcePorts", r.SourcePorts.String()})
	}
	if r.Description != "" {
		fields = append(fields, field{"description", yamlText(r.Description)})
	}
	parts := make([]string, len(fields))
	for i, f := range fields {
		parts[i] = f.name + ": " + f.value
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

func manifestPeer(p rules.Peer) string {
	switch p := p.(type) {
	case rules.CIDR:
		return "cidr: " + yamlText(p.Text)
	case rules.GroupPeer:
		return "groupName: " + yamlText(p.Name)
	case rules.PrefixListPeer:
		return "prefixListName: " + yamlText(p.Name)
	}
	return ""
}

// yamlText returns s as a YAML scalar that is read as a string: plain where
// that is safe, double-quoted else.
func yamlText(s string) string {
	plain := s != "" && strings.IndexFunc(s, func(r rune) bool { return !isWord(r) && !strings.ContainsRune("-./", r) }) < 0
	_, notFloat := strconv.ParseFloat(s, 64)
	_, notInt := strconv.ParseInt(s, 0, 64) // hexadecimal and the like
	if plain && notFloat != nil && notInt != nil && !isYAMLWord(s) && isWord(rune(s[0])) {
		return s
	}
	return strconv.Quote(s)
}

// isYAMLWord reports whether YAML would read s as something else than text.
func isYAMLWord(s string) bool {
	switch strings.ToLower(s) {
	case "true", "false", "yes", "no", "on", "off", "null", "y", "n":
		return true
	}
	return false
}

// ManifestGroup returns a group as a SecurityGroup object in YAML.
func ManifestGroup(g *rules.Group) string {
	var b strings.Builder
	typ, inner := "Basic", "Drop"
	if g.InnerAccess {
		inner = "Accept"
	}
	if g.Type == rules.Advanced {
		typ = "Advanced"
	}
	fmt.Fprintf(&b, "apiVersion: ringfence.dev/v1alpha1\nkind: SecurityGroup\nmetadata: {name: %s}\nspec:\n  vpcName: %s\n  type: %s\n", yamlText(g.Name), yamlText(g.VPC), typ)
	if g.Type == rules.Basic {
		fmt.Fprintf(&b, "  innerAccess: %s\n", inner)
	}
	for _, d := range []rules.Direction{rules.Ingress, rules.Egress} {
		list := g.Rules(d)
		if len(list) == 0 {
			continue
		}
		fmt.Fprintf(&b, "  %s:\n", d)
		for i := range list {
			fmt.Fprintf(&b, "  - %s\n", ManifestRule(&list[i]))
		}
	}
	return b.String()
}

// A Target is where edits are to be made.
type Target struct {
	Origin Origin
	Region string // of a cloud's group; may be empty
}

// Target returns where edits of the group are to be made.
func (g *Group) Target() Target { return Target{g.Origin, g.Region} }

// EditTexts says how to make edits where their groups came from: commands for
// a cloud's group, blocks for Terraform, lines for a manifest. It always says
// something: what a form cannot express is said in words.
func EditTexts(t Target, edits []rules.Edit) []string {
	if t.Origin == Cloud {
		if commands, err := AliyunCommands(t.Region, edits); err == nil {
			return commands
		}
	}
	texts := make([]string, 0, len(edits))
	for _, e := range edits {
		texts = append(texts, editText(t.Origin, e))
	}
	return texts
}

func editText(origin Origin, e rules.Edit) string {
	verb := "add to"
	if e.Remove {
		verb = "remove from"
	}
	switch origin {
	case Cloud: // ECS cannot express it
	case Terraform:
		if block, err := TerraformRule(e.Group, &e.Rule); err == nil && !e.Remove {
			return block
		}
	case Manifest:
		if e.Remove && e.Rule.Row != "" { // users' rules have no row
			return fmt.Sprintf("rule %s in status.%s of SecurityGroup %s is written by the controllers from the cluster's facts: change those; it says %s",
				e.Rule.Row, systemList(e.Rule.Direction), e.Group, ManifestRule(&e.Rule))
		}
		return fmt.Sprintf("%s spec.%s of SecurityGroup %s: %s", verb, e.Rule.Direction, e.Group, ManifestRule(&e.Rule))
	}
	return fmt.Sprintf("%s %s: %s", verb, e.Group, ruleWords(&e.Rule))
}

// systemList names the field of system rules of a direction.
func systemList(d rules.Direction) string {
	if d == rules.Egress {
		return "systemEgress"
	}
	return "systemIngress"
}

func ruleWords(r *rules.Rule) string {
	return fmt.Sprintf("%s %s %s %s priority %d peer %s", r.Direction, r.Action, r.Protocol, r.Ports, r.Priority, r.Peer)
}
