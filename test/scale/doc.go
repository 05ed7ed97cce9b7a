// Package scale holds no code, only measurements of a server with ten thousand
// hosts. `make bench-scale` takes them; no test waits for one.
package scale
