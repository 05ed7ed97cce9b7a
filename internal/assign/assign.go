// Package assign says which Rollout a host follows, which Ruleset of it the host
// runs, and which hosts of a step it dials. The agent asks it about its own host,
// the controller about all of them: who is to run what is written down once a set
// of groups, and both must read it alike. It has no I/O.
package assign

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/convert"
)

// The ends of what a bound can be. Bounds and digests are texts of 16
// hexadecimal digits, which compare as the numbers do.
const (
	// Nobody is the bound below which no host is.
	Nobody = "0000000000000000"
	// Everybody is the bound below which all hosts are.
	Everybody = "1000000000000000"
)

// digits is how many hexadecimal digits of a digest count: one fewer than a
// bound has, so that a bound can be greater than all of them.
const digits = 15

// Digest is where a host stands in the order in which hosts run a candidate. The
// order is another one for each candidate, so that it is not always the same
// host that tries what is new.
func Digest(candidate, host string) string {
	sum := sha256.Sum256([]byte(candidate + "/" + host))
	return "0" + hex.EncodeToString(sum[:])[:digits]
}

// Above returns the least bound that a digest is below.
func Above(digest string) string {
	n, err := strconv.ParseUint(digest, 16, 64)
	if err != nil {
		return Nobody // no digest: nobody is chosen by it
	}
	text := strconv.FormatUint(n+1, 16)
	return Nobody[:len(Nobody)-len(text)] + text
}

// Critical reports whether a host is one of those that change one at a time: it
// is there for etcd or the API server, by its spec or by what its agent sees.
func Critical(h *v1alpha1.Host) bool {
	return slices.ContainsFunc(Roles(h), func(r v1alpha1.HostRole) bool {
		return r == v1alpha1.RoleEtcd || r == v1alpha1.RoleAPIServer
	})
}

// Roles are a host's, by its spec and by what its agent sees.
func Roles(h *v1alpha1.Host) []v1alpha1.HostRole {
	return slices.Concat(h.Spec.Roles, h.Status.ObservedRoles)
}

// A Follower is a host as far as it matters to a Rollout.
type Follower struct {
	Name string
	// Critical is what [Critical] says.
	Critical bool
}

// FollowerOf returns a host as far as it matters to a Rollout.
func FollowerOf(h *v1alpha1.Host) Follower { return Follower{h.Name, Critical(h)} }

// Chosen reports whether a host is to run the candidate. Without one nobody is.
func Chosen(r *v1alpha1.RolloutSpec, f Follower) bool {
	switch {
	case r.CandidateRulesetName == "":
		return false
	case f.Critical:
		return slices.Contains(r.CriticalHostNames, f.Name)
	}
	return Digest(r.CandidateRulesetName, f.Name) < r.Bound
}

// Ruleset names the Ruleset that a host is to run. Empty means that it keeps
// what it runs: the first candidate of a set is being tried, on others.
func Ruleset(r *v1alpha1.RolloutSpec, f Follower) string {
	if Chosen(r, f) {
		return r.CandidateRulesetName
	}
	return r.StableRulesetName
}

// Rollout finds the Rollout that a host follows among those of its namespace,
// in any order. It reports false if there is none, or if it cannot be told yet
// which one it is, as in the moment in which the groups of a node pool change:
// the host keeps what it runs.
//
// A host without a node pool follows the one that is named by its own groups. A
// host of a node pool wears those of the pool too, which it cannot read; it
// follows the Rollout with the fewest groups among those that name the pool and
// have all of the host's own. Every other one has these groups and more.
func Rollout(h *v1alpha1.Host, all []v1alpha1.Rollout) (*v1alpha1.Rollout, bool) {
	if h.Spec.NodePoolName == "" {
		name := convert.RolloutName(h.Spec.SecurityGroupNames)
		i := slices.IndexFunc(all, func(r v1alpha1.Rollout) bool { return r.Name == name })
		if i < 0 || len(h.Spec.SecurityGroupNames) == 0 {
			return nil, false
		}
		return &all[i], true
	}
	var found *v1alpha1.Rollout
	var fits []*v1alpha1.Rollout
	for i := range all {
		r := &all[i]
		if Pool(h, r) == nil || !has(r, h.Spec.SecurityGroupNames) {
			continue
		}
		fits = append(fits, r)
		if found == nil || len(r.Spec.SecurityGroupNames) < len(found.Spec.SecurityGroupNames) {
			found = r
		}
	}
	for _, other := range fits {
		if !has(other, found.Spec.SecurityGroupNames) {
			return nil, false
		}
	}
	return found, found != nil
}

