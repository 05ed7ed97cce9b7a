package bench_test

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"ringfence.dev/ringfence/internal/nft"
	"ringfence.dev/ringfence/internal/nft/apply"
	"ringfence.dev/ringfence/test/netns"
)

// A server is a machine with a firewall of some kind, a cable to the client,
// and what was measured of it.
type server struct {
	name    string
	machine *netns.Machine
	addr    netip.Addr
	costs   []time.Duration // of one operation, one a round
	// each is how many operations are measured at a time.
	each int
}

// servers makes them, all with a cable from one client. Every packet is handled,
// from the client's system call to the server's socket, by the thread that
// sends it: its processor time is what a packet costs.
func (r *report) servers(names ...string) (*netns.Machine, []*server, func()) {
	r.Helper()
	machines, done := r.lab(append([]string{"client"}, names...)...)
	client := machines["client"]
	var out []*server
	for i, name := range names {
		s := &server{name: name, machine: machines[name], addr: number("198.18.0.2", i<<8), each: 512}
		r.check(connect(client, s, fmt.Sprint("to", i), number("198.18.0.1", i<<8)))
		out = append(out, s)
	}
	return client, out, done
}

// connect lays a cable.
func connect(client *netns.Machine, s *server, name string, own netip.Addr) error {
	ns := -1
	err := s.machine.Do(func() (err error) {
		ns, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(ns) }()
	err = client.Do(func() error {
		attributes := netlink.NewLinkAttrs()
		attributes.Name = name
		if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attributes, PeerName: "eth0", PeerNamespace: netlink.NsFd(ns)}); err != nil {
			return err
		}
		return assign(name, own)
	})
	if err != nil {
		return err
	}
	return s.machine.Do(func() error { return assign("eth0", s.addr) })
}

func assign(name string, a netip.Addr) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	address, err := netlink.ParseAddr(a.String() + "/24")
	if err != nil {
		return err
	}
	if err := netlink.AddrAdd(link, address); err != nil {
		return err
	}
	return netlink.LinkSetUp(link)
}

// enforce loads a version on a machine, and confirms it.
func (r *report) enforce(m *netns.Machine, v *nft.Version) *apply.Kernel {
	r.Helper()
	k := r.kernel(m)
	r.check(k.Build(v, []string{"eth0"}))
	r.check(k.Confirm(v.Name))
	return k
}

func (r *report) kernel(m *netns.Machine) *apply.Kernel {
	r.Helper()
	var k *apply.Kernel
	r.check(m.Do(func() (err error) {
		k, err = apply.Open()
		return err
	}))
	return k
}

// untracked keeps conntrack away: every packet is judged.
const untracked = `table inet untracked {
	chain in { type filter hook prerouting priority -300; policy accept; notrack; }
	chain out { type filter hook output priority -300; policy accept; notrack; }
}
`

// tracked is conntrack, and nothing that judges.
const tracked = `table inet tracked {
	chain in { type filter hook prerouting priority -160; policy accept; ct state established,related accept; }
	chain out { type filter hook postrouting priority 150; policy accept; ct state established,related accept; }
}
`

// udp measures packets without state: each is looked up.
func udp(r *report) {
	client, list, done := r.servers("nothing", "10", "10000", "50000")
	defer done()
	nothing, few, most, huge := list[0], list[1], list[2], list[3]
	for n, s := range map[int]*server{10: few, 10_000: most, 50_000: huge} {
		r.nft(s.machine, untracked)
		r.check(r.enforce(s.machine, r.many(n)).Close())
	}
	r.alternate(list, func(s *server) operation { return r.datagrams(client, s) })
	r.atLeast("UDP untracked, no firewall / 10,000 members and CIDRs", nothing.per(most), 0.65, "")
	r.notef("UDP untracked, no firewall / 10; no firewall / 50,000", "%.3f; %.3f", nothing.per(few), nothing.per(huge))
	r.atMost("UDP untracked, 50,000 members and CIDRs / 10", huge.per(few), 1.15, "")
}

