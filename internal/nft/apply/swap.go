package apply

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"

	"ringfence.dev/ringfence/internal/nft"
	"ringfence.dev/ringfence/rules"
	"ringfence.dev/ringfence/rules/flowset"
)

// ErrTrialOver says that the trial ended before it was confirmed.
var ErrTrialOver = errors.New("the trial is over: packets take the confirmed version again")

var directions = []rules.Direction{rules.Ingress, rules.Egress} //nolint:gochecknoglobals // a constant

// Build is Load and then Verify: the first of the four transactions.
func (k *Kernel) Build(v *nft.Version, uplinks []string) error {
	if err := k.Load(v, uplinks); err != nil {
		return err
	}
	return k.Verify(v)
}

// Load makes what v needs and the kernel does not have. No packet takes it
// yet, unless v is in force: then members that came and went since it was laid
// out, by another process, are brought up to date. Uplinks are used if the table has none so far; it is an error if there
// would be none at all.
func (k *Kernel) Load(v *nft.Version, uplinks []string) error {
	chains, sets, err := k.present()
	if err != nil {
		return err
	}
	if err := k.foundation(chains, sets, uplinks); err != nil {
		return err
	}
	nodes := v.Nodes()
	if !based(chains) {
		nodes = append(nodes, v.BaseNodes()...)
	}
	was := maps.Clone(chains)
	if err := k.dropHalves(nodes, chains, sets); err != nil {
		return err
	}
	if err := k.make(nodes, chains); err != nil {
		return err
	}
	return k.syncMembers(v, was)
}

// dropHalves deletes maps without their chain, which nothing asks: somebody was
// killed while filling them, with members of then.
func (k *Kernel) dropHalves(nodes []*nft.Node, chains, sets map[string]bool) error {
	found := false
	for _, n := range nodes {
		for i := range n.Maps {
			if name := n.Maps[i].Name; sets[name] && !chains[n.Name] {
				k.conn.DelSet(&nftables.Set{Table: k.table, Name: name})
				found = true
			}
		}
	}
	if !found {
		return nil
	}
	return k.commit("delete what was half built")
}

// based reports whether some base chain leads packets to the policies: ours,
// or that of an agent that laid it out otherwise. Then Delete replaces it, and
// not before, so that no packet is judged twice for as long as a trial lasts.
func based(chains map[string]bool) bool {
	for name := range chains {
		if strings.HasPrefix(name, "base_") {
			return true
		}
	}
	return false
}

// rebase makes the base chains of a version. Those of another one stay until
// the next transaction: for that moment packets pass, and are counted by, both,
// since with one transaction for both there would be packets that pass neither:
// the kernel may run the new chain before, and the old one after it.
func (k *Kernel) rebase(v *nft.Version, chains, sets map[string]bool) error {
	if err := k.makeRevoked(sets); err != nil {
		return err
	}
	return k.make(v.BaseNodes(), chains)
}

// syncMembers brings the members of a version that was in the kernel already
// up to date: they are the one thing that its name says nothing about.
func (k *Kernel) syncMembers(v *nft.Version, was map[string]bool) error {
	for i := range v.Dispatch {
		n := &v.Dispatch[i]
		if !was[n.Name] {
			continue
		}
		for j := range n.Maps {
			if m := &n.Maps[j]; !m.Interval { // ranges are in the name
				if err := k.syncMap(k.set(m), m, nil); err != nil {
					return err
				}
			}
		}
	}
	return k.commit("bring members up to date")
}

func (k *Kernel) make(nodes []*nft.Node, chains map[string]bool) error {
	var made []string
	for _, n := range nodes {
		if chains[n.Name] {
			continue // made in one transaction, never changed, so complete
		}
		if err := k.makeNode(n); err != nil {
			return err
		}
		made = append(made, n.Name)
		if err := k.commitLarge("build chain " + n.Name); err != nil {
			return err
		}
	}
	if err := k.commit("build the new version"); err != nil {
		return err
	}
	for _, name := range made {
		k.known[name] = true
	}
	return nil
}

// foundation makes what all versions share.
func (k *Kernel) foundation(chains, sets map[string]bool, uplinks []string) error {
	k.conn.AddTable(k.table)
	k.logLimit()
	if !sets[nft.UplinkSet] {
		if len(uplinks) == 0 {
			return errors.New("no uplink: nothing would be judged; name one")
		}
		var list []nftables.SetElement
		for _, u := range uplinks {
			list = append(list, nftables.SetElement{Key: interfaceKey(u)})
		}
		if err := k.conn.AddSet(k.uplinkSet(), list); err != nil {
			return fmt.Errorf("cannot make set %s: %w", nft.UplinkSet, err)
		}
	}
	if err := k.makeRevoked(sets); err != nil {
		return err
	}
	for _, d := range directions {
		if !chains[nft.Policy(d)] {
			t := nft.Trampoline(d, "")
			if err := k.makeNode(&t); err != nil {
				return err
			}
		}
	}
	return nil
}

