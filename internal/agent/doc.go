// Package agent is the loop of one host: it reads what the host is to enforce,
// brings it into the kernel through internal/nft/apply, proves that the host
// still reaches what it needs, or goes back.
//
// What cannot be read, or makes no sense, changes nothing: the host keeps what
// it enforces. What it enforces is on disk, enough of it to enforce it again
// before the network is up and without any manifests.
package agent
