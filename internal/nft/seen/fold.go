package seen

import (
	"cmp"
	"container/heap"
	"net/netip"
	"slices"
	"strings"
	"time"

	"ringfence.dev/ringfence/internal/nft"
	"ringfence.dev/ringfence/rules"
)

// A Key is what tells one denied flow from another.
type Key struct {
	nft.Denial

	// Remote is who is on the other end.
	Remote   netip.Addr
	Protocol rules.Protocol
	// Port is the destination port; 0 if there is none.
	Port uint16
}

// A Flow is a denied flow.
type Flow struct {
	Key

	// Local is the host's address of the last packet.
	Local netip.Addr
	// Packets is how many were logged of it at least, Missed how many more
	// there may have been before it had a place.
	Packets, Missed uint64
	First, Last     time.Time
}

// A Fold has the most frequent denied flows, of no more than it has places for.
// It is the algorithm Space-Saving (Metwally, Agrawal, El Abbadi 2005): a new
// flow takes the place of the least frequent one, and takes over its count as
// what it may have missed. So every flow with more than a fraction 1/places of
// all packets is here, and Packets never says too much.
//
// It is not safe for concurrent use.
type Fold struct {
	places int
	rows   rows
	at     map[Key]*row
	totals Totals
}

// Totals count what a Fold was given.
type Totals struct {
	// Packets were given in all.
	Packets uint64 `json:"packets"`
	// LeftOut are those of flows that gave up their place, or were forgotten.
	LeftOut uint64 `json:"leftOut"`
	// Replaced is how often a flow gave up its place to another one.
	Replaced uint64 `json:"replaced"`
}

type row struct {
	Flow

	index int
}

func (r *row) count() uint64 { return r.Packets + r.Missed }

// NewFold returns one with some places, at least 1.
func NewFold(places int) *Fold {
	return &Fold{places: max(1, places), at: map[Key]*row{}}
}

// Add counts a packet.
func (f *Fold) Add(k Key, local netip.Addr, now time.Time) {
	f.totals.Packets++
	r, ok := f.at[k]
	switch {
	case ok:
		r.Packets++
	case len(f.rows) < f.places:
		r = &row{Flow: Flow{Key: k, Packets: 1, First: now}}
		f.at[k] = r
		heap.Push(&f.rows, r)
	default:
		r = f.rows[0]
		delete(f.at, r.Key)
		f.totals.Replaced++
		f.totals.LeftOut += r.Packets
		r.Flow = Flow{Key: k, Packets: 1, Missed: r.count(), First: now}
		f.at[k] = r
	}
	r.Local, r.Last = local, now
	heap.Fix(&f.rows, r.index)
}

// Restore adds a flow that an earlier process had, if there is a place for it.
func (f *Fold) Restore(w Flow) {
	if _, ok := f.at[w.Key]; ok || len(f.rows) >= f.places || w.Packets == 0 {
		return
	}
	r := &row{Flow: w}
	f.at[w.Key] = r
	heap.Push(&f.rows, r)
	f.totals.Packets += w.Packets
}

// Forget gives up the flows that were last seen before a time.
func (f *Fold) Forget(before time.Time) {
	f.rows = slices.DeleteFunc(f.rows, func(r *row) bool {
		old := r.Last.Before(before)
		if old {
			delete(f.at, r.Key)
			f.totals.LeftOut += r.Packets
		}
		return old
	})
	for i, r := range f.rows {
		r.index = i
	}
	heap.Init(&f.rows)
}

// Flows returns a copy of the flows, the most frequent first.
func (f *Fold) Flows() []Flow {
	out := make([]Flow, 0, len(f.rows))
	for _, r := range f.rows {
		out = append(out, r.Flow)
	}
	slices.SortFunc(out, func(a, b Flow) int {
		return cmp.Or(cmp.Compare(b.Packets, a.Packets), b.Last.Compare(a.Last), a.Remote.Compare(b.Remote),
			cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port, b.Port), strings.Compare(a.Leaf, b.Leaf))
	})
	return out
}

// Len returns how many flows there are.
func (f *Fold) Len() int { return len(f.rows) }

// Totals returns what was counted.
func (f *Fold) Totals() Totals { return f.totals }

// rows is a heap, the least frequent first; of equals the one seen least lately.
type rows []*row

func (h *rows) Len() int { return len(*h) }

func (h *rows) Less(i, j int) bool {
	a, b := (*h)[i], (*h)[j]
	return cmp.Or(cmp.Compare(a.count(), b.count()), a.Last.Compare(b.Last)) < 0
}

func (h *rows) Swap(i, j int) {
	list := *h
	list[i], list[j] = list[j], list[i]
	list[i].index, list[j].index = i, j
}

// Push implements heap.Interface.
func (h *rows) Push(x any) {
	r := x.(*row) //nolint:forcetypeassert // nothing else is pushed
	r.index = len(*h)
	*h = append(*h, r)
}

// Pop implements heap.Interface.
func (h *rows) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}
