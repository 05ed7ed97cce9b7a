package seen

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"ringfence.dev/ringfence/internal/nft"
	"ringfence.dev/ringfence/rules"
)

var start = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func from(n uint32) Key {
	return Key{nft.Denial{Leaf: "default_in_drop"}, netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, n))), rules.TCP, 22}
}

// TestFlood folds a flood from a million sources, between which some come
// again and again: these are found, nothing is said too often, all is counted,
// and the memory stays what it was.
func TestFlood(t *testing.T) {
	const places, sources, often = 256, 1_000_000, 20
	f, sent := NewFold(places), map[Key]uint64{}
	dice := rand.New(rand.NewPCG(1, 2))
	add := func(k Key) {
		sent[k]++
		f.Add(k, from(0).Remote, start)
	}
	for i := range uint32(sources) {
		add(from(1<<24 + i))
		if i%3 == 0 {
			add(from(dice.Uint32N(often)))
		}
	}
	flows, totals := f.Flows(), f.Totals()
	if len(flows) != places || len(f.at) != places || cap(f.rows) > 2*places {
		t.Fatalf("%d flows, %d keys, room for %d, want %d", len(flows), len(f.at), cap(f.rows), places)
	}
	found, told := 0, uint64(0)
	for i, w := range flows {
		if w.Packets > sent[w.Key] || w.Packets+w.Missed < sent[w.Key] {
			t.Errorf("%s: %d packets and up to %d more, %d were sent", w.Remote, w.Packets, w.Missed, sent[w.Key])
		}
		if sent[w.Key] > 1 {
			found++
		}
		if i > 0 && w.Packets > flows[i-1].Packets {
			t.Errorf("flow %d is more frequent than the one before", i)
		}
		told += w.Packets
	}
	if found != often {
		t.Errorf("%d of the %d frequent sources are told", found, often)
	}
	if told+totals.LeftOut != totals.Packets || totals.Packets != sources+(sources+2)/3 || totals.Replaced == 0 {
		t.Errorf("%d packets told and %+v: these do not add up", told, totals)
	}
}

// TestSmall has a place for every flow: then nothing is missed.
func TestSmall(t *testing.T) {
	f := NewFold(3)
	for i, n := range []uint32{1, 2, 1, 3, 1, 2} {
		f.Add(from(n), from(uint32(100+i)).Remote, start.Add(time.Duration(i)*time.Second))
	}
	want := []Flow{
		{from(1), from(104).Remote, 3, 0, start, start.Add(4 * time.Second)},
		{from(2), from(105).Remote, 2, 0, start.Add(time.Second), start.Add(5 * time.Second)},
		{from(3), from(103).Remote, 1, 0, start.Add(3 * time.Second), start.Add(3 * time.Second)},
	}
	got := f.Flows()
	for i := range want {
		if len(got) != len(want) || got[i] != want[i] {
			t.Fatalf("got %+v\nwant %+v", got, want)
		}
	}
	again := NewFold(2)
	for _, w := range got {
		again.Restore(w)
	}
	again.Restore(got[0])
	if now := again.Flows(); len(now) != 2 || now[0] != want[0] || again.Totals().Packets != 5 {
		t.Errorf("restored %+v, %+v", now, again.Totals())
	}
}

// TestForget gives up what is old, and has room again.
func TestForget(t *testing.T) {
	f := NewFold(4)
	for n := range uint32(4) {
		f.Add(from(n), from(9).Remote, start.Add(time.Duration(n)*time.Hour))
	}
	f.Add(from(0), from(9).Remote, start.Add(5*time.Hour))
	f.Forget(start.Add(3 * time.Hour))
	f.Add(from(7), from(9).Remote, start.Add(6*time.Hour))
	f.Add(from(3), from(9).Remote, start.Add(6*time.Hour))
	var left []uint64
	for _, w := range f.Flows() {
		left = append(left, w.Packets)
	}
	if want := (Totals{Packets: 7, LeftOut: 2}); f.Totals() != want || !slices.Equal(left, []uint64{2, 2, 1}) {
		t.Errorf("flows with %v packets, %+v; want %+v", left, f.Totals(), want)
	}
}
