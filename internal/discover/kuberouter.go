package discover

import "ringfence.dev/ringfence/rules"

// fouPort is where kube-router's tunnels over UDP end unless a flag says otherwise.
const fouPort = 5555

// kubeRouter reads the flags of kube-router; false if it does not run, or does
// not route pods.
func (d *derivation) kubeRouter() bool {
	agents := d.running("kube-router", "cloudnativelabs/kube-router")
	if len(agents) == 0 || !agents[0].container.switched("run-router", true) {
		return false
	}
	f := &agents[0]
	at := f.pod.at("%s%s", f.pod.root, f.container.field)
	d.kubeRouterBGP(f, at)
	if !f.container.switched("enable-overlay", true) {
		d.configured = network{wire: RoutedPod}
		d.routes(at)
	} else if !d.kubeRouterOverlay(f, at) {
		return false
	}
	// What it masquerades spares the addresses of nodes.
	d.configured.toHosts = asPod
	d.configured.toOutside = masqueraded(f.container.switched("enable-pod-egress", true))
	return true
}

func (d *derivation) kubeRouterOverlay(f *found, at Evidence) bool {
	o := overlay{name: "IPIP", protocol: rules.IPIP}
	switch encap, _ := f.container.flag("overlay-encap"); encap {
	case "", "ipip":
	case "fou":
		port, ok := d.flagPort(f, "overlay-encap-port", fouPort)
		if !ok {
			return false
		}
		o = overlay{"FoU", rules.UDP, port}
	default:
		d.senselessf(&f.pod.object, at.Field, "--overlay-encap %q: want ipip or fou", encap)
		return false
	}
	switch kind, _ := f.container.flag("overlay-type"); kind {
	case "", "subnet": // only between subnets
		d.wrapped(o, true, at)
	case "full":
		d.wrapped(o, false, at)
	default:
		d.senselessf(&f.pod.object, at.Field, "--overlay-type %q: want subnet or full", kind)
		return false
	}
	return true
}

func (d *derivation) kubeRouterBGP(f *found, at Evidence) {
	port, ok := d.flagPort(f, "bgp-port", bgpPort)
	if !ok {
		return
	}
	n := Need{From: Party{Kind: Nodes}, To: Party{Kind: Nodes}, Protocol: rules.TCP, Ports: one(port), Class: Essential, Wire: Host, Why: noRoutes}
	if f.container.switched("enable-ibgp", true) {
		mesh := n
		d.need(&mesh, at)
	}
	peers, _ := f.container.flag("peer-router-ips")
	portTexts, _ := f.container.flag("peer-router-ports")
	ports := splitList(portTexts)
	for i, text := range splitList(peers) {
		peer := uint16(bgpPort)
		if i < len(ports) {
			var err error
			if peer, err = parsePort(ports[i]); err != nil {
				d.senselessf(&f.pod.object, at.Field, "--peer-router-ports: %v", err)
				continue
			}
		}
		out, in := n, n
		out.To, out.Ports = d.outside(text), one(peer)
		in.From = out.To
		d.need(&out, at)
		d.need(&in, at)
	}
}

// flagPort returns the port that a flag names, or the default.
func (d *derivation) flagPort(f *found, flagName string, byDefault uint16) (uint16, bool) {
	text, ok := f.container.flag(flagName)
	if !ok {
		return byDefault, true
	}
	port, err := parsePort(text)
	if err != nil {
		d.senselessf(&f.pod.object, f.pod.root+f.container.field, "--%s: %v", flagName, err)
	}
	return port, err == nil
}
