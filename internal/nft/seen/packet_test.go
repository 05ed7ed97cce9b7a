package seen

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/mdlayher/netlink"

	"ringfence.dev/ringfence/internal/nft"
	"ringfence.dev/ringfence/rules"
)

// raw reads hex digits; spaces only help the reader.
func raw(text string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		panic(err)
	}
	return b
}

// The beginnings of headers: IPv4 up to and without the offset of fragments,
// and the addresses behind protocol and checksum; IPv6 with its payload's
// length, then next header and hop limit and the addresses.
const (
	v4Start = "45000028 0001"
	v4Ends  = "0000 0a000001 0a000002"
	v6Start = "60000000 0018"
	v6Ends  = "40 fd000000000000000000000000000001 fd000000000000000000000000000002"
)

func TestReadPacket(t *testing.T) {
	four := [2]string{"10.0.0.1", "10.0.0.2"}
	six := [2]string{"fd00::1", "fd00::2"}
	for name, c := range map[string]struct {
		packet   string
		from     [2]string
		protocol rules.Protocol
		port     uint16
	}{
		"TCP4":              {v4Start + "0000 40 06" + v4Ends + "d431 01bb 00000000", four, rules.TCP, 443},
		"UDP4":              {v4Start + "0000 40 11" + v4Ends + "d431 0035", four, rules.UDP, 53},
		"SCTP4":             {v4Start + "0000 40 84" + v4Ends + "d431 0b59", four, rules.SCTP, 2905},
		"ICMP4":             {v4Start + "0000 40 01" + v4Ends + "08000000", four, rules.ICMP, 0},
		"GRE4":              {v4Start + "0000 40 2f" + v4Ends + "0000 0800", four, rules.GRE, 0},
		"Options4":          {"46000028 0001 0000 40 06" + v4Ends + "01010101 d431 01bb", four, rules.TCP, 443},
		"OptionsCutOff4":    {"4f000028 0001 0000 40 06" + v4Ends + "01010101 d431 01bb", four, rules.TCP, 0},
		"HeaderTooShort4":   {"44000028 0001 0000 40 06" + v4Ends + "d431 01bb", four, rules.TCP, 0},
		"FirstFragment4":    {v4Start + "2000 40 06" + v4Ends + "d431 01bb", four, rules.TCP, 443},
		"LaterFragment4":    {v4Start + "2001 40 06" + v4Ends + "d431 01bb", four, rules.TCP, 0},
		"CutOff4":           {v4Start + "0000 40 06" + v4Ends + "d431 01", four, rules.TCP, 0},
		"TCP6":              {v6Start + "06" + v6Ends + "d431 01bb", six, rules.TCP, 443},
		"ICMP6":             {v6Start + "3a" + v6Ends + "80000000", six, rules.ICMPv6, 0},
		"HopByHop6":         {v6Start + "00" + v6Ends + "06 00 000000000000 d431 01bb", six, rules.TCP, 443},
		"LongOptions6":      {v6Start + "3c" + v6Ends + "11 01 000000000000 0000000000000000 d431 0035", six, rules.UDP, 53},
		"ThreeHeaders6":     {v6Start + "00" + v6Ends + "2b 00 000000000000 3c 00 000000000000 06 00 000000000000 d431 01bb", six, rules.TCP, 443},
		"Authentication6":   {v6Start + "33" + v6Ends + "06 01 0000 00000000 00000000 d431 01bb", six, rules.TCP, 443},
		"FirstFragment6":    {v6Start + "2c" + v6Ends + "11 00 0001 00000000 d431 0035", six, rules.UDP, 53},
		"LaterFragment6":    {v6Start + "2c" + v6Ends + "11 00 0009 00000000 d431 0035", six, rules.UDP, 0},
		"ExtensionCutOff6":  {v6Start + "3c" + v6Ends + "11 02 000000000000 0000", six, 60, 0},
		"ExtensionMissing6": {v6Start + "2b" + v6Ends, six, 43, 0},
		"NoNextHeader6":     {v6Start + "3b" + v6Ends + "d431 01bb", six, 59, 0},
	} {
		want := Packet{netip.MustParseAddr(c.from[0]), netip.MustParseAddr(c.from[1]), c.protocol, c.port}
		if got, ok := ReadPacket(raw(c.packet)); !ok || got != want {
			t.Errorf("%s: %+v, %t; want %+v", name, got, ok, want)
		}
	}
	for name, packet := range map[string]string{
		"Empty": "", "CutOff4": "45000028000100004006000a0000010a0000", "CutOff6": "6000000000180640fd00", "Version5": "55000028" + v4Ends + v4Ends,
	} {
		if got, ok := ReadPacket(raw(packet)); ok {
			t.Errorf("%s: read as %+v", name, got)
		}
	}
}

