package apply_test

import (
	"errors"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"ringfence.dev/ringfence/rules"
)

// How much comes each second, if the machine can.
const (
	udpRate = 30_000
	tcpRate = 600
)

// Traffic is many new flows to a host, counted before and behind our table.
type traffic struct {
	st      *stand
	table   *nftables.Table
	server  int
	done    chan struct{}
	senders sync.WaitGroup
	answers sync.WaitGroup
	began   time.Time
	// connected and refused are connections.
	connected, refused atomic.Uint64
	why                sync.Once
}

func newTraffic(t *testing.T) *traffic {
	t.Helper()
	st := newOpenStand(t)
	conn, err := nftables.New(nftables.AsLasting())
	st.check(err)
	t.Cleanup(func() { _ = conn.CloseLasting() })
	st.witness = &witness{t: t, conn: conn}
	st.address(st.host, uplink, loadHost.String()+"/24")
	st.address(st.wire, "wire", tcpClient.String()+"/24")
	tr := &traffic{st: st, table: &nftables.Table{Name: "traffic", Family: nftables.TableFamilyINet}, done: make(chan struct{})}
	tr.counters()
	tr.server = st.socket()
	st.check(unix.Bind(tr.server, &unix.SockaddrInet4{Port: tcpPort}))
	st.check(unix.Listen(tr.server, 128))
	return tr
}

// counters counts each kind of packet right before our table and right behind
// it. Datagrams end there, so that every one is a new flow.
func (tr *traffic) counters() {
	conn, policy := tr.st.witness.conn, nftables.ChainPolicyAccept
	conn.AddTable(tr.table)
	for name, priority := range map[string]nftables.ChainPriority{"arrived": -161, "passed": -159} {
		c := conn.AddChain(&nftables.Chain{Table: tr.table, Name: name, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookPrerouting, Priority: &priority, Policy: &policy})
		for kind, list := range map[string][]netip.Addr{"member": goodMembers, "range": goodRangers, "bad": badMembers, "tcp": {tcpClient}} {
			conn.AddObj(&nftables.NamedObj{Table: tr.table, Name: name + "-" + kind, Type: nftables.ObjTypeCounter, Obj: &expr.Counter{}})
			for _, from := range list {
				conn.AddRule(&nftables.Rule{Table: tr.table, Chain: c, Exprs: counted(from, name+"-"+kind, name == "passed" && kind != "tcp")})
			}
		}
	}
	tr.st.witness.flush()
}

// counted counts what comes from around an address, and may end it.
func counted(from netip.Addr, counter string, ends bool) []expr.Any {
	family, offset, network := byte(unix.NFPROTO_IPV4), uint32(12), from.AsSlice()[:3] // a /24
	if from.Is6() {
		family, offset, network = unix.NFPROTO_IPV6, 8, from.AsSlice()[:6] // a /48
	}
	out := []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{family}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: uint32(len(network))},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: network},
		&expr.Objref{Type: int(nftables.ObjTypeCounter), Name: counter},
	}
	if ends {
		out = append(out, &expr.Verdict{Kind: expr.VerdictDrop})
	}
	return out
}

func (tr *traffic) read() map[string]uint64 {
	tr.st.t.Helper()
	list, err := tr.st.witness.conn.GetNamedObjects(tr.table)
	tr.st.check(err)
	out := map[string]uint64{}
	for _, o := range list {
		if named, ok := o.(*nftables.NamedObj); ok {
			out[named.Name] = named.Obj.(*expr.Counter).Packets
		}
	}
	return out
}

// start sends until stop.
func (tr *traffic) start() {
	tr.began = time.Now() //nolint:forbidigo // for the rates, which are printed
	tr.senders.Go(tr.datagrams)
	tr.senders.Go(tr.connect)
	tr.answers.Go(tr.accept)
}

// accept takes connections until the server is shut down.
func (tr *traffic) accept() {
	for {
		c, _, err := unix.Accept(tr.server)
		switch {
		case err == nil:
			_ = unix.Close(c)
		case errors.Is(err, unix.EINVAL):
			return
		}
	}
}

// paced calls f as often as the rate says, and catches up a little if it was late.
func (tr *traffic) paced(rate int, f func()) {
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	sent := 0
	for {
		select {
		case <-tr.done:
			return
		case <-ticker.C:
		}
		due := int(time.Since(tr.began).Seconds()*float64(rate)) - sent //nolint:forbidigo // what paces
		for range min(due, 500) {                                       // what the backlog of the host holds
			f()
			sent++
		}
	}
}

// datagrams sends datagrams, three of four of them good, and a few lone SYNs.
func (tr *traffic) datagrams() {
	s := tr.st.sender
	var frames [][]byte
	for i := range senders {
		for _, kind := range [][]netip.Addr{goodMembers, goodRangers, goodMembers, badMembers} {
			for _, from := range kind {
				frames = append(frames, s.frame(nth(from, i)))
			}
		}
	}
	port := uint16(0)
	i := 0
	tr.paced(udpRate, func() {
		if i = (i + 1) % len(frames); i == 0 {
			port++
			syn := packet{hopLimit: 64, flow: rules.Flow{Protocol: rules.TCP, Remote: badMembers[0], Local: loadHost, Port: tcpPort, SourcePort: port, HasSourcePort: true}}
			if err := s.send(&syn); err != nil {
				tr.st.t.Errorf("cannot send: %v", err)
			}
		}
		setSourcePort(frames[i], port)
		if err := unix.Sendto(s.wire, frames[i], 0, &s.to); err != nil && !errors.Is(err, unix.ENOBUFS) {
			tr.st.t.Errorf("cannot send: %v", err)
		}
	})
}

// connect makes connections that end at once, so that ports do not run out.
func (tr *traffic) connect() {
	runtime.LockOSThread() // for good: the thread ends with the goroutine
	if err := unix.Setns(tr.st.wire, unix.CLONE_NEWNET); err != nil {
		tr.st.t.Errorf("cannot enter the namespace of the wire: %v", err)
		return
	}
	tr.paced(tcpRate, func() {
		if err := connectOnce(); err != nil {
			tr.why.Do(func() { tr.st.t.Logf("the first connection that failed: %v", err) })
			tr.refused.Add(1)
			return
		}
		tr.connected.Add(1)
	})
}

func connectOnce() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	const attempts = 3 // a timeout of the socket would let signals interrupt it
	err = errors.Join(
		unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}),
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_SYNCNT, attempts),
		unix.Connect(fd, &unix.SockaddrInet4{Port: tcpPort, Addr: loadHost.As4()}))
	return errors.Join(err, unix.Close(fd))
}

// stop ends it, and says what became of it once it has arrived; what is missing
// in the end, the caller finds.
func (tr *traffic) stop(arrived func(outcome) bool) outcome {
	tr.st.t.Helper()
	close(tr.done)
	span := time.Since(tr.began) //nolint:forbidigo // for the rates
	tr.senders.Wait()
	_ = unix.Shutdown(tr.server, unix.SHUT_RDWR)
	tr.answers.Wait()
	var o outcome
	tr.st.wait(func() bool {
		n := tr.read()
		good := n["arrived-member"] + n["arrived-range"]
		passed := n["passed-member"] + n["passed-range"] + n["passed-tcp"]
		o = outcome{
			span: span, good: good, bad: n["arrived-bad"], tcp: n["arrived-tcp"],
			wrongDrops: good + n["arrived-tcp"] - passed, wrongAccepts: n["passed-bad"],
			connections: tr.connected.Load(), refused: tr.refused.Load(),
		}
		return arrived(o)
	})
	return o
}
