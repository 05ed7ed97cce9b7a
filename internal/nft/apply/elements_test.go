package apply

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"

	"ringfence.dev/ringfence/internal/nft"
	"ringfence.dev/ringfence/rules/flowset"
)

// element is a range of IPv4 addresses that leads to chain to.
func element(first, last, to string) nft.Element {
	return nft.Element{
		Range: flowset.AddrRange{First: flowset.AddrFrom(netip.MustParseAddr(first)), Last: flowset.AddrFrom(netip.MustParseAddr(last))},
		Goto:  to,
	}
}

func live(address, to string) *liveElement {
	return &liveElement{key: netip.MustParseAddr(address).AsSlice(), chain: []byte(to), end: to == ""}
}

// TestCompare finds out what is missing in a map of the kernel, and what is too
// much.
func TestCompare(t *testing.T) {
	hash := &nft.Map{Key: nft.Source4, Elements: []nft.Element{element("10.0.0.1", "10.0.0.1", "a"), element("10.0.0.2", "10.0.0.2", "b")}}
	ranges := &nft.Map{Key: nft.Source4, Interval: true, Elements: []nft.Element{element("10.0.0.0", "10.0.0.9", "a"), element("10.0.0.10", "10.0.0.19", "b"), element("255.0.0.0", "255.255.255.255", "a")}}
	whole := []*liveElement{live("10.0.0.0", "a"), live("10.0.0.10", ""), live("10.0.0.10", "b"), live("10.0.0.20", ""), live("255.0.0.0", "a")}
	for name, tc := range map[string]struct {
		m       *nft.Map
		live    []*liveElement
		missing []string
		extra   []string
	}{
		"everything is there, in any order":               {hash, []*liveElement{live("10.0.0.2", "b"), live("10.0.0.1", "a")}, nil, nil},
		"one is missing":                                  {hash, []*liveElement{live("10.0.0.2", "b")}, []string{"10.0.0.1"}, nil},
		"one leads elsewhere: out and in":                 {hash, []*liveElement{live("10.0.0.1", "b"), live("10.0.0.2", "b")}, []string{"10.0.0.1"}, []string{"10.0.0.1"}},
		"one is too much":                                 {hash, []*liveElement{live("10.0.0.1", "a"), live("10.0.0.2", "b"), live("10.0.0.3", "b")}, nil, []string{"10.0.0.3"}},
		"the map is empty":                                {hash, nil, []string{"10.0.0.1", "10.0.0.2"}, nil},
		"ranges, of which the last has no end":            {ranges, whole, nil, nil},
		"an end is missing where another range begins":    {ranges, slices.Delete(slices.Clone(whole), 1, 2), []string{"end 10.0.0.10"}, nil},
		"a beginning is missing where another range ends": {ranges, slices.Delete(slices.Clone(whole), 2, 3), []string{"10.0.0.10"}, nil},
		"a range is too much":                             {ranges, append(slices.Clone(whole), live("11.0.0.0", "a"), live("11.0.0.1", "")), nil, []string{"11.0.0.0", "end 11.0.0.1"}},
		"an end of no range, before all":                  {ranges, append(slices.Clone(whole), live("9.0.0.0", "")), nil, []string{"end 9.0.0.0"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := &comparison{m: tc.m}
			c.reset()
			for _, e := range tc.live {
				c.take(e)
			}
			missing, extra := described(c.missing()), described(c.extra)
			if !slices.Equal(missing, tc.missing) || !slices.Equal(extra, tc.extra) {
				t.Errorf("missing %v, extra %v; want %v and %v", missing, extra, tc.missing, tc.extra)
			}
			if want := len(missing)+len(extra) == 0; c.same() != want {
				t.Errorf("same: %t, want %t", c.same(), want)
			}
		})
	}
}

func described(list []nftables.SetElement) []string {
	var out []string
	for _, e := range list {
		a, _ := netip.AddrFromSlice(e.Key)
		text := a.String()
		if e.IntervalEnd {
			text = "end " + text
		}
		out = append(out, text)
	}
	return out
}

// TestNumber: a key reads as the number that it was made of.
func TestNumber(t *testing.T) {
	for _, k := range []nft.Key{nft.Family, nft.L4Protocol, nft.DestinationPort, nft.ICMPType, nft.Source4, nft.Destination6} {
		for _, a := range []flowset.Addr{{}, {Lo: 1}, k.Last().Prev(), k.Last()} {
			if got := number(key(k, a)); got != a {
				t.Errorf("%s: the key of %v reads as %v", k, a, got)
			}
		}
	}
}

// TestWireSize holds what we count for an element against what the library
// makes of it.
func TestWireSize(t *testing.T) {
	const leaf = "rule_0123456789abcdef_out_accept"
	for _, e := range []nftables.SetElement{
		{Key: make([]byte, 16), IntervalEnd: true},
		{Key: make([]byte, 16), VerdictData: &expr.Verdict{Kind: expr.VerdictGoto, Chain: "x"}},
		{Key: make([]byte, 16), VerdictData: &expr.Verdict{Kind: expr.VerdictGoto, Chain: leaf}, Timeout: time.Second},
		{Key: make([]byte, 2), VerdictData: &expr.Verdict{Kind: expr.VerdictGoto, Chain: leaf}},
	} {
		exact := messageSize(t, e, e) - messageSize(t, e)
		if got := wireSize(&e); got < exact || got > exact+32 {
			t.Errorf("%d bytes counted for an element of %d", got, exact)
		}
	}
}

// messageSize is how long the library's message with these elements is.
func messageSize(t *testing.T, list ...nftables.SetElement) int {
	t.Helper()
	size := 0
	conn, err := nftables.New(nftables.WithTestDial(func(sent []netlink.Message) ([]netlink.Message, error) {
		for _, m := range sent {
			size = max(size, len(m.Data))
		}
		return sent, nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	s := &nftables.Set{
		Table: &nftables.Table{Name: nft.TableName, Family: nftables.TableFamilyINet}, Name: "m",
		IsMap: true, HasTimeout: true, KeyType: nftables.TypeIP6Addr, DataType: nftables.TypeVerdict,
	}
	if err := conn.SetAddElements(s, list); err != nil {
		t.Fatal(err)
	}
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	return size
}
