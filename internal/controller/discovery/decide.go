package discovery

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/discover"
	"ringfence.dev/ringfence/internal/status"
	"ringfence.dev/ringfence/rules"
)

// What the status of a Cluster has room for.
const (
	maxHooks   = 64
	maxCallers = 32
)

// The reasons of Events.
const (
	reasonOpened    = "NeedOpened"
	reasonClosing   = "NeedGone"
	reasonClosed    = "NeedClosed"
	reasonBack      = "NeedBack"
	reasonNotOpened = "NeedNotOpened"
)

// sensitive are ports that nothing opens because of what somebody wrote into a
// cluster.
func sensitive(ports rules.PortRange) bool {
	return slices.ContainsFunc(rules.TakeoverPorts(), ports.Overlaps)
}

// A state is what is known before a decision.
type state struct {
	// have is what takes part in the rules; nil for nothing yet.
	have *v1alpha1.Discovered
	// report is what was derived last; nil if nothing was read yet.
	report     *discover.Report
	open       v1alpha1.DiscoveryOpen
	closeAfter time.Duration
	now        metav1.Time
}

// An outcome is what shall take part in the rules.
type outcome struct {
	discovered *v1alpha1.Discovered
	news       []news
	// again is how long to wait before time alone changes something; 0 for never.
	again time.Duration
}

// A news is an Event about a Cluster.
type news struct {
	kind, reason, text string
	// about is the port: of Events that differ in the text alone the first is kept.
	about string
}

// decide opens what is needed, and closes what has long been gone. What cannot be
// known closes nothing.
func decide(s *state) *outcome {
	out := &outcome{discovered: s.have.DeepCopy()}
	if s.report == nil {
		return out
	}
	out.discovered = &v1alpha1.Discovered{}
	if s.have == nil {
		s.have = &v1alpha1.Discovered{}
	}
	s.hooks(out)
	s.callers(out)
	return out
}

// hooks decides about the ports of what the API server calls.
func (s *state) hooks(out *outcome) {
	wanted := s.wanted(out)
	hooks := map[int32]v1alpha1.Hook{}
	for _, have := range s.have.Hooks {
		because, needed := wanted[have.Port]
		switch {
		case needed:
			if have.GoneSince != nil {
				out.tellf(corev1.EventTypeNormal, reasonBack, "tcp/%d is needed again and stays open: %s", have.Port, because)
			}
			hooks[have.Port] = v1alpha1.Hook{Port: have.Port, Because: because}
		case !s.sure(&have):
			have.GoneSince = nil
			hooks[have.Port] = have
		default:
			since, stays := s.gone(have.GoneSince, out)
			switch {
			case !stays:
				out.tellf(corev1.EventTypeNormal, reasonClosed, "tcp/%d is closed: nothing has needed it for %s; it was open because of %s", have.Port, s.closeAfter, have.Because)
				continue
			case have.GoneSince == nil:
				out.tellf(corev1.EventTypeNormal, reasonClosing, "tcp/%d is not needed any more and closes in %s, unless it is needed again; it is open because of %s", have.Port, s.closeAfter, have.Because)
			}
			have.GoneSince = since
			hooks[have.Port] = have
		}
	}
	for _, port := range slices.Sorted(maps.Keys(wanted)) {
		if _, ok := hooks[port]; ok {
			continue
		}
		if len(hooks) >= maxHooks {
			out.tellf(corev1.EventTypeWarning, reasonNotOpened, "tcp/%d is not opened, since %d ports are open by themselves already: %s", port, maxHooks, wanted[port])
			continue
		}
		hooks[port] = v1alpha1.Hook{Port: port, Because: wanted[port]}
		out.tellf(corev1.EventTypeNormal, reasonOpened, "tcp/%d is opened for the API server's hosts: %s", port, wanted[port])
	}
	for _, port := range slices.Sorted(maps.Keys(hooks)) {
		out.discovered.Hooks = append(out.discovered.Hooks, hooks[port])
	}
}

// wanted returns the ports that the API server calls and cannot do without, with
// the object because of which. Others are findings, and those that nothing opens
// are told.
func (s *state) wanted(out *outcome) map[int32]string {
	wanted := map[int32]string{}
	if s.open == v1alpha1.DiscoveryOpenNothing {
		return wanted
	}
	for i := range s.report.Needs {
		n := &s.report.Needs[i]
		if !callable(n) || n.Wire != discover.Host && n.Wire != discover.RoutedPod {
			continue
		}
		port := int32(n.Ports.First)
		cause := n.Because.Cause()
		switch {
		case sensitive(n.Ports) && cause.Object.Kind == "Node": // the profile has its row
		case sensitive(n.Ports) || n.Ports.First != n.Ports.Last:
			out.tellf(corev1.EventTypeWarning, reasonNotOpened, "%s is not opened by itself, since it is no port for what the API server calls; open it by a rule if it must be: %s", portText(n), cause)
		default:
			if have, ok := wanted[port]; !ok || cause.String() < have {
				wanted[port] = cause.String()
			}
		}
	}
	return wanted
}

