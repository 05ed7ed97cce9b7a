package discover

// terway reads the mode of Terway's daemon; false if it does not run. In all modes
// pods have addresses that the VPC routes.
func (d *derivation) terway() bool {
	agents := d.running("terwayd")
	if len(agents) == 0 {
		return false
	}
	f := &agents[0]
	because := []Evidence{f.pod.at("%s%s", f.pod.root, f.container.field)}
	if m := d.configOf(f.pod, "eni_conf"); m != nil {
		because = append(because, m.at("/data/eni_conf"))
	}
	d.configured = network{wire: RoutedPod}
	d.routes(because...)
	// With interfaces of their own, packets of pods do not pass their node. In
	// the older VPC mode it is not known here who masquerades.
	if mode, _ := f.container.flag("daemon-mode"); mode != "VPC" {
		d.configured.sends(asPod)
	}
	return true
}
