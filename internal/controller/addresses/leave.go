package addresses

import (
	"maps"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"ringfence.dev/ringfence/api/v1alpha1"
)

const (
	// leaveAfter is how long a host stays a member that goes while its agent is
	// alive: long enough for whoever deleted it by mistake to notice.
	leaveAfter = 60 * time.Second
	// window is the time within which leaving hosts count together.
	window = 10 * time.Minute
	// tolerated is the tenth, in hosts a host, that may leave within the window
	// without a question.
	tolerated = 10
	// fewest is how many hosts are never held.
	fewest = 2
)

// A roster is what is known of the members of one group.
type roster struct {
	// members are the addresses in the slices, each once.
	members []v1alpha1.MemberAddress
	// wanted are the addresses that hosts have which wear the group, by address.
	wanted map[string]string
	// unsure are hosts of which it is not known what they wear: they stay what
	// they are.
	unsure map[string]bool
	// fresh are the leaving hosts whose agents are alive.
	fresh map[string]bool
	// there are the hosts that have an object. The agent of one that has none
	// may no longer renew its Lease, so that its end says nothing.
	there map[string]bool
	// held are the hosts that were held until now.
	held map[string]bool
	// left are the hosts that left within the window with living agents, and when.
	left map[string]time.Time
	// release is the time of the annotation; zero for none.
	release time.Time
	now     time.Time
}

// An outcome is what becomes of a roster.
type outcome struct {
	// members are all that the slices ought to hold, by address.
	members map[string]v1alpha1.MemberAddress
	// held are the hosts that stay although they are gone, by name.
	held []v1alpha1.HeldRemoval
	// left is the roster's, brought up to date.
	left map[string]time.Time
	// next is when to look again; zero if nothing is due.
	next time.Time
}

// gone are the hosts with addresses in the slices that they no longer have.
func (r *roster) gone() []string {
	names := map[string]bool{}
	for _, m := range r.members {
		if r.leaves(m) {
			names[m.HostName] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

func (r *roster) leaves(m v1alpha1.MemberAddress) bool {
	_, wanted := r.wanted[m.Address]
	return !wanted && !r.unsure[m.HostName]
}

// A leaver is a host that goes while its agent is alive.
type leaver struct {
	since time.Time // the earliest of its addresses
	// due is true once it has stayed long enough; released if a person let it go.
	due, released bool
}

// decide says who is a member. Joins apply at once.
func (r *roster) decide() outcome {
	out := outcome{members: make(map[string]v1alpha1.MemberAddress, len(r.wanted)), left: map[string]time.Time{}}
	for address, host := range r.wanted {
		out.members[address] = v1alpha1.MemberAddress{Address: address, HostName: host}
	}
	leavers := r.leavers()
	for host, at := range r.left {
		if _, again := leavers[host]; !again && r.now.Sub(at) < window {
			out.left[host] = at
		}
	}
	many := r.tooMany(leavers, out.left)
	stays := map[string]bool{}
	for _, host := range slices.Sorted(maps.Keys(leavers)) {
		l := leavers[host]
		switch {
		case !l.due:
			stays[host] = true
			out.look(l.since.Add(leaveAfter))
		case l.released:
		case many || r.held[host]:
			stays[host] = true
			out.held = append(out.held, v1alpha1.HeldRemoval{HostName: host, Since: metav1.NewTime(l.since)})
			out.look(r.now.Add(leaveAfter)) // its Lease may end
		default:
			out.left[host] = r.now
		}
	}
	if len(out.held) > 0 && r.release.After(r.now) {
		out.look(r.release)
	}
	for _, m := range r.members {
		if r.unsure[m.HostName] || r.leaves(m) && stays[m.HostName] {
			r.stay(&out, m)
		}
	}
	return out
}

// stay keeps an address that nobody else has by now.
func (r *roster) stay(out *outcome, m v1alpha1.MemberAddress) {
	if _, taken := out.members[m.Address]; taken {
		return
	}
	if r.leaves(m) && m.LeavingSince == nil {
		m.LeavingSince = r.since(m)
	}
	out.members[m.Address] = m
}

// leavers finds the hosts that go while their agents are alive.
func (r *roster) leavers() map[string]leaver {
	all := map[string]leaver{}
	for _, m := range r.members {
		if !r.leaves(m) || !r.alive(m) {
			continue
		}
		since := r.since(m).Time
		l, ok := all[m.HostName]
		if !ok || since.Before(l.since) {
			l.since = since
		}
		dueAt := l.since.Add(leaveAfter)
		l.due = !r.now.Before(dueAt)
		l.released = !r.release.IsZero() && !r.release.After(r.now) && !r.release.Before(dueAt)
		all[m.HostName] = l
	}
	return all
}

// alive reports whether the agent of the host that an address belonged to is
// alive; of a host whose object is gone, whether it was when that went.
func (r *roster) alive(m v1alpha1.MemberAddress) bool {
	return r.fresh[m.HostName] || !r.there[m.HostName] && m.LeavingSince != nil
}

// since is when an address was first seen to leave. The API keeps whole
// seconds, so that a time is rounded up: nobody leaves early.
func (r *roster) since(m v1alpha1.MemberAddress) *metav1.Time {
	if m.LeavingSince != nil {
		return m.LeavingSince
	}
	at := metav1.NewTime(r.now.Add(time.Second - time.Nanosecond).Truncate(time.Second))
	return &at
}

// tooMany reports whether those who go, with those who went just before, are
// more than a tenth of the group.
func (r *roster) tooMany(leavers map[string]leaver, left map[string]time.Time) bool {
	hosts := map[string]bool{}
	for _, m := range r.members {
		hosts[m.HostName] = true
	}
	going := 0
	for _, l := range leavers {
		if !l.released {
			going++
		}
	}
	for host := range left {
		going++
		hosts[host] = true
	}
	return going >= fewest && going*tolerated > len(hosts)
}

// look asks for another look at a time, or earlier.
func (o *outcome) look(at time.Time) {
	if o.next.IsZero() || at.Before(o.next) {
		o.next = at
	}
}
