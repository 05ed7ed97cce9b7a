package discover_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"ringfence.dev/ringfence/internal/discover"
	"ringfence.dev/ringfence/rules"
)

// TestObject: what is published says all that the report does, but for places
// and how much evidence there was beyond what is kept.
func TestObject(t *testing.T) {
	r := read(t, controlPlane, backend(`{"Type": "vxlan"}`), hook+guardService+pod("a", false, 9443, "10.244.1.5"), `
apiVersion: v1
kind: Service
metadata: {name: shop, namespace: guard}
spec: {type: NodePort, selector: {app: guard}, ports: [{port: 80, targetPort: web, nodePort: 30080}], externalIPs: [198.51.100.7]}
`)
	got, err := discover.FromObject(r.Object())
	if err != nil {
		t.Fatal(err)
	}
	opts := cmp.Options{
		cmpopts.IgnoreFields(discover.Evidence{}, "Place"), cmpopts.IgnoreFields(discover.Because{}, "More"), cmpopts.IgnoreFields(discover.Unknown{}, "Because"),
		cmpopts.IgnoreFields(discover.Report{}, "Findings", "Changes"), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }), cmpopts.EquateEmpty(),
		cmp.Transformer("joined", func(l []netip.Prefix) []string { return joined(l) }),
	}
	if diff := cmp.Diff(r, got, opts); diff != "" {
		t.Errorf("FromObject(Object()): -want +got:\n%s", diff)
	}
	if n := r.Network; n != (discover.Network{Mode: "Flannel", Encapsulation: "VXLAN", Port: 8472}) {
		t.Errorf("network %+v", n)
	}
}

func joined(list []netip.Prefix) []string {
	var cidrs []rules.CIDR
	for _, p := range list {
		cidrs = append(cidrs, rules.CIDR{Prefix: p})
	}
	var out []string
	for _, c := range rules.JoinCIDRs(cidrs) {
		out = append(out, c.Prefix.String())
	}
	return out
}

// TestObjectIsBounded: the essential needs stand, the rest is counted.
func TestObjectIsBounded(t *testing.T) {
	r := read(t, controlPlane)
	for i := range 3000 {
		p := discover.Party{Kind: discover.Hosts, Name: fmt.Sprint("x", i)}
		r.Needs = append(r.Needs, discover.Need{From: discover.Party{Kind: discover.Anywhere}, To: p, Protocol: rules.TCP, Ports: rules.PortRange{First: 1, Last: 2}, Why: strings.Repeat("w", 2000)})
		l := discover.Located{Party: p}
		for k := range 40 {
			l.Prefixes = append(l.Prefixes, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), byte(2 * k)}), 32))
		}
		r.Parties = append(r.Parties, l)
		r.Unknown = append(r.Unknown, discover.Unknown{About: fmt.Sprint(i)})
	}
	o := r.Object()
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	essential := 0
	for i := range o.Needs {
		if o.Needs[i].Class == "Essential" {
			essential++
		}
	}
	if len(o.Needs) != 500 || int(o.Counts.Essential) != essential || o.Counts.Optional != 3000 || len(o.Unknown) != 100 || len(text) > 600_000 {
		t.Errorf("%d needs, %d of %d essential, %d optional, %d unknown, %d bytes", len(o.Needs), essential, o.Counts.Essential, o.Counts.Optional, len(o.Unknown), len(text))
	}
}

// TestLogs: the words are those of the API server, which a test beside a real one
// holds them against.
func TestLogs(t *testing.T) {
	r := read(t, controlPlane, backend(`{"Type": "host-gw"}`), guardService+pod("a", false, 9443, "10.244.1.5"), `
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: guard}
webhooks:
- {name: strict.guard.io, timeoutSeconds: 3, clientConfig: {service: {namespace: guard, name: guard, port: 8443, path: /v1/admit}}}
`)
	for i := range r.Needs {
		if n := &r.Needs[i]; n.Logs != "" {
			want(t, "logs", []string{n.Logs}, `failed calling webhook "strict.guard.io": failed to call webhook: Post "https://guard.guard.svc:8443/v1/admit?timeout=3s": context deadline exceeded`)
			return
		}
	}
	t.Error("no need says what is logged")
}
