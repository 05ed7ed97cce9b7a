// Package fleet has tests of many hosts at once: a real control plane with all
// its controllers, real agents that have joined it, each on a machine of its own
// (test/netns), and real packets between them.
package fleet
