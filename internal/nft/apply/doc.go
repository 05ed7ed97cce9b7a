// Package apply brings the objects of package nft into the kernel, by netlink,
// in the network namespace that it is opened in. It writes to the table inet
// ringfence alone. It is for the agent, and decides nothing.
//
// A change is four transactions: [Kernel.Build] makes what is missing, out of
// reach of any packet; [Kernel.Trial] leads packets there for a time that the
// kernel itself ends; [Kernel.Confirm] leads them there for good; and
// [Kernel.Delete] takes away what no version needs. Each is all or nothing but
// Build and Delete of more than some megabytes, which are several transactions;
// what is left of one that was cut short is out of reach and is made whole, or
// deleted, by the next.
package apply
