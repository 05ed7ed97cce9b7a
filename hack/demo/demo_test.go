package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"ringfence.dev/ringfence/test/netns"
)

// TestMain lets the tests run without root too, where user namespaces are allowed.
func TestMain(m *testing.M) {
	if code, ran, err := netns.Elevate(); err == nil && ran {
		os.Exit(code)
	}
	os.Exit(m.Run())
}

// TestDemo runs what a newcomer runs, on the programs as they are built for users.
func TestDemo(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	s, err := newSite(t.Context())
	_ = s.close() // only to see whether it can be built
	if errors.Is(err, os.ErrPermission) {
		t.Skip(err)
	}
	bin := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", bin+string(filepath.Separator), "../../cmd/...")
	build.Env = append(build.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var out bytes.Buffer
	d := demo{bin: bin, input: "shop.yaml", out: &out}
	if err := d.run(t.Context()); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	if d.table.bad > 0 || d.table.flows < 60 {
		t.Errorf("%d of %d flows went wrong, want none of at least 60", d.table.bad, d.table.flows)
	}
	for _, row := range []string{
		"AI-L1", "AI-L2", "AI-L3", "AI-L5", "AO-L1", "AO-L2", "AO-L3", "AO-L3W", "AO-L4", "X-VXLAN-I", "X-VXLAN-O",
		"X-ETCD-I", "X-ETCD-O", "X-NODEPORT-I", "X-HEALTH-I", "X-SSH-I", "X-NTP-O",
	} {
		if !strings.Contains(out.String(), row) {
			t.Errorf("no packet for row %s", row)
		}
	}
	for _, want := range []string{"in VXLAN", "masqueraded", "to pod-2", "forged for pod-2", " gre ", " icmpv6 ", "in use by cluster shop", "nothing is missing"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q", want)
		}
	}
	if t.Failed() {
		t.Log(out.String())
	}
	if left, _ := filepath.Glob(d.dir); len(left) > 0 {
		t.Errorf("%s is left behind", d.dir)
	}
}

// TestAgrees holds measurements against a prediction: the table must be able to
// say WRONG.
func TestAgrees(t *testing.T) {
	node1, node2 := &node{place: &place{name: "node-1"}}, &node{place: &place{name: "node-2"}}
	passes := &flow{judged: []judgement{
		{node: node1, direction: "egress", action: "accept", by: "shop/egress/1"},
		{node: node2, direction: "ingress", action: "accept", by: "shop/ingress/1"},
	}}
	dropped := &flow{judged: []judgement{
		{node: node1, direction: "egress", action: "accept", by: "shop/egress/1"},
		{node: node2, direction: "ingress", action: "drop", by: "default"},
	}}
	cut := &flow{judged: []judgement{
		{node: node1, direction: "egress", action: "drop", by: "default"},
		{node: node2, direction: "ingress", action: "accept", by: "shop/ingress/1"},
	}}
	out := risen{node1, count{"egress", "shop/egress/1", "accept"}}
	in := risen{node2, count{"ingress", "shop/ingress/1", "accept"}}
	other := risen{node2, count{"ingress", "shop/ingress/2", "accept"}}
	closed, stopped := risen{node2, count{"ingress", "default", "drop"}}, risen{node1, count{"egress", "default", "drop"}}
	for name, tc := range map[string]struct {
		reason string
		flow   *flow
		m      measurement
		want   bool
	}{
		"Passed":      {"it came, by the rules that were predicted", passes, measurement{received: true, by: []risen{out, in}}, true},
		"OtherRule":   {"another rule let it in", passes, measurement{received: true, by: []risen{out, other}}, false},
		"Lost":        {"it did not come, and nobody dropped it", passes, measurement{by: []risen{out, in}}, false},
		"NotSent":     {"it came, but not past the sender's rules", passes, measurement{received: true, by: []risen{in}}, false},
		"Dropped":     {"it was dropped where that was predicted", dropped, measurement{dropped: true, by: []risen{out, closed}}, true},
		"Leaked":      {"it came although it was dropped as well", dropped, measurement{received: true, dropped: true, by: []risen{out, closed}}, false},
		"Silent":      {"no packet is no proof of a drop", dropped, measurement{}, false},
		"AtTheSender": {"the receiver's host cannot have seen it", cut, measurement{dropped: true, by: []risen{stopped}}, true},
		"TooLate":     {"the sender's host should have dropped it", cut, measurement{dropped: true, by: []risen{out, closed}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := tc.m.agrees(tc.flow); got != tc.want {
				t.Errorf("agrees() = %t, want %t: %s", got, tc.want, tc.reason)
			}
		})
	}
}

// TestTakeFolder takes away what a demo that was killed has left, and nothing of
// one that lives.
func TestTakeFolder(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	first, done, err := takeFolder()
	if err != nil {
		t.Fatal(err)
	}
	dead := filepath.Join(os.TempDir(), folders+"dead")
	if err := os.Mkdir(dead, 0o700); err != nil {
		t.Fatal(err)
	}
	second, alsoDone, err := takeFolder()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(first); err != nil {
		t.Errorf("the folder of a demo that lives: %v", err)
	}
	if _, err := os.Stat(dead); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder of a demo that was killed: %v", err)
	}
	if err := errors.Join(done(), alsoDone()); err != nil {
		t.Error(err)
	}
	for _, dir := range []string{first, second} {
		if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left behind: %v", dir, err)
		}
	}
}

// TestForge looks at a forged frame as its receiver does.
func TestForge(t *testing.T) {
	packet := forge(net.HardwareAddr{2, 0, 0, 0, 0, 9}, netip.MustParseAddr("172.20.250.9"), netip.MustParseAddrPort("172.20.2.2:8080"))([]byte("text"))
	ip := packet[8+14:]
	if got := checksum(ip[:20]); got != 0 {
		t.Errorf("the header with its checksum sums up to %#x, want 0", got)
	}
	if n := int(binary.BigEndian.Uint16(ip[2:])); n != len(ip) {
		t.Errorf("the header says %d bytes, there are %d", n, len(ip))
	}
	if got := string(ip[28:]); got != "text" {
		t.Errorf("the datagram says %q", got)
	}
	if got := checksum([]byte{0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7}); got != ^uint16(0xddf2) {
		t.Errorf("checksum = %#x, want that of the example in RFC 1071", got)
	}
}
