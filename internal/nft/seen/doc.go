// Package seen tells what the rules of a host dropped, or would have: it reads
// the packets that leaves log, and folds them into flows.
//
// What it holds is bounded whatever arrives. The kernel logs no more than
// [nft.LogRate] packets a second, so the flows are a sample; the counters of
// the leaves, which internal/nft/apply reads, have every packet.
package seen