// maxLabel is how long the name of a label may be, behind its prefix.
const maxLabel = 63

// PoolLabel is the label of the Rollouts that name a node pool.
func PoolLabel(pool string) string {
	if len(pool) > maxLabel {
		sum := sha256.Sum256([]byte(pool))
		pool = hex.EncodeToString(sum[:])[:40] //nolint:mnd // as names by content have
	}
	return v1alpha1.LabelPoolPrefix + pool
}

// Labels returns the labels of a Rollout: those that it has, but for node pools
// those that it names. The result is nil if there are none.
func Labels(have map[string]string, pools []v1alpha1.RolloutNodePool) map[string]string {
	var out map[string]string
	put := func(key, value string) {
		if out == nil {
			out = map[string]string{}
		}
		out[key] = value
	}
	for key, value := range have {
		if !strings.HasPrefix(key, v1alpha1.LabelPoolPrefix) {
			put(key, value)
		}
	}
	for _, p := range pools {
		put(PoolLabel(p.Name), "")
	}
	return out
}

// Among says among which Rollouts of its namespace a host looks for its own: the
// one with a name, or those with a label. Both are empty for a host that wears
// nothing.
func Among(h *v1alpha1.Host) (name, label string) {
	switch {
	case h.Spec.NodePoolName != "":
		return "", PoolLabel(h.Spec.NodePoolName)
	case len(h.Spec.SecurityGroupNames) > 0:
		return convert.RolloutName(h.Spec.SecurityGroupNames), ""
	}
	return "", ""
}

// Pool returns what a Rollout says of a host's node pool; nil if nothing, as of a
// host that has none.
func Pool(h *v1alpha1.Host, r *v1alpha1.Rollout) *v1alpha1.RolloutNodePool {
	i := slices.IndexFunc(r.Spec.NodePools, func(p v1alpha1.RolloutNodePool) bool { return p.Name == h.Spec.NodePoolName })
	if i < 0 || h.Spec.NodePoolName == "" {
		return nil
	}
	return &r.Spec.NodePools[i]
}

// Observes reports whether a host that follows a Rollout lets pass what the
// rules drop.
func Observes(h *v1alpha1.Host, r *v1alpha1.Rollout) bool {
	e := h.Spec.Enforcement
	if p := Pool(h, r); e == "" && p != nil {
		e = p.Enforcement
	}
	return e == v1alpha1.EnforcementObserve
}

// Keep returns those of the flows to keep of a Ruleset that a host, which
// follows a Rollout, may not lose.
func Keep(h *v1alpha1.Host, r *v1alpha1.Rollout, flows []v1alpha1.KeepFlow) []v1alpha1.KeepFlow {
	cluster := h.Spec.ClusterName
	if p := Pool(h, r); cluster == "" && p != nil {
		cluster = p.ClusterName
	}
	roles := Roles(h)
	var out []v1alpha1.KeepFlow
	for i := range flows {
		f := &flows[i]
		mine := len(f.Roles) == 0 || slices.ContainsFunc(f.Roles, func(role v1alpha1.HostRole) bool { return slices.Contains(roles, role) })
		if mine && (f.ClusterName == "" || f.ClusterName == cluster) {
			out = append(out, *f)
		}
	}
	return out
}

func has(r *v1alpha1.Rollout, groups []v1alpha1.Name) bool {
	return !slices.ContainsFunc(groups, func(g v1alpha1.Name) bool { return !slices.Contains(r.Spec.SecurityGroupNames, g) })
}