// walk measures the same against chains that are walked from the first rule to
// the last. The bounds are for rules whose CIDRs all hold the sender, as rules
// about a VPC or everybody do. A rule about others is given up after one
// comparison: that is cheaper to walk, and noted.
func walk(r *report) {
	nft, tables, reason := r.walked(flat{10_000, true})
	nftOthers, tablesOthers, _ := r.walked(flat{10_000, false})
	r.atLeast("UDP untracked, linear nft chain of 10,000 rules / ours", nft, 50, "x")
	r.notef("the same, no rule's CIDR but the last holds the sender", "%.3gx", nftOthers)
	if reason != "" {
		r.notef("UDP untracked, iptables chain of 10,000 rules / ours", "skipped: %s", reason)
		return
	}
	r.atLeast("UDP untracked, iptables chain of 10,000 rules / ours", tables, 5, "x")
	r.notef("the same, no rule's CIDR but the last holds the sender", "%.3gx", tablesOthers)
}

// walked returns what the chains take as a part of what ours does, and why that
// of iptables could not be measured.
func (r *report) walked(f flat) (nft, tables float64, reason string) {
	r.Helper()
	client, list, done := r.servers("ours", "linear", "iptables")
	defer done()
	ours, linear, old := list[0], list[1], list[2]
	r.nft(ours.machine, untracked)
	r.check(r.enforce(ours.machine, r.flat(f)).Close())
	r.nft(linear.machine, f.text())
	linear.each, old.each = 32, 64
	if reason = r.restore(old.machine, f.tables()); reason != "" {
		list = list[:2]
	}
	r.alternate(list, func(s *server) operation { return r.datagrams(client, s) })
	if reason == "" {
		tables = old.per(ours)
	}
	return linear.per(ours), tables, reason
}

// restore loads rules of iptables, by the older program if there is one: its
// kernel part walks them faster. It returns why it could not.
func (r *report) restore(m *netns.Machine, text string) string {
	for _, name := range []string{"iptables-legacy-restore", "iptables-restore"} {
		path, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		cmd := exec.CommandContext(r.Context(), path)
		cmd.Stdin = strings.NewReader(text)
		if err := m.Run(cmd); err != nil {
			return fmt.Sprintf("%s does not load the rules: %v", name, err)
		}
		r.Logf("iptables: by %s", name)
		return ""
	}
	return "there is no iptables on this machine"
}

// tcp measures new connections.
func tcp(r *report) {
	client, list, done := r.servers("nothing", "conntrack", "10000", "50000")
	defer done()
	nothing, conntrack, most, huge := list[0], list[1], list[2], list[3]
	// Each closed connection keeps its port for a minute.
	r.check(client.Do(func() error {
		return os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", []byte("1024 65535"), 0o600)
	}))
	r.nft(conntrack.machine, tracked)
	r.check(r.enforce(most.machine, r.many(10_000)).Close())
	r.check(r.enforce(huge.machine, r.many(50_000)).Close())
	r.alternate(list, func(s *server) operation {
		s.each = 128
		return r.connections(client, s)
	})
	r.atLeast("new TCP connections, 10,000 members, CIDRs and 1,000 rules, of conntrack alone", conntrack.per(most), 0.93, "")
	r.atLeast("the same, of no firewall", nothing.per(most), 0.80, "")
	r.atLeast("new TCP connections, 50,000 members, CIDRs and 1,000 rules, of conntrack alone", conntrack.per(huge), 0.93, "")
	r.atLeast("the same, of no firewall", nothing.per(huge), 0.80, "")
	r.notef("conntrack alone, of no firewall", "%.3f", nothing.per(conntrack))
}

// per is the median over the rounds of what s costs as a part of what o costs.
func (s *server) per(o *server) float64 {
	var out []float64
	for i := range s.costs {
		out = append(out, float64(s.costs[i])/float64(o.costs[i]))
	}
	return median(out)
}

// An operation does n of something, and returns the processor time that the
// calling thread took for them.
type operation func(n int) time.Duration

// slices is how many turns each server gets in a round: what disturbs one
// disturbs the others too.
const slicesARound = 12

// pin keeps the calling thread on one processor, and returns where it was.
func pin() (*unix.CPUSet, error) {
	var was, here unix.CPUSet
	if err := unix.SchedGetaffinity(0, &was); err != nil {
		return nil, err
	}
	for i := range runtime.NumCPU() {
		if was.IsSet(i) {
			here.Zero()
			here.Set(i)
		}
	}
	return &was, unix.SchedSetaffinity(0, &here)
}

