package flowset_test

import (
	"net/netip"
	"testing"

	"ringfence.dev/ringfence/rules/flowset"
)

// TestBranch follows a diagram field by field.
func TestBranch(t *testing.T) {
	a := flowset.NewArena(0)
	box := flowset.All(flowset.IPv4)
	box.Peer = flowset.RangeOf(netip.MustParsePrefix("10.0.0.0/8"))
	box.Protocol = flowset.Range{First: 6, Last: 6}
	box.Port = flowset.Range{First: 80, Last: 89}
	box.Member = flowset.RangeOf(netip.MustParsePrefix("10.1.0.0/16"))
	box.SourcePort = flowset.Range{First: 1024, Last: flowset.MaxPort}
	d, err := a.Build([]flowset.Weighted{{Box: box, Leaf: 7}})
	if err != nil {
		t.Fatal(err)
	}
	b := d.Branch(flowset.IPv4)
	for _, step := range []struct {
		field       flowset.Field
		first, last uint64 // of the run that leads to the leaf
		runs        int
	}{
		{flowset.Peer, 10 << 24, 11<<24 - 1, 3},
		{flowset.Protocol, 6, 6, 3},
		{flowset.Port, 80, 89, 3},
		{flowset.Member, 10<<24 + 1<<16, 10<<24 + 2<<16 - 1, 3},
		{flowset.SourcePort, 1024, flowset.MaxPort, 3},
	} {
		if _, ok := b.Leaf(); ok {
			t.Fatalf("field %d: a leaf already", step.field)
		}
		if f, ok := b.Field(); !ok || f != step.field {
			t.Errorf("Field() = %d, %t; want %d", f, ok, step.field)
		}
		var runs int
		var next flowset.Branch
		for r, kid := range b.Runs(step.field, flowset.IPv4) {
			runs++
			if r.First.Lo == step.first && r.Last.Lo == step.last {
				next = kid
				continue
			}
			if leaf, ok := kid.Leaf(); !ok || leaf != 0 {
				t.Errorf("field %d: run %v leads to leaf %d (%t), want 0", step.field, r, leaf, ok)
			}
			if _, ok := kid.Field(); ok {
				t.Errorf("field %d: a leaf asks for a field", step.field)
			}
		}
		if runs != step.runs || next == (flowset.Branch{}) {
			t.Fatalf("field %d: %d runs, %v; want %d, one of them %d-%d", step.field, runs, next, step.runs, step.first, step.last)
		}
		b = next
	}
	if leaf, ok := b.Leaf(); !ok || leaf != 7 {
		t.Errorf("Leaf() = %d, %t; want 7", leaf, ok)
	}
	for range d.Branch(flowset.IPv4).Runs(flowset.Peer, flowset.IPv4) {
		break // must not panic
	}
	six := d.Branch(flowset.IPv6)
	if leaf, ok := six.Leaf(); !ok || leaf != 0 || six.Compare(six) != 0 || six.Compare(b) == 0 {
		t.Errorf("IPv6: leaf %d, %t; want 0, equal to itself alone", leaf, ok)
	}
}
