package discovery

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/discover"
	"ringfence.dev/ringfence/rules"
)

const (
	webhook = "ValidatingWebhookConfiguration guard /webhooks/0/clientConfig/service"
	minute  = time.Minute
)

func at(m int) metav1.Time { return metav1.NewTime(time.Unix(0, 0).Add(time.Duration(m) * minute)) }

// call is a need of the API server, changed.
func call(port uint16, change ...func(*discover.Need)) discover.Need {
	n := discover.Need{
		From: discover.Party{Kind: discover.APIServer}, To: discover.Party{Kind: discover.Hosts, Name: "Service guard/guard"}, Protocol: rules.TCP,
		Ports: rules.PortRange{First: port, Last: port}, Class: discover.Essential, Wire: discover.Host,
		Because: discover.Because{Evidence: []discover.Evidence{
			{Object: discover.Ref{Kind: "Service", Namespace: "guard", Name: "guard"}, Field: "/spec/ports"},
			{Object: discover.Ref{Kind: "ValidatingWebhookConfiguration", Name: "guard"}, Field: "/webhooks/0/clientConfig/service"},
		}},
	}
	for _, f := range change {
		f(&n)
	}
	return n
}

func seen(needs ...discover.Need) *discover.Report { return &discover.Report{Needs: needs} }

func not(r *discover.Report, u discover.Unknown) *discover.Report {
	r.Unknown = append(r.Unknown, u)
	return r
}

func open(ports ...int) *v1alpha1.Discovered {
	d := &v1alpha1.Discovered{}
	for _, p := range ports {
		d.Hooks = append(d.Hooks, v1alpha1.Hook{Port: int32(p), Because: webhook})
	}
	return d
}

func gone(d *v1alpha1.Discovered, since metav1.Time) *v1alpha1.Discovered {
	for i := range d.Hooks {
		d.Hooks[i].GoneSince = &since
	}
	return d
}

func ports(d *v1alpha1.Discovered) string {
	var out []string
	for _, h := range d.Hooks {
		text := fmt.Sprint(h.Port)
		if h.GoneSince != nil {
			text += fmt.Sprintf(" gone at %d", h.GoneSince.Unix()/60)
		}
		out = append(out, text)
	}
	return strings.Join(out, ", ")
}

