// Package netns makes a small network on this machine: machines, each a network
// namespace, on switches, each a bridge, with pods behind them. Real programs
// run on the machines, and real packets go between them.
//
// Namespaces and links have no names outside of it, and the programs die with
// the process that started them: a lab that is killed leaves nothing behind, and
// nothing that was there before is touched.
//
// It is for tests and for the demo. It needs root, or [Elevate].
package netns
