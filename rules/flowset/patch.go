package flowset

import "slices"

// A Patch says that the flows of some peers are decided by another diagram.
type Patch struct {
	Space Space
	Peers AddrRange
	From  Diagram
}

// Patch returns d with the flows of each patch's peers decided by its diagram
// instead. Patches must not overlap. Tens of thousands of single addresses cost
// about n log n, since each is one look-up in its diagram and one edge.
func (d Diagram) Patch(patches []Patch) Diagram {
	var bySpace [spaces][]Patch
	for _, p := range patches {
		bySpace[p.Space] = append(bySpace[p.Space], p)
	}
	for s := range d.roots {
		if len(bySpace[s]) > 0 {
			p := patcher{arena: d.arena, space: Space(s), known: map[ref][]run{}}
			d.roots[s] = p.apply(d.roots[s], bySpace[s])
		}
	}
	return d
}

type patcher struct {
	arena *Arena
	space Space
	known map[ref][]run // the runs of the diagrams that patches come from
	out   []run
}

func (p *patcher) apply(root ref, patches []Patch) ref {
	slices.SortFunc(patches, func(x, y Patch) int { return x.Peers.First.Compare(y.Peers.First) })
	at := Addr{} // everything before is done
	done := false
	for _, patch := range patches {
		if at.less(patch.Peers.First) {
			p.copyRuns(root, AddrRange{at, patch.Peers.First.Prev()})
		}
		p.copyRuns(patch.From.roots[p.space], patch.Peers)
		at = patch.Peers.Last.Next()
		done = patch.Peers.Last == p.space.allPeers().Last
	}
	if !done {
		p.copyRuns(root, AddrRange{at, p.space.allPeers().Last})
	}
	return p.arena.fromRuns(levelOf(0, p.space), digitsOf(0, p.space), p.out)
}

// copyRuns appends the runs of a root within a range.
func (p *patcher) copyRuns(root ref, within AddrRange) {
	runs, ok := p.known[root]
	if !ok {
		runs = p.arena.fieldRuns(root, 0, p.space)
		p.known[root] = runs
	}
	i, exact := slices.BinarySearchFunc(runs, within.First, func(r run, a Addr) int { return r.start.Compare(a) })
	if !exact {
		i--
	}
	for start := within.First; ; {
		if n := len(p.out); n == 0 || p.out[n-1].kid != runs[i].kid {
			p.out = append(p.out, run{start, runs[i].kid})
		}
		i++
		if i == len(runs) || within.Last.less(runs[i].start) {
			return
		}
		start = runs[i].start
	}
}