func portText(n *discover.Need) string {
	if n.Ports.First == n.Ports.Last {
		return fmt.Sprintf("tcp/%d", n.Ports.First)
	}
	return fmt.Sprintf("tcp/%d-%d", n.Ports.First, n.Ports.Last)
}

// callable reports whether a need is a call of the API server that the cluster
// breaks without.
func callable(n *discover.Need) bool {
	to := n.To.Kind
	return n.From.Kind == discover.APIServer && n.Class == discover.Essential && n.Protocol == rules.TCP &&
		(to == discover.Hosts || to == discover.Pods || to == discover.Nodes)
}

// sure reports whether a port that no need asks for is needed no more: everything
// was read, and what is unknown has nothing to do with the object because of which
// it is open.
func (s *state) sure(h *v1alpha1.Hook) bool {
	if len(unread(s.report)) > 0 {
		return false
	}
	for i := range s.report.Unknown {
		u := &s.report.Unknown[i]
		for _, e := range u.Because.Evidence {
			if object := e.Object.String(); h.Because == object || strings.HasPrefix(h.Because, object+" ") {
				return false
			}
		}
	}
	return !slices.ContainsFunc(s.report.Needs, func(n discover.Need) bool {
		return callable(&n) && n.Wire == discover.WireUnknown && int32(n.Ports.First) <= h.Port && h.Port <= int32(n.Ports.Last)
	})
}

// gone returns since when something is gone, and whether it stays for now.
func (s *state) gone(since *metav1.Time, out *outcome) (*metav1.Time, bool) {
	if since == nil {
		since = s.now.DeepCopy()
	}
	left := s.closeAfter - s.now.Sub(since.Time)
	if left <= 0 {
		return since, false
	}
	if out.again == 0 || left < out.again {
		out.again = left
	}
	return since, true
}

// callers decides about the addresses of the API server's hosts. They stay if
// none is known now.
func (s *state) callers(out *outcome) {
	now := map[string]bool{}
	for _, l := range s.report.Parties {
		if l.Party.Kind != discover.APIServer {
			continue
		}
		for _, p := range l.Prefixes {
			if a := p.Addr(); p.IsSingleIP() && (a.IsGlobalUnicast() || a.IsLinkLocalUnicast()) {
				now[a.String()] = true
			}
		}
	}
	all := len(unread(s.report)) == 0
	callers := map[string]v1alpha1.Caller{}
	for _, have := range s.have.Callers {
		switch {
		case now[have.Address] || !all || len(now) == 0:
			have.GoneSince = nil
		default:
			since, stays := s.gone(have.GoneSince, out)
			if !stays {
				continue
			}
			have.GoneSince = since
		}
		callers[have.Address] = have
	}
	for _, a := range slices.Sorted(maps.Keys(now)) {
		if _, ok := callers[a]; !ok && len(callers) < maxCallers {
			callers[a] = v1alpha1.Caller{Address: a}
		}
	}
	for _, a := range slices.Sorted(maps.Keys(callers)) {
		out.discovered.Callers = append(out.discovered.Callers, callers[a])
	}
}

// tellf adds news about a port, whose text starts with it.
func (o *outcome) tellf(kind, reason, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	about, _, _ := strings.Cut(text, " ")
	o.news = append(o.news, news{kind, reason, text, about})
}

// maxMessage is how much of a condition's message lists what cannot be read.
const maxMessage = 8192

// unread are the kinds that could not be read, each with the reason.
func unread(report *discover.Report) []string {
	var out []string
	for i := range report.Unknown {
		if u := &report.Unknown[i]; u.Unread {
			out = append(out, u.About+": "+u.Why)
		}
	}
	return out
}

// condition says whether all is read that tells needs.
func condition(c *v1alpha1.Cluster, report *discover.Report, failure error) metav1.Condition {
	const kind = v1alpha1.ConditionDiscovered
	switch {
	case isKubeconfig(failure):
		return status.False(kind, v1alpha1.ReasonNoKubeconfig, status.Lines([]string{failure.Error()}, maxMessage), c.Generation)
	case failure != nil:
		return status.False(kind, v1alpha1.ReasonUnreadable, status.Lines([]string{failure.Error()}, maxMessage), c.Generation)
	case report == nil:
		return status.Unknown(kind, v1alpha1.ReasonUnknown, "it is being read", c.Generation)
	}
	if missing := unread(report); len(missing) > 0 {
		return status.False(kind, v1alpha1.ReasonUnreadable, status.Lines(missing, maxMessage), c.Generation)
	}
	return status.True(kind, v1alpha1.ReasonFollowing, "", c.Generation)
}
