package bench_test

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"ringfence.dev/ringfence/internal/nft"
	"ringfence.dev/ringfence/internal/nft/apply"
	"ringfence.dev/ringfence/rules"
)

// large is how many members a host may have to know.
const large = 65_000

// crowd is the members of one group in one map.
func (r *report) crowd() (*nft.Compiler, *nft.Version) {
	r.Helper()
	g := &rules.Group{Name: "g", Ingress: []rules.Rule{accept(rules.TCP, 443, rules.GroupPeer{Name: "db"})}}
	c := r.compiler(g, nil)
	v, err := c.Version(members(large))
	r.check(err)
	return c, v
}

// load measures how a table gets into the kernel, ours and nft's way.
func load(r *report) {
	machines, done := r.lab("ours", "theirs")
	defer done()
	_, v := r.crowd()
	text := v.Text([]string{"eth0"})
	k := r.kernel(machines["ours"])
	defer func() { r.check(k.Close()) }()
	var cpus, walls, counts []float64
	var ours, theirs []time.Duration
	for range *rounds {
		cpu, wall := taken(func() { r.check(k.Load(v, []string{"eth0"})) })
		count, _ := taken(func() { r.check(k.Verify(v)) })
		nftCPU, nftWall := r.nft(machines["theirs"], text)
		r.check(k.Uninstall())
		r.nft(machines["theirs"], "delete table inet "+nft.TableName+"\n")
		cpus, walls = append(cpus, ratio(cpu, nftCPU)), append(walls, ratio(wall, nftWall))
		counts = append(counts, ratio(count, nftCPU))
		ours, theirs = append(ours, cpu), append(theirs, nftCPU)
	}
	r.atMost("load 65,000 members, time, of nft -f", median(walls), 0.7, "")
	r.notef("the same in CPU; ours, nft -f", "%.2f; %v, %v", median(cpus), median(ours).Round(time.Millisecond), median(theirs).Round(time.Millisecond))
	r.notef("count check beside it, CPU, of nft -f", "%.2f", median(counts))
}

func ratio(a, b time.Duration) float64 { return float64(a) / float64(b) }

// move measures changes of members in a full table.
func move(r *report) {
	machines, done := r.lab("ours", "theirs")
	defer done()
	c, v := r.crowd()
	k := r.kernel(machines["ours"])
	defer func() { r.check(k.Close()) }()
	r.check(k.Build(v, []string{"eth0"}))
	r.check(k.Confirm(v.Name))
	r.nft(machines["theirs"], v.Text([]string{"eth0"}))
	const batch = 100
	var add, remove, hundred, more, less, one, theirs []float64
	m := &v.Dispatch[0].Maps[0]
	target := " : goto " + m.Elements[0].Goto
	if m.Set {
		target = ""
	}
	for i := range *rounds * 4 {
		a := number("10.200.0.0", i)
		joining := r.change(c, k, nft.Change{Address: a, After: []string{"db"}}, 1)
		leaving := r.change(c, k, nft.Change{Address: a, Before: []string{"db"}}, 1)
		many := r.change(c, k, nft.Change{Address: number("10.201.0.0", 0), After: []string{"db"}}, batch)
		fewer := r.change(c, k, nft.Change{Address: number("10.201.0.0", 0), Before: []string{"db"}}, batch)
		element := fmt.Sprintf("element inet %s %s { %s", nft.TableName, m.Name, a)
		nftAdd, _ := r.nft(machines["theirs"], "add "+element+target+" }\n")
		nftRemove, _ := r.nft(machines["theirs"], "delete "+element+" }\n")
		add, remove = append(add, milliseconds(joining)), append(remove, milliseconds(leaving))
		hundred, more, less = append(hundred, milliseconds(many)), append(more, ratio(many, joining)), append(less, ratio(fewer, leaving))
		one, theirs = append(one, ratio(joining+leaving, nftAdd+nftRemove)), append(theirs, milliseconds(nftAdd))
	}
	r.atMost("one member joins 65,000, CPU", median(add), 5, " ms")
	r.atMost("one member leaves 65,000, CPU", median(remove), 5, " ms")
	r.atMost("one member joins and leaves, CPU, of nft -f", median(one), 0.5, "")
	r.atMost("100 members join in one transaction, CPU, of one that joins", median(more), 2, "x")
	// One that leaves takes a third of one that joins, so that what each of 100 takes shows more.
	r.notef("100 join, CPU; 100 leave, of one that leaves; nft -f adds one", "%.2f ms; %.1fx; %.1f ms", median(hundred), median(less), median(theirs))
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// change brings n members in, or takes them out, like the first, in one
// transaction.
func (r *report) change(c *nft.Compiler, k *apply.Kernel, first nft.Change, n int) time.Duration {
	r.Helper()
	var list []nft.Change
	at := first
	for range n {
		list = append(list, at)
		at.Address = at.Address.Next()
	}
	cpu, _ := taken(func() {
		moves, err := c.Moves(list)
		r.check(err)
		r.check(k.Move(c.Needs(moves), moves))
	})
	return cpu
}

// manifests is a folder for a host with large many members of its group.
func manifests(addresses func(i int) netip.Addr) map[string]string {
	const base = `apiVersion: ringfence.dev/v1alpha1
kind: VPC
metadata: {name: prod}
spec: {cidrBlock: 10.0.0.0/8}
---
apiVersion: ringfence.dev/v1alpha1
kind: SecurityGroup
metadata: {name: web}
spec:
  vpcName: prod
  type: Basic
  innerAccess: Accept
  ingress:
  - {policy: Accept, priority: 1, protocol: TCP, ports: 443/443, peer: {cidr: 0.0.0.0/0}, description: shop front}
`
	var w strings.Builder
	for i := range large {
		fmt.Fprintf(&w, `apiVersion: ringfence.dev/v1alpha1
kind: Host
metadata: {name: node-%d}
spec:
  addresses: [%s]
  securityGroupNames: [web]
---
`, i, addresses(i))
	}
	return map[string]string{"base.yaml": base, "hosts.yaml": w.String()}
}
