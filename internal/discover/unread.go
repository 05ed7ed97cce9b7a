package discover

import (
	"cmp"
	"slices"
)

// allUnread tells of the objects that are not there to be read.
func (d *derivation) allUnread() {
	for r, why := range d.cluster.unread {
		d.dontKnow(&Unknown{About: "which " + r.String() + " there are", Why: why, Tell: "reading them: get, list and watch of " + r.String(), Unread: true})
	}
}

// unreadKind returns why some objects of a kind are not there; empty if all are. Of
// several reasons it is the first one.
func (c *Cluster) unreadKind(kinds ...string) string {
	var whys []string
	for r, why := range c.unread {
		if slices.Contains(kinds, r.Kind) {
			whys = append(whys, r.String()+" are not read: "+why)
		}
	}
	if len(whys) == 0 {
		return ""
	}
	return slices.Min(whys)
}

// orUnread returns why something is not known: that objects of some kinds are
// not read, or otherwise what the objects that are there lack.
func (d *derivation) orUnread(lack string, kinds ...string) string {
	return cmp.Or(d.cluster.unreadKind(kinds...), lack)
}

// podKinds are the kinds that have containers.
func podKinds() []string {
	return []string{"Pod", "DaemonSet", "Deployment", "StatefulSet", "ReplicaSet", "ReplicationController"}
}

// missedTargets tells if a Service may lead to more than what is read.
func (d *derivation) missedTargets(s *service, because Evidence) {
	why := d.cluster.unreadKind("EndpointSlice")
	if len(d.cluster.slices[s.id()]) == 0 {
		why = cmp.Or(why, d.cluster.unreadKind("Endpoints"))
	}
	if len(s.selector) > 0 {
		why = cmp.Or(why, d.cluster.unreadKind(podKinds()...))
	}
	if why != "" {
		d.dontKnow(&Unknown{About: "who else answers for " + s.String(), Why: why, Tell: "reading them"}, because)
	}
}
