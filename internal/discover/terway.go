package discover

// terway reads the mode of Terway's daemon; false if it does not run. In all modes
// pods have addresses that the VPC routes. Its ConfigMap says which subnets those
// are from, by names that only the cloud knows, and may hold its credentials.
func (d *derivation) terway() bool {
	agents := d.agents("terwayd")
	if len(agents) == 0 {
		return false
	}
	f := &agents[0]
	d.configured = network{wire: RoutedPod}
	d.routes(f.pod.at("%s%s", f.pod.root, f.container.field))
	// With interfaces of their own, packets of pods do not pass their node. In
	// the older VPC mode it is not known here who masquerades.
	if mode, _ := f.container.flag("daemon-mode"); mode != "VPC" {
		d.configured.sends(asPod)
	}
	return true
}