// alternate measures all servers in turns, on one processor.
func (r *report) alternate(list []*server, prepare func(*server) operation) {
	r.Helper()
	operations := map[*server]operation{}
	for _, s := range list {
		operations[s] = prepare(s)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	was, err := pin()
	r.check(err)
	defer func() { r.check(unix.SchedSetaffinity(0, was)) }()
	for _, s := range list { // warm up
		operations[s](s.each)
	}
	for range *rounds {
		total := map[*server]time.Duration{}
		for range slicesARound {
			for _, s := range list {
				total[s] += operations[s](s.each)
			}
		}
		for _, s := range list {
			s.costs = append(s.costs, total[s]/time.Duration(slicesARound*s.each))
		}
	}
	for _, s := range list {
		r.Logf("%s: %v ns", s.name, s.costs)
	}
}

// datagrams sends small datagrams; what the server's socket got is taken off it
// now and then, which does not count.
func (r *report) datagrams(client *netns.Machine, s *server) operation {
	r.Helper()
	to := &unix.SockaddrInet4{Addr: s.addr.As4(), Port: port}
	var in, out int
	r.check(s.machine.Do(func() (err error) {
		if in, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		return unix.Bind(in, to)
	}))
	r.check(client.Do(func() (err error) {
		if out, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		return unix.Connect(out, to)
	}))
	r.Cleanup(func() { _, _ = unix.Close(in), unix.Close(out) })
	payload := make([]byte, 18)
	r.arrives(in, out, payload, s.name)
	return func(n int) time.Duration {
		var total time.Duration
		for n > 0 {
			batch := min(n, 32)
			start := clock(unix.CLOCK_THREAD_CPUTIME_ID)
			for range batch {
				if _, err := unix.Write(out, payload); err != nil {
					r.Fatalf("cannot send to %s: %v", s.name, err)
				}
			}
			total += clock(unix.CLOCK_THREAD_CPUTIME_ID) - start
			for range batch {
				if _, _, err := unix.Recvfrom(in, payload, unix.MSG_DONTWAIT); err != nil {
					r.Fatalf("%s: a datagram did not arrive: %v", s.name, err)
				}
			}
			n -= batch
		}
		return total
	}
}

// arrives sends until the neighbours know each other.
func (r *report) arrives(in, out int, payload []byte, name string) {
	r.Helper()
	r.check(unix.SetsockoptTimeval(in, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 1}))
	for range 5 {
		if _, err := unix.Write(out, payload); err != nil {
			r.Fatalf("cannot send to %s: %v", name, err)
		}
		if _, _, err := unix.Recvfrom(in, payload, 0); err == nil {
			for err == nil {
				_, _, err = unix.Recvfrom(in, payload, unix.MSG_DONTWAIT)
			}
			return
		}
	}
	r.Fatalf("%s: no datagram arrives", name)
}

// connections opens connections and closes them at both ends; all of it counts.
func (r *report) connections(client *netns.Machine, s *server) operation {
	r.Helper()
	to := &unix.SockaddrInet4{Addr: s.addr.As4(), Port: port}
	var listener int
	r.check(s.machine.Do(func() (err error) {
		if listener, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		if err := unix.Bind(listener, to); err != nil {
			return err
		}
		return unix.Listen(listener, 128)
	}))
	r.Cleanup(func() { _ = unix.Close(listener) })
	return func(n int) time.Duration {
		var total time.Duration
		r.check(client.Do(func() error {
			if _, err := pin(); err != nil { // a thread for this alone
				return err
			}
			start := clock(unix.CLOCK_THREAD_CPUTIME_ID)
			for range n {
				if err := once(listener, to); err != nil {
					return fmt.Errorf("cannot connect to %s: %w", s.name, err)
				}
			}
			total = clock(unix.CLOCK_THREAD_CPUTIME_ID) - start
			return nil
		}))
		return total
	}
}

func once(listener int, to unix.Sockaddr) error {
	out, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if err := unix.Connect(out, to); err != nil {
		return err
	}
	in, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC)
	if err != nil {
		return err
	}
	if err := unix.Close(out); err != nil {
		return err
	}
	return unix.Close(in)
}