func TestHooks(t *testing.T) {
	class := func(c discover.Class) func(*discover.Need) { return func(n *discover.Need) { n.Class = c } }
	for name, tc := range map[string]struct {
		reason string
		state  state
		want   string
		news   []string // reasons
		again  time.Duration
	}{
		"New":  {"a need opens its port at once", state{report: seen(call(8443))}, "8443", []string{reasonOpened}, 0},
		"Same": {"and once", state{have: open(8443), report: seen(call(8443))}, "8443", nil, 0},
		"Moved": {
			"the new port opens while the old one stays", state{have: open(8443), report: seen(call(9443))}, "8443 gone at 100, 9443", []string{reasonClosing, reasonOpened}, 10 * minute,
		},
		"Waiting": {"until it has been gone for long enough", state{have: gone(open(8443), at(94)), report: seen()}, "8443 gone at 94", nil, 4 * minute},
		"Closed":  {"and then closes", state{have: gone(open(8443), at(90)), report: seen()}, "", []string{reasonClosed}, 0},
		"Back":    {"a need that is back starts again", state{have: gone(open(8443), at(91)), report: seen(call(8443))}, "8443", []string{reasonBack}, 0},
		"Nothing": {"nothing was read: nothing changes", state{have: open(8443)}, "8443", nil, 0},
		"Forbidden": {
			"a kind that cannot be read closes nothing, and stops the clock",
			state{have: gone(open(8443), at(1)), report: not(seen(), discover.Unknown{About: "which services there are", Unread: true})},
			"8443", nil, 0,
		},
		"Broken": {
			"nor does the object itself, while it makes no sense",
			state{have: open(8443), report: not(seen(), discover.Unknown{About: "x", Because: discover.Because{Evidence: []discover.Evidence{{Object: discover.Ref{Kind: "ValidatingWebhookConfiguration", Name: "guard"}}}}})},
			"8443", nil, 0,
		},
		"OtherUnknown": {
			"what is unknown of others does not keep a port open",
			state{have: open(8443), report: not(seen(), discover.Unknown{About: "x", Because: discover.Because{Evidence: []discover.Evidence{{Object: discover.Ref{Kind: "ValidatingWebhookConfiguration", Name: "guard2"}}}}})},
			"8443 gone at 100",
			[]string{reasonClosing},
			10 * minute,
		},
		"WireUnknown": {
			"a need of which nobody knows how it is on the wire opens nothing, and closes nothing",
			state{have: open(8443), report: seen(call(8443, func(n *discover.Need) { n.Wire = discover.WireUnknown }), call(9443, func(n *discover.Need) { n.Wire = discover.WireUnknown }))},
			"8443", nil, 0,
		},
		"Overlay":  {"what is in the overlay makes no rule", state{report: seen(call(8443, func(n *discover.Need) { n.Wire = discover.Overlay }))}, "", nil, 0},
		"Routed":   {"a pod's own port does", state{report: seen(call(8443, func(n *discover.Need) { n.Wire, n.To.Kind = discover.RoutedPod, discover.Pods }))}, "8443", []string{reasonOpened}, 0},
		"Expected": {"only what the cluster breaks without opens", state{report: seen(call(8443, class(discover.Expected)), call(9443, class(discover.Optional)))}, "", nil, 0},
		"Tenant": {
			"a Service that somebody exposes opens nothing", state{report: seen(call(30080, func(n *discover.Need) { n.From.Kind = discover.Anywhere }), call(8080, func(n *discover.Need) { n.From.Kind = discover.Nodes }))}, "", nil, 0,
		},
		"UDP":  {"the API server calls by TCP", state{report: seen(call(8443, func(n *discover.Need) { n.Protocol = rules.UDP }))}, "", nil, 0},
		"Etcd": {"an EndpointSlice that says 2379 opens no etcd", state{report: seen(call(22), call(2379), call(2380), call(10250))}, "", []string{reasonNotOpened, reasonNotOpened, reasonNotOpened, reasonNotOpened}, 0},
		"Kubelet": {
			"nor is the kubelet's own port told of: the profile has it",
			state{report: seen(call(10250, func(n *discover.Need) {
				n.To.Kind = discover.Nodes
				n.Because.Evidence = []discover.Evidence{{Object: discover.Ref{Kind: "Node", Name: "a"}}}
			}))},
			"", nil, 0,
		},
		"AllPorts": {"a slice without a port number opens no range", state{report: seen(call(1, func(n *discover.Need) { n.Ports.Last = 65535 }))}, "", []string{reasonNotOpened}, 0},
		"Refused":  {"somebody said that nothing shall open", state{open: v1alpha1.DiscoveryOpenNothing, report: seen(call(8443))}, "", nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := tc.state
			s.closeAfter, s.now = 10*minute, at(100)
			before := s.have.DeepCopy()
			out := decide(&s)
			var reasons []string
			for _, n := range out.news {
				reasons = append(reasons, n.reason)
				if !strings.Contains(n.text, "guard") {
					t.Errorf("%s\nthe news name no object: %s", tc.reason, n.text)
				}
			}
			if got := ports(out.discovered); got != tc.want || !slices.Equal(reasons, tc.news) || out.again != tc.again {
				t.Errorf("%s\nopen %q, news %v, again %v: want %q, %v, %v", tc.reason, got, reasons, out.again, tc.want, tc.news, tc.again)
			}
			if before != nil && ports(before) != ports(tc.state.have) {
				t.Errorf("%s\nwhat was there has been changed", tc.reason)
			}
		})
	}
}

// TestManyHooks: a cluster that asks for more ports than anybody would is told.
func TestManyHooks(t *testing.T) {
	var needs []discover.Need
	for i := range 100 {
		needs = append(needs, call(uint16(20000+i)))
	}
	out := decide(&state{report: seen(needs...), closeAfter: minute, now: at(1)})
	if len(out.discovered.Hooks) != maxHooks || len(out.news) != 100 || out.news[99].reason != reasonNotOpened {
		t.Errorf("%d ports are open, %d news, the last %+v", len(out.discovered.Hooks), len(out.news), out.news[len(out.news)-1])
	}
}