func (k *Kernel) logLimit() {
	k.conn.AddObj(&nftables.NamedObj{
		Table: k.table, Name: nft.LogLimit, Type: nftables.ObjTypeLimit,
		Obj: &expr.Limit{Type: expr.LimitTypePkts, Rate: nft.LogRate, Unit: expr.LimitTimeSecond, Burst: nft.LogBurst},
	})
}

// SetUplinks makes these interfaces the ones whose traffic is judged, in one
// transaction. Build must have made the table. It is an error to name none.
func (k *Kernel) SetUplinks(uplinks []string) error {
	if len(uplinks) == 0 {
		return errors.New("no uplink: nothing would be judged; name one")
	}
	s := k.uplinkSet()
	live, err := k.conn.GetSetElements(s)
	if err != nil {
		return fmt.Errorf("cannot read set %s: %w", nft.UplinkSet, err)
	}
	var add, remove []nftables.SetElement
	for _, u := range uplinks {
		has := func(e nftables.SetElement) bool { return bytes.Equal(e.Key, interfaceKey(u)) }
		if !slices.ContainsFunc(live, has) {
			add = append(add, nftables.SetElement{Key: interfaceKey(u)})
		}
	}
	for _, e := range live {
		if !slices.ContainsFunc(uplinks, func(u string) bool { return bytes.Equal(e.Key, interfaceKey(u)) }) {
			remove = append(remove, nftables.SetElement{Key: e.Key})
		}
	}
	if len(add) > 0 {
		err = errors.Join(err, k.conn.SetAddElements(s, add))
	}
	if len(remove) > 0 {
		err = errors.Join(err, k.conn.SetDeleteElements(s, remove))
	}
	if err != nil {
		return fmt.Errorf("cannot change set %s: %w", nft.UplinkSet, err)
	}
	return k.commit("change the uplinks")
}

// interfaceKey is an interface's name as the kernel compares it.
func interfaceKey(name string) []byte {
	out := make([]byte, 16) //nolint:mnd // IFNAMSIZ
	copy(out[:15], name)
	return out
}

// Trial leads packets to a version that was built, for a time: then, if nobody
// confirms, the kernel leads them to the confirmed version again, or lets
// everything pass if there is none.
func (k *Kernel) Trial(version string, timeout time.Duration) error {
	if timeout < time.Millisecond {
		return fmt.Errorf("a trial of %s: want at least a millisecond", timeout)
	}
	for _, d := range directions {
		t := nft.Trampoline(d, version)
		s := k.set(&t.Maps[0])
		k.conn.FlushSet(s)
		asked, err := k.trialRule(d)
		if err != nil {
			return err
		}
		if asked == nil {
			k.conn.InsertRule(&nftables.Rule{Table: k.table, Chain: k.chain(t.Name), Exprs: expressions(nft.TrialRule(d))})
		}
		for _, e := range trialElements(d, version) {
			list := elements(&t.Maps[0], e)
			list[0].Timeout = timeout
			if err := k.conn.SetAddElements(s, list); err != nil {
				return fmt.Errorf("cannot try version %s: %w", version, err)
			}
		}
	}
	return k.commit("try version " + version)
}

// The values of nft.Family.
var familyValues = []struct { //nolint:gochecknoglobals // a constant
	value  uint64
	suffix string
}{{2, "4"}, {10, "6"}} //nolint:mnd // NFPROTO_IPV4 and NFPROTO_IPV6

func trialElements(d rules.Direction, version string) []nft.Element {
	var out []nft.Element
	for _, f := range familyValues {
		at := flowset.Addr{Lo: f.value}
		out = append(out, nft.Element{Range: flowset.AddrRange{First: at, Last: at}, Goto: nft.DispatchChain(version, d, f.suffix)})
	}
	return out
}

// trialRule returns the rule of a trampoline that asks for the trial; nil if
// there is none.
func (k *Kernel) trialRule(d rules.Direction) (*nftables.Rule, error) {
	list, err := k.conn.GetRules(k.table, k.chain(nft.Policy(d)))
	if err != nil {
		return nil, fmt.Errorf("cannot read chain %s: %w", nft.Policy(d), err)
	}
	if len(list) > 0 && sameRule(list[0].Exprs, expressions(nft.TrialRule(d))) {
		return list[0], nil
	}
	return nil, nil
}

// EndTrial goes back to the confirmed version at once.
func (k *Kernel) EndTrial() error {
	for _, d := range directions {
		k.conn.FlushSet(k.set(&nft.Trampoline(d, "").Maps[0]))
		r, err := k.trialRule(d)
		if err == nil && r != nil {
			err = k.conn.DelRule(r)
		}
		if err != nil {
			return fmt.Errorf("cannot end the trial: %w", err)
		}
	}
	return k.commit("end the trial")
}

