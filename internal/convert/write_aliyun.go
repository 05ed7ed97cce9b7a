package convert

import (
	"fmt"
	"strings"

	"ringfence.dev/ringfence/rules"
)

// maxPermissions is how many rules one call of ECS may name.
const maxPermissions = 100

// AliyunCommands returns the `aliyun` commands that make edits, in their
// order; neighbours that one call can make share a command, which is then all or
// nothing. Groups are written as given: an id, or a shell variable. Without a
// region, the one that `aliyun` is configured for is asked.
//
// It is an error if ECS cannot express a rule.
func AliyunCommands(region string, edits []rules.Edit) ([]string, error) {
	var commands []string
	for len(edits) > 0 {
		n := 1
		for n < len(edits) && n < maxPermissions && sameCall(&edits[0], &edits[n]) {
			n++
		}
		command, err := aliyunCommand(region, edits[:n])
		if err != nil {
			return nil, err
		}
		commands = append(commands, command)
		edits = edits[n:]
	}
	return commands, nil
}

// sameCall reports whether one call of ECS can make both edits.
func sameCall(a, b *rules.Edit) bool {
	return a.Remove == b.Remove && a.Group == b.Group && a.Rule.Direction == b.Rule.Direction
}

// aliyunCommand returns the one command for edits of which all are sameCall.
func aliyunCommand(region string, edits []rules.Edit) (string, error) {
	e := &edits[0]
	action := "AuthorizeSecurityGroup"
	if e.Remove {
		action = "RevokeSecurityGroup"
	}
	if e.Rule.Direction == rules.Egress {
		action += "Egress"
	}
	words := []string{"aliyun", "ecs", action}
	if region != "" {
		words = append(words, "--RegionId", shellQuote(region))
	}
	words = append(words, "--SecurityGroupId", shellQuote(e.Group))
	for i := range edits {
		r := &edits[i].Rule
		if err := r.ValidateECS(); err != nil {
			return "", err
		}
		for _, f := range ecsFields(r) {
			if e.Remove && f.name == "Description" {
				continue // no part of a rule's identity
			}
			words = append(words, fmt.Sprintf("--Permissions.%d.%s", i+1, f.name), shellQuote(f.value))
		}
	}
	return strings.Join(words, " "), nil
}

// A field is one named value of a rule in some foreign form.
type field struct{ name, value string }

// ecsFields returns a rule as the parameters of AuthorizeSecurityGroup[Egress].
func ecsFields(r *rules.Rule) []field {
	fields := []field{
		{"IpProtocol", r.Protocol.String()},
		{"PortRange", r.Ports.String()},
		ecsPeer(r),
		{"Policy", r.Action.String()},
		{"Priority", fmt.Sprint(r.Priority)},
	}
	if r.Member.IsValid() {
		name := map[rules.Direction]string{rules.Ingress: "DestCidrIp", rules.Egress: "SourceCidrIp"}[r.Direction]
		if r.Member.Addr().Is6() {
			name = "Ipv6" + name
		}
		fields = append(fields, field{name, r.Member.String()})
	}
	if !r.SourcePorts.IsZero() {
		fields = append(fields, field{"SourcePortRange", r.SourcePorts.String()})
	}
	if r.Description != "" {
		fields = append(fields, field{"Description", r.Description})
	}
	return fields
}

func ecsPeer(r *rules.Rule) field {
	side := "Source"
	if r.Direction == rules.Egress {
		side = "Dest"
	}
	switch p := r.Peer.(type) {
	case rules.CIDR:
		if p.Prefix.Addr().Is6() {
			return field{"Ipv6" + side + "CidrIp", p.Text}
		}
		return field{side + "CidrIp", p.Text}
	case rules.GroupPeer:
		return field{side + "GroupId", p.Name}
	case rules.PrefixListPeer:
		return field{side + "PrefixListId", p.Name}
	}
	return field{side + "CidrIp", ""}
}

// shellQuote returns s as one word of a POSIX shell. A word that is a variable
// alone, such as $SECURITY_GROUP_ID, stays one, quoted.
func shellQuote(s string) string {
	if strings.HasPrefix(s, "$") && isName(s[1:]) {
		return `"` + s + `"`
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !isPlain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

func isPlain(r rune) bool { return isWord(r) || strings.ContainsRune("-./:,@%+=", r) }

func isWord(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '_'
}

func isName(s string) bool {
	return s != "" && strings.IndexFunc(s, func(r rune) bool { return !isWord(r) }) < 0
}
