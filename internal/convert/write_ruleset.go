package convert

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"slices"

	"k8s.io/apimachinery/pkg/util/intstr"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/profiles"
	"ringfence.dev/ringfence/rules"
)

// RulesetSpec returns merged rules as the API has them, with what hosts keep.
// Equal rules give equal specs: addresses are written in one way only.
func RulesetSpec(rs *rules.Ruleset, keep []v1alpha1.KeepFlow) v1alpha1.RulesetSpec {
	spec := v1alpha1.RulesetSpec{
		SecurityGroupNames: rs.Groups, Type: v1alpha1.GroupTypeBasic, InnerAccessGroupNames: rs.InnerAccess,
		Ingress: rulesetRules(rs.Ingress), Egress: rulesetRules(rs.Egress), Keep: keep,
	}
	if rs.Type == rules.Advanced {
		spec.Type = v1alpha1.GroupTypeAdvanced
	}
	return spec
}

func rulesetRules(list []rules.MergedRule) []v1alpha1.RulesetRule {
	var out []v1alpha1.RulesetRule
	for i := range list {
		r := &list[i]
		name, isGroup := r.Peer.(rules.GroupPeer)
		if !isGroup && len(r.Prefixes) == 0 {
			continue // an empty prefix list matches nothing
		}
		one := v1alpha1.RulesetRule{
			By: r.String(), Policy: v1alpha1.PolicyDrop, Priority: int32(r.Priority),
			Protocol: intstr.FromString(r.Protocol.String()), Ports: portsText(r.Ports), SourcePorts: portsText(r.SourcePorts),
			GroupName: name.Name,
		}
		if r.Action == rules.Accept {
			one.Policy = v1alpha1.PolicyAccept
		}
		if l, ok := r.Peer.(rules.PrefixListPeer); ok {
			one.PrefixListName = l.Name
		}
		for _, p := range r.Prefixes {
			one.CIDRs = append(one.CIDRs, p.String())
		}
		if r.Member.IsValid() {
			one.MemberCIDR = r.Member.String()
		}
		out = append(out, one)
	}
	return out
}

// maxPeers is how many CIDRs one flow to keep may name.
const maxPeers = 200

func keepFlows(clusterName string, k *profiles.Keep) []v1alpha1.KeepFlow {
	direction := v1alpha1.DirectionIngress
	if k.Direction == rules.Egress {
		direction = v1alpha1.DirectionEgress
	}
	var roles []v1alpha1.HostRole
	for _, r := range k.Roles {
		roles = append(roles, v1alpha1.HostRole(r))
	}
	var out []v1alpha1.KeepFlow
	for peers := range slices.Chunk(k.Peers, maxPeers) {
		one := v1alpha1.KeepFlow{
			Row: k.Row, ClusterName: clusterName, Roles: roles, Direction: direction,
			Protocol: intstr.FromString(k.Protocol.String()), Ports: portsText(k.Ports),
		}
		for _, p := range peers {
			one.CIDRs = append(one.CIDRs, p.Prefix.String())
		}
		out = append(out, one)
	}
	return out
}

// nameLength is how many hexadecimal digits the names by content have: 160
// bits, which nobody can make two texts collide in.
const nameLength = 40

// RulesetName returns the name of the Ruleset with a spec.
func RulesetName(spec *v1alpha1.RulesetSpec) (string, error) {
	text, err := json.Marshal(spec)
	if err != nil {
		return "", fmt.Errorf("cannot write the Ruleset of %v: %w", spec.SecurityGroupNames, err)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])[:nameLength], nil
}

// RolloutName returns the name of the Rollout of a set of groups, in any order.
func RolloutName(groups []string) string {
	sum := sha256.New()
	for _, g := range slices.Sorted(slices.Values(groups)) {
		_, _ = io.WriteString(sum, g+"\n") // a hash takes everything
	}
	return hex.EncodeToString(sum.Sum(nil))[:nameLength]
}
