// Package rules says what security groups mean: which flows a host that wears
// some groups lets through, which rule decides, what a list of needed flows
// still lacks, and what changes between two versions.
//
// [Evaluate] is the plain ordered walk and the reference for everything else.
// [Compile] turns the same rules into canonical diagrams (package flowset),
// from which come [Cover], [Diff] and [Lint].
//
// The package performs no I/O, has no clock and depends on the standard
// library only.
package rules