func TestCallers(t *testing.T) {
	report := func(addresses ...string) *discover.Report {
		l := discover.Located{Party: discover.Party{Kind: discover.APIServer}}
		for _, a := range addresses {
			l.Prefixes = append(l.Prefixes, netip.MustParsePrefix(a))
		}
		return &discover.Report{Parties: []discover.Located{l}}
	}
	callers := func(d *v1alpha1.Discovered) string {
		var out []string
		for _, c := range d.Callers {
			text := c.Address
			if c.GoneSince != nil {
				text += fmt.Sprintf(" gone at %d", c.GoneSince.Unix()/60)
			}
			out = append(out, text)
		}
		return strings.Join(out, ", ")
	}
	since := at(90)
	for name, tc := range map[string]struct {
		reason string
		have   []v1alpha1.Caller
		report *discover.Report
		want   string
	}{
		"New":      {"hosts of the API server", nil, report("10.0.0.2/32", "10.0.0.1/32", "2001:db8::1/128"), "10.0.0.1, 10.0.0.2, 2001:db8::1"},
		"NoRange":  {"no range, and nothing that is on every machine", nil, report("10.0.0.0/24", "127.0.0.1/32"), ""},
		"Replaced": {"one that is gone stays for a while", []v1alpha1.Caller{{Address: "10.0.0.1"}}, report("10.0.0.2/32"), "10.0.0.1 gone at 100, 10.0.0.2"},
		"Over":     {"and goes", []v1alpha1.Caller{{Address: "10.0.0.1", GoneSince: &since}}, report("10.0.0.2/32"), "10.0.0.2"},
		"Lost":     {"that nobody is known any more removes nobody", []v1alpha1.Caller{{Address: "10.0.0.1", GoneSince: &since}}, report(), "10.0.0.1"},
		"Unread":   {"nor does what cannot be read", []v1alpha1.Caller{{Address: "10.0.0.1"}}, not(report("10.0.0.2/32"), discover.Unknown{Unread: true}), "10.0.0.1, 10.0.0.2"},
	} {
		t.Run(name, func(t *testing.T) {
			out := decide(&state{have: &v1alpha1.Discovered{Callers: tc.have}, report: tc.report, closeAfter: 10 * minute, now: at(100)})
			if got := callers(out.discovered); got != tc.want {
				t.Errorf("%s\n%q, want %q", tc.reason, got, tc.want)
			}
		})
	}
}

func TestCondition(t *testing.T) {
	c := &v1alpha1.Cluster{}
	for name, tc := range map[string]struct {
		report  *discover.Report
		failure error
		want    string
	}{
		"Reading":    {nil, nil, "Unknown/Unknown"},
		"Following":  {seen(), nil, "True/Following"},
		"Forbidden":  {not(seen(), discover.Unknown{About: "which pods there are", Why: "forbidden", Unread: true}), nil, "False/Unreadable"},
		"Gone":       {seen(), errors.New("nobody answers"), "False/Unreadable"},
		"Kubeconfig": {nil, kubeconfigErrorf("Secret x is not there"), "False/NoKubeconfig"},
	} {
		got := condition(c, tc.report, tc.failure)
		if s := string(got.Status) + "/" + got.Reason; s != tc.want {
			t.Errorf("%s: %s %q, want %s", name, s, got.Message, tc.want)
		}
	}
}

// TestParse: who may write a Secret must not make the controllers run a program
// or read a file.
func TestParse(t *testing.T) {
	const head = "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{name: c, context: {cluster: k, user: u}}]\n"
	for name, tc := range map[string]struct{ text, want string }{
		"Fine":      {"clusters: [{name: k, cluster: {server: 'https://192.0.2.1:6443'}}]\nusers: [{name: u, user: {token: t}}]\n", ""},
		"Exec":      {"clusters: [{name: k, cluster: {server: 'https://192.0.2.1:6443'}}]\nusers: [{name: u, user: {exec: {apiVersion: client.authentication.k8s.io/v1, command: sh, interactiveMode: Never}}}]\n", "runs a program"},
		"Provider":  {"clusters: [{name: k, cluster: {server: 'https://192.0.2.1:6443'}}]\nusers: [{name: u, user: {auth-provider: {name: oidc}}}]\n", "auth-provider"},
		"TokenFile": {"clusters: [{name: k, cluster: {server: 'https://192.0.2.1:6443'}}]\nusers: [{name: u, user: {tokenFile: /etc/shadow}}]\n", "names a file"},
		"Key":       {"clusters: [{name: k, cluster: {server: 'https://192.0.2.1:6443'}}]\nusers: [{name: u, user: {client-certificate: a, client-key: b}}]\n", "names a file"},
		"CA":        {"clusters: [{name: k, cluster: {server: 'https://192.0.2.1:6443', certificate-authority: /etc/ca}}]\nusers: [{name: u, user: {token: t}}]\n", "names a file"},
		"NoServer":  {"clusters: []\nusers: []\n", "cannot be used"},
		"Nonsense":  {"}{", "no kubeconfig"},
	} {
		config, err := parse([]byte(head + tc.text))
		if tc.want == "" {
			if err != nil || config.Host != "https://192.0.2.1:6443" {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), tc.want) || !isKubeconfig(err) {
			t.Errorf("%s: %v: want %q", name, err, tc.want)
		}
	}
}
