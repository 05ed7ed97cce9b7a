package convert

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"ringfence.dev/ringfence/rules"
)

// TerraformRule returns a rule of a group as an alicloud_security_group_rule
// block, formatted as `terraform fmt` would. The group is an expression if it
// is the address of a resource, such as alicloud_security_group.web, and a
// literal id else. A resource of a module can be named inside that module only:
// a comment says where the block belongs. The block's name tells the rule, so
// that it stays the same from run to run.
//
// It is an error if the resource cannot express the rule: it knows no
// five-tuple rules and no protocols beyond those of ECS.
func TerraformRule(group string, r *rules.Rule) (string, error) {
	if err := r.ValidateECS(); err != nil {
		return "", err
	}
	if r.Member.IsValid() || !r.SourcePorts.IsZero() {
		return "", errors.New("alicloud_security_group_rule has no five-tuple rules: leave member and source ports open")
	}
	module, group := moduleOf(group)
	fields := []field{
		{"type", hclQuote(r.Direction.String())},
		{"ip_protocol", hclQuote(strings.ToLower(r.Protocol.String()))},
		{"port_range", hclQuote(r.Ports.String())},
		{"policy", hclQuote(r.Action.String())},
		{"priority", strconv.Itoa(int(r.Priority))},
		{"nic_type", hclQuote("intranet")},
		{"security_group_id", hclReference(group)},
		terraformPeer(r),
	}
	if r.Description != "" {
		fields = append(fields, field{"description", hclQuote(r.Description)})
	}
	width := 0
	for _, f := range fields {
		width = max(width, len(f.name))
	}
	var b strings.Builder
	if module != "" {
		fmt.Fprintf(&b, "# in %s:\n", module)
	}
	fmt.Fprintf(&b, "resource \"alicloud_security_group_rule\" %q {\n", terraformName(group, r))
	for _, f := range fields {
		fmt.Fprintf(&b, "  %-*s = %s\n", width, f.name, f.value)
	}
	b.WriteString("}\n")
	return b.String(), nil
}

// moduleOf splits a resource's address into its module and the address there.
func moduleOf(address string) (module, local string) {
	i := strings.LastIndex(address, ".alicloud_")
	if !strings.HasPrefix(address, "module.") || i < 0 {
		return "", address
	}
	return address[:i], address[i+1:]
}

func terraformPeer(r *rules.Rule) field {
	switch p := r.Peer.(type) {
	case rules.CIDR:
		if p.Prefix.Addr().Is6() {
			return field{"ipv6_cidr_ip", hclQuote(p.Text)}
		}
		return field{"cidr_ip", hclQuote(p.Text)}
	case rules.GroupPeer:
		return field{"source_security_group_id", hclReference(p.Name)}
	case rules.PrefixListPeer:
		return field{"prefix_list_id", hclReference(p.Name)}
	}
	return field{"cidr_ip", `""`}
}

// terraformName names a block by all that tells rules apart.
func terraformName(group string, r *rules.Rule) string {
	parts := []string{group, r.Direction.String(), r.Action.String(), strconv.Itoa(int(r.Priority)), r.Protocol.String()}
	if !r.Ports.IsZero() {
		parts = append(parts, r.Ports.String())
	}
	parts = append(parts, r.Peer.String())
	name := strings.Map(func(c rune) rune {
		if isWord(c) {
			return c
		}
		return '_'
	}, strings.ToLower(strings.Join(parts, "_")))
	if name != "" && '0' <= name[0] && name[0] <= '9' {
		name = "_" + name
	}
	return strings.Trim(name, "_")
}

// hclReference returns an expression for an id: the attribute of a resource
// of the same configuration, or a literal.
func hclReference(id string) string {
	for _, kind := range []string{"alicloud_", "data.alicloud_", "var.", "local."} {
		if strings.HasPrefix(id, kind) {
			if kind == "alicloud_" && !strings.HasSuffix(id, ".id") {
				return id + ".id"
			}
			return id
		}
	}
	return hclQuote(id)
}

// hclQuote returns s as a string literal of HCL, in which ${ and %{ begin
// expressions.
func hclQuote(s string) string {
	s = strings.NewReplacer("\\", `\\`, "\"", `\"`, "\n", `\n`, "\r", `\r`, "\t", `\t`).Replace(s)
	return `"` + strings.NewReplacer("${", "$${", "%{", "%%{").Replace(s) + `"`
}
