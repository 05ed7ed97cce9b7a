package agent

import (
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ringfence.dev/ringfence/internal/convert"
	"ringfence.dev/ringfence/internal/nft"
	"ringfence.dev/ringfence/internal/statedir"
	"ringfence.dev/ringfence/profiles"
)

func addrs(text string) []netip.Addr {
	var out []netip.Addr
	for s := range strings.FieldsSeq(text) {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

func TestUplinksDecision(t *testing.T) {
	links := []link{
		{name: "lo", loopback: true, addresses: addrs("127.0.0.1 10.9.9.9")},
		{name: "eth0", addresses: addrs("10.0.0.1 fd00::1")},
		{name: "eth1", addresses: addrs("192.168.0.1"), defaultRoute: true},
		{name: "cni0", addresses: addrs("172.20.0.1")},
	}
	for name, c := range map[string]struct {
		own, named, want, wrong string
	}{
		"DefaultRoute":   {own: "10.0.0.99", want: "eth1"},
		"AlsoAnAddress":  {own: "fd00::1", want: "eth0 eth1"},
		"NotOnLoopback":  {own: "10.9.9.9", want: "eth1"},
		"Named":          {own: "10.0.0.1", named: "cni0", want: "cni0 eth0 eth1"},
		"NamedOnceTwice": {named: "eth1 cni0 eth1", want: "cni0 eth1"},
		"NamedAbsent":    {own: "10.0.0.1", named: "eth9", wrong: "uplink eth9: there is no such interface"},
	} {
		got, err := uplinks(links, addrs(c.own), strings.Fields(c.named))
		if c.wrong != "" {
			if err == nil || err.Error() != c.wrong {
				t.Errorf("%s: error %v, want %q", name, err, c.wrong)
			}
			continue
		}
		if err != nil || strings.Join(got, " ") != c.want {
			t.Errorf("%s: %v, %v; want %s", name, got, err, c.want)
		}
	}
	if got, err := uplinks(links[3:], addrs("10.0.0.1"), nil); err == nil {
		t.Errorf("no uplink: %v, want an error", got)
	}
}

func TestChanges(t *testing.T) {
	order := func(lists map[string]string) *Order {
		o := &Order{Members: map[string][]netip.Addr{}}
		for g, text := range lists {
			o.Members[g] = addrs(text)
		}
		return o
	}
	before := order(map[string]string{"a": "10.0.0.1 10.0.0.2 10.0.0.3", "b": "10.0.0.2"})
	after := order(map[string]string{"a": "10.0.0.1 10.0.0.2 10.0.0.4", "b": "10.0.0.2 10.0.0.1"})
	want := []nft.Change{
		{Address: netip.MustParseAddr("10.0.0.1"), Before: []string{"a"}, After: []string{"a", "b"}},
		{Address: netip.MustParseAddr("10.0.0.3"), Before: []string{"a"}},
		{Address: netip.MustParseAddr("10.0.0.4"), After: []string{"a"}},
	}
	same := func(a, b netip.Addr) bool { return a == b }
	if diff := cmp.Diff(want, changes(before, after), cmp.Comparer(same)); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	if got := changes(after, after); got != nil {
		t.Errorf("from an order to itself: %v", got)
	}
}

// TestSavedOrder: what is read back from the disk lays out the same table.
func TestSavedOrder(t *testing.T) {
	tables, err := profiles.Load()
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"Profile": clusterText, "Groups": groupsText("app", 80, 443)} {
		inv, err := convert.Parse([]convert.File{{Name: "all.yaml", Data: []byte(text)}})
		if err != nil {
			t.Fatal(err)
		}
		in, err := decide(inv, tables, "node-1")
		if err != nil {
			t.Fatal(err)
		}
		d := disk{statedir.Dir(t.TempDir())}
		if err := d.write(enforcedFile, &record{Order: in.order}); err != nil {
			t.Fatal(err)
		}
		back, err := d.read(enforcedFile)
		if err != nil {
			t.Fatal(err)
		}
		first, err := lay(&in.order, tables.Exempt())
		if err != nil {
			t.Fatal(err)
		}
		second, err := lay(&back.Order, tables.Exempt())
		if err != nil {
			t.Fatal(err)
		}
		if a, b := first.version.Text(nil), second.version.Text(nil); a != b || !strings.Contains(a, "goto") {
			t.Errorf("%s: the disk gives another table (-first +second):\n%s", name, cmp.Diff(a, b))
		}
	}
}

// TestDamagedState: half a record is an error, not an empty one.
func TestDamagedState(t *testing.T) {
	d := disk{statedir.Dir(t.TempDir())}
	if r, err := d.read(enforcedFile); r != nil || err != nil {
		t.Errorf("from an empty folder: %v, %v", r, err)
	}
	if err := d.write(enforcedFile, &record{Version: "one"}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(d.Path(candidateFile), []byte(`{"version": "tw`), 0o600); err != nil {
		t.Fatal(err)
	}
	if r, err := d.read(candidateFile); r != nil || err == nil || !strings.Contains(err.Error(), "is damaged") {
		t.Errorf("half a record: %v, %v", r, err)
	}
	if r, err := d.read(enforcedFile); err != nil || r.Version != "one" {
		t.Errorf("the whole one: %v, %v", r, err)
	}
	if err := d.Remove(candidateFile, candidateFile); err != nil {
		t.Error(err)
	}
}

func TestNameservers(t *testing.T) {
	file := t.TempDir() + "/resolv.conf"
	text := "# nameserver 10.0.0.9\nnameserver 127.0.0.53\nsearch x\nnameserver 10.0.0.2\nnameserver fd00::2\nnameserver\nsearch y\nnameserver home\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := nameservers(file); !slices.Equal(got, []string{"10.0.0.2", "fd00::2"}) {
		t.Errorf("got %v", got)
	}
	if got := nameservers(file + ".absent"); got != nil {
		t.Errorf("without a file: %v", got)
	}
}
