package bench_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"ringfence.dev/ringfence/internal/nft"
	"ringfence.dev/ringfence/internal/nft/apply"
	"ringfence.dev/ringfence/rules"
	"ringfence.dev/ringfence/test/netns"
)

// A subject is an agent that enforces on a machine, seen from outside.
type subject struct {
	*report
	machine *netns.Machine
	process *netns.Process
	state   string
	kernel  *apply.Kernel
	conn    *nftables.Conn
	socket  *netlink.Conn
	table   *nftables.Table
	// dispatch is the chain that asks for members, in version.
	version, dispatch string
	// whole is how many rules that has.
	whole int
}

// patience is how long anything may take that does take place.
const patience = 2 * time.Minute

// agent measures the agent's memory, and how long it takes to repair.
func agent(r *report) {
	client, list, done := r.servers("host")
	defer done()
	s := &subject{report: r, machine: list[0].machine, state: r.TempDir(), table: &nftables.Table{Name: nft.TableName, Family: nftables.TableFamilyINet}}
	s.start(list[0].addr)
	_ = client
	r.notef("agent reads 65,000 hosts and enforces them", "%.1f s CPU", s.processor().Seconds())
	resident, peak := s.settled()
	r.atMost("agent resident, settled, 65,000 members by manifests", resident, 80, " MB")
	r.notef("agent resident at most", "%.0f MB", peak)
	for _, damage := range []struct {
		what    string
		destroy func()
		whole   func() bool
	}{
		{"an element", s.loseElement, s.hasElement},
		{"a rule", s.loseRule, s.hasRules},
		{"what leads to the rules", s.loseLead, s.leads},
		{"the table", s.loseTable, s.leads},
	} {
		var times []float64
		for range *rounds {
			s.calm()
			start := now()
			damage.destroy()
			r.within(damage.whole)
			times = append(times, (now() - start).Seconds())
		}
		r.atMost(damage.what+" is repaired in", median(times), 1, " s")
	}
	resident, peak = s.settled()
	r.atMost("agent resident after repairs", resident, 80, " MB")
	r.notef("agent resident at most, repairs included", "%.0f MB", peak)
	r.check(errors.Join(s.kernel.Close(), s.conn.CloseLasting(), s.socket.Close()))
}

func (r *report) within(done func() bool) {
	r.Helper()
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	for !done() {
		if ctx.Err() != nil {
			r.Fatal("it takes too long")
		}
		pause(ctx, time.Millisecond)
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

func (s *subject) start(own netip.Addr) {
	s.Helper()
	folder := s.TempDir()
	for name, text := range manifests(func(i int) netip.Addr {
		if i == 0 {
			return own
		}
		return number("10.0.0.0", i)
	}) {
		s.check(os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600))
	}
	log, err := os.Create(filepath.Join(s.state, "log"))
	s.check(err)
	cmd := exec.CommandContext(s.Context(), *program, "--manifests", folder, "--host", "node-0", "--state-dir", s.state, "--confirm", "never")
	cmd.Stdout, cmd.Stderr = log, log
	s.process, err = s.machine.Start(cmd)
	s.check(err)
	s.kernel = s.report.kernel(s.machine)
	s.check(s.machine.Do(func() (err error) {
		if s.socket, err = netlink.Dial(unix.NETLINK_NETFILTER, nil); err == nil {
			s.conn, err = nftables.New(nftables.AsLasting())
		}
		return err
	}))
	s.within(func() bool {
		_, err := os.Stat(filepath.Join(s.state, "enforced.json"))
		return err == nil
	})
	state, err := s.kernel.State()
	s.check(err)
	s.version, s.dispatch = state.Confirmed, nft.DispatchChain(state.Confirmed, rules.Ingress, "4")
	s.whole = s.rules(s.dispatch)
}

// calm waits until the agent has had nothing to do for a while.
func (s *subject) calm() {
	s.Helper()
	last, since := s.processor(), now()
	s.within(func() bool {
		pause(s.Context(), 100*time.Millisecond)
		if used := s.processor(); used-last > 10*time.Millisecond {
			last, since = used, now()
		}
		return now()-since > time.Second
	})
}

// processor is the agent's processor time so far.
func (s *subject) processor() time.Duration {
	s.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.process.PID()))
	s.check(err)
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	ticks := 0
	for _, f := range fields[11:13] {
		n, err := strconv.Atoi(f)
		s.check(err)
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// settled returns the agent's memory when it is calm, and its greatest ever, in MB.
func (s *subject) settled() (resident, peak float64) {
	s.Helper()
	s.calm()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.process.PID()))
	s.check(err)
	value := func(name string) float64 {
		_, rest, _ := strings.Cut(string(text), name+":")
		n, err := strconv.Atoi(strings.Fields(rest)[0])
		s.check(err)
		return float64(n) / 1024
	}
	return value("VmRSS"), value("VmHWM")
}