// ConfirmTrial is Confirm for a version that must be on trial still; else the
// error is ErrTrialOver.
func (k *Kernel) ConfirmTrial(version string) error {
	s, err := k.State()
	if err != nil {
		return err
	}
	if s.Trial != version {
		return fmt.Errorf("cannot confirm version %s: %w", version, ErrTrialOver)
	}
	return k.Confirm(version)
}

// Confirm leads packets to a version that was built, for good, and ends every
// trial.
func (k *Kernel) Confirm(version string) error {
	for _, d := range directions {
		t := nft.Trampoline(d, version)
		c := k.chain(t.Name)
		k.conn.FlushChain(c)
		k.addRules(c, &t)
		k.conn.FlushSet(k.set(&t.Maps[0]))
	}
	return k.commit("confirm version " + version)
}

// A State is where the trampolines lead.
type State struct {
	// Confirmed and Trial are versions; empty if there is none.
	Confirmed, Trial string
	// Left is how long the trial lasts still.
	Left time.Duration
}

// State reads where packets go now. The zero State means that there is no
// table, or that it lets everything pass.
func (k *Kernel) State() (State, error) {
	var out State
	chains, _, err := k.present()
	if err != nil || !chains[nft.Policy(rules.Ingress)] {
		return out, err
	}
	list, err := k.conn.GetRules(k.table, k.chain(nft.Policy(rules.Ingress)))
	if err != nil {
		return out, fmt.Errorf("cannot read chain %s: %w", nft.Policy(rules.Ingress), err)
	}
	for _, r := range list {
		comment, _ := userdata.GetString(r.UserData, userdata.TypeComment)
		if version, ok := strings.CutPrefix(strings.TrimRight(comment, "\x00"), nft.Comment("")); ok {
			out.Confirmed = version
		}
	}
	trial, err := k.conn.GetSetElements(k.set(&nft.Trampoline(rules.Ingress, "").Maps[0]))
	if err != nil {
		return out, fmt.Errorf("cannot read map %s: %w", nft.TrialMap(rules.Ingress), err)
	}
	for _, e := range trial {
		out.Trial, out.Left = versionOf(target(e)), e.Expires
	}
	return out, nil
}

// versionOf is the inverse of nft.DispatchChain.
func versionOf(chain string) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(chain, "v_"), "_")
	return name
}

// Delete takes away everything that none of the versions needs, after it has
// made their base chains, if there were others; with none, it deletes all
// versions and leaves the shared parts, if no trampoline leads there.
func (k *Kernel) Delete(keep ...*nft.Version) error {
	chains, sets, err := k.present()
	if err != nil || len(chains) == 0 {
		return err
	}
	there := maps.Clone(sets)
	for _, d := range directions {
		delete(chains, nft.Policy(d))
		delete(sets, nft.TrialMap(d))
	}
	delete(sets, nft.UplinkSet)
	for _, s := range nft.Spaces {
		delete(sets, nft.RevokedSet(s))
	}
	for _, v := range keep {
		if err := k.rebase(v, chains, there); err != nil {
			return err
		}
		for _, n := range append(v.Nodes(), v.BaseNodes()...) {
			delete(chains, n.Name)
			for i := range n.Maps {
				delete(sets, n.Maps[i].Name)
			}
		}
	}
	return k.deleteAll(chains, sets)
}

func (k *Kernel) deleteAll(chains, sets map[string]bool) error {
	if len(chains)+len(sets) == 0 {
		return nil
	}
	counters, err := k.Tallies()
	if err != nil {
		return err
	}
	names := make([]string, 0, len(chains))
	for name := range chains {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(cmp.Compare(order(a), order(b)), cmp.Compare(a, b)) })
	for _, name := range names {
		k.conn.DelChain(k.chain(name))
		k.messages++
		for _, set := range []string{name, name + "_members", name + "_others", name + "_ranges"} {
			if sets[set] {
				delete(sets, set)
				k.conn.DelSet(&nftables.Set{Table: k.table, Name: set})
				k.messages++
			}
		}
		if _, ok := counters[name]; ok {
			k.conn.DeleteObject(&nftables.NamedObj{Table: k.table, Name: name, Type: nftables.ObjTypeCounter})
			k.messages++
		}
		if err := k.commitLarge("delete chain " + name); err != nil {
			return err
		}
	}
	for _, set := range slices.Sorted(maps.Keys(sets)) { // of a chain that somebody deleted
		k.conn.DelSet(&nftables.Set{Table: k.table, Name: set})
	}
	k.known = nil
	return k.commit("delete the old version")
}

// Uninstall deletes our table: everything passes.
func (k *Kernel) Uninstall() error {
	if _, err := k.conn.ListTableOfFamily(nft.TableName, nftables.TableFamilyINet); err != nil {
		return nil //nolint:nilerr // there is none
	}
	k.conn.DelTable(k.table)
	return k.commit("delete table " + nft.TableName)
}
