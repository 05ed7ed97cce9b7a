// Package nft lays security groups out for the kernel: it turns a merged
// ruleset and the members of the groups that it names into the objects of one
// nftables table, as plain values. It is for the agent, through package apply,
// and for whoever wants to read them: every value prints in nft's own syntax.
//
// Every object but the dispatch of a version is named by its content and never
// changed, so versions share what they have in common, counters included, and
// a swap builds and deletes the difference only. The same input gives the same
// objects in the same order.
//
// The package performs no I/O, has no clock and opens no socket.
package nft
