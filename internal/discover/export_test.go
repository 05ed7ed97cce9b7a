package discover

// Forget makes the next Derive start from nothing.
func (c *Cluster) Forget() {
	c.derived = nil
	for _, e := range c.entries {
		e.part = nil
	}
}

// Kept counts what is remembered of what was derived, and found by.
func (c *Cluster) Kept() map[string]int {
	d := c.derived
	return map[string]int{
		"entries": len(c.entries), "labels": len(c.byLabel), "programs": len(c.byProgram), "hosts": len(c.hosts), "slices": len(c.slices), "kubelet ports": len(c.kubeletPorts),
		"control plane": c.controlPlane, "DNS": c.dns, "moved": len(c.moved.addresses) + len(c.moved.pods),
		"readers": len(d.readers), "dirty": len(d.dirty), "fresh": len(d.fresh),
		"needs": len(d.needs.by), "unknown": len(d.unknown.by), "places": len(d.places.by), "used": len(d.used), "wrong": len(d.wrong),
	}
}