func (s *subject) members() *nftables.Set {
	return &nftables.Set{Table: s.table, Name: s.dispatch + "_members", KeyType: nftables.TypeIPAddr}
}

func lost() []byte { return number("10.0.0.0", large/2).AsSlice() }

func (s *subject) loseElement() {
	s.Helper()
	s.check(s.conn.SetDeleteElements(s.members(), []nftables.SetElement{{Key: lost()}}))
	s.check(s.conn.Flush())
}

// hasElement asks for the one element: to read all would take too long.
func (s *subject) hasElement() bool {
	s.Helper()
	nested := func(kind uint16, inside []netlink.Attribute) netlink.Attribute {
		data, err := netlink.MarshalAttributes(inside)
		s.check(err)
		return netlink.Attribute{Type: kind | unix.NLA_F_NESTED, Data: data}
	}
	key := nested(unix.NFTA_SET_ELEM_KEY, []netlink.Attribute{{Type: unix.NFTA_DATA_VALUE, Data: lost()}})
	list := nested(unix.NFTA_SET_ELEM_LIST_ELEMENTS, []netlink.Attribute{nested(unix.NFTA_LIST_ELEM, []netlink.Attribute{key})})
	data, err := netlink.MarshalAttributes([]netlink.Attribute{
		{Type: unix.NFTA_SET_ELEM_LIST_TABLE, Data: append([]byte(nft.TableName), 0)},
		{Type: unix.NFTA_SET_ELEM_LIST_SET, Data: append([]byte(s.dispatch+"_members"), 0)},
		list,
	})
	s.check(err)
	_, err = s.socket.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETSETELEM, Flags: netlink.Request},
		Data:   append([]byte{unix.NFPROTO_INET, unix.NFNETLINK_V0, 0, 0}, data...),
	})
	return err == nil
}

func (s *subject) chain(name string) *nftables.Chain {
	return &nftables.Chain{Table: s.table, Name: name}
}

func (s *subject) rules(chain string) int {
	list, err := s.conn.GetRules(s.table, s.chain(chain))
	if err != nil {
		return 0
	}
	return len(list)
}

func (s *subject) loseRule() {
	s.Helper()
	list, err := s.conn.GetRules(s.table, s.chain(s.dispatch))
	s.check(err)
	s.check(s.conn.DelRule(list[0]))
	s.check(s.conn.Flush())
}

func (s *subject) hasRules() bool { return s.rules(s.dispatch) == s.whole }

func (s *subject) loseLead() {
	s.Helper()
	s.conn.FlushChain(s.chain(nft.Policy(rules.Ingress)))
	s.check(s.conn.Flush())
}

func (s *subject) leads() bool { return s.rules(nft.Policy(rules.Ingress)) >= 2 }

func (s *subject) loseTable() {
	s.Helper()
	s.conn.DelTable(s.table)
	s.check(s.conn.Flush())
}
