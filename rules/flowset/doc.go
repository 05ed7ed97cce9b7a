// Package flowset is the algebra of flows: which peers, protocols and ports a
// list of rules decides how.
//
// A [Diagram] is a total function from flows ([Point]) to leaves. A set of
// flows is a diagram with the leaves 0 (no) and 1 (yes); a decision list is one
// whose leaves say which rule decides. Diagrams are immutable and canonical: two
// diagrams of one [Arena] are equal, with ==, exactly when they decide every
// flow alike.
//
// An Arena owns the nodes of its diagrams and grows with every operation. To
// give back what intermediate results left behind, drop the arena; [Arena.Import]
// saves a diagram into another one first. An arena must not be used by two
// goroutines while one of them builds; lookups in finished diagrams may run side
// by side.
//
// The package performs no I/O and keeps no state outside arenas.
package flowset
