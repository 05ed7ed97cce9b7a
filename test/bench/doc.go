// Package bench holds no code, only measurements of a host with many members:
// what a packet costs, what a change costs, what the agent takes. `make bench`
// takes them and holds each against its bound; no test waits for one.
//
// All figures that have a bound are ratios of what alternates within one run,
// or processor time, or memory: other work on the machine makes them vary by
// some hundredths, not by factors.
package bench