// FuzzReadPacket looks for panics, and for answers that do not come from the
// packet: a port of a protocol that has none, or addresses of two families.
func FuzzReadPacket(f *testing.F) {
	f.Add(raw(v4Start + "0000 40 06" + v4Ends + "d431 01bb"))
	f.Add(raw(v6Start + "00" + v6Ends + "2b 00 000000000000 2c 00 000000000000 06 00 0001 00000000 d431 01bb"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, ok := ReadPacket(b)
		if !ok {
			return
		}
		if p.Source.Is4() != p.Destination.Is4() || !p.Source.IsValid() || p.Protocol < 0 || p.Protocol > 255 || p.Port != 0 && !p.Protocol.HasPorts() {
			t.Errorf("%x: %+v", b, p)
		}
		if p.Port != 0 && !slices.Contains(pairs(b), p.Port) {
			t.Errorf("%x: port %d is nowhere in it", b, p.Port)
		}
	})
}

func pairs(b []byte) []uint16 {
	var out []uint16
	for i := 0; i+1 < len(b); i += 2 {
		out = append(out, binary.BigEndian.Uint16(b[i:]))
	}
	return out
}

// message makes a message as the kernel does.
func message(tb testing.TB, number uint32, prefix string, packet []byte) []byte {
	tb.Helper()
	data, err := netlink.MarshalAttributes([]netlink.Attribute{
		{Type: packetPrefix, Data: append([]byte(prefix), 0)},
		{Type: packetPayload, Data: packet},
		{Type: packetNumber, Data: binary.BigEndian.AppendUint32(nil, number)},
	})
	if err != nil {
		tb.Fatal(err)
	}
	return append(make([]byte, frame), data...)
}

func TestMessages(t *testing.T) {
	packet := raw(v4Start + "0000 40 06" + v4Ends + "d431 01bb")
	var got []Sighting
	m := meter{}
	for _, data := range [][]byte{
		message(t, 0, "ringfence drop default_in_drop default", packet),
		message(t, 3, "somebody else's", packet),
		message(t, 4, "ringfence would drop rule_0123456789abcdef_out_would web/egress accept", packet),
		message(t, 5, "ringfence drop default_in_drop default", nil),
		{0, 0, 0},
		message(t, 6, "ringfence would drop default_in_drop default", packet), // says two things
		message(t, 8, "ringfence drop unreadable_in_drop unreadable", packet),
	} {
		m.read(data, func(s Sighting) { got = append(got, s) })
	}
	one, two := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	want := []Sighting{
		{Key{nft.Denial{Leaf: "default_in_drop"}, one, rules.TCP, 443}, two, 0},
		{Key{nft.Denial{Leaf: "rule_0123456789abcdef_out_would", Direction: rules.Egress, Observed: true}, two, rules.TCP, 443}, one, 2},
		{Key{nft.Denial{Leaf: "unreadable_in_drop"}, one, rules.TCP, 443}, two, 1},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}

func FuzzReadMessage(f *testing.F) {
	f.Add(message(f, 7, "ringfence drop default_in_drop default", raw(v4Start+"0000 40 06"+v4Ends+"d431 01bb")))
	f.Fuzz(func(t *testing.T, data []byte) {
		if s, _, ok := readMessage(data); ok && (s.Key.Leaf == "" || !s.Key.Remote.IsValid() || !s.Local.IsValid()) {
			t.Errorf("%x: %+v", data, s)
		}
	})
}
