package agent

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// scrape reads the metrics of a node as a map from series to value; nil if
// nobody answers.
func (a *node) scrape(address string) map[string]float64 {
	a.t.Helper()
	var body []byte
	err := in(a.ns, func() error {
		c, err := (&net.Dialer{}).DialContext(a.t.Context(), "tcp", address)
		if err != nil {
			return err
		}
		defer func() { _ = c.Close() }()
		once := &http.Client{Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext:       func(context.Context, string, string) (net.Conn, error) { return c, nil },
		}}
		request, err := http.NewRequestWithContext(a.t.Context(), http.MethodGet, "http://"+address+"/metrics", nil)
		if err != nil {
			return err
		}
		answer, err := once.Do(request)
		if err != nil {
			return err
		}
		defer func() { _ = answer.Body.Close() }()
		body, err = io.ReadAll(answer.Body)
		if err == nil && answer.StatusCode != http.StatusOK {
			err = fmt.Errorf("%s: %s", answer.Status, body)
		}
		return err
	})
	if err != nil {
		a.t.Logf("%s: cannot scrape: %v", a.name, err)
		return nil
	}
	out := map[string]float64{}
	for _, m := range regexp.MustCompile(`(?m)^(ringfence_\S+|process_resident_memory_bytes) (\S+)$`).FindAllStringSubmatch(string(body), -1) {
		v, err := strconv.ParseFloat(m[2], 64)
		if err != nil {
			a.t.Fatal(err)
		}
		out[m[1]] = v
	}
	return out
}

// TestMetrics sends packets, and scrapes what the running agent says of them.
func TestMetrics(t *testing.T) {
	t.Parallel()
	const address = "127.0.0.1:9187"
	node1, node2, _ := three(t)
	dir := t.TempDir()
	write(t, dir, withDrop(groupsText("other", 80), "81"))
	node1.start(node1.flags(dir, "--confirm=never", "--metrics-listen", address)...)
	if !wait(func() bool { return node1.status().Version != "" }) {
		t.Fatal("nothing is enforced")
	}
	rule := func(what, by, action string) string {
		return fmt.Sprintf(`ringfence_agent_rule_%s_total{action="%s",direction="ingress",rule="%s"}`, what, action, by)
	}
	const sent = 3
	for range sent {
		node2.wantPasses("accepted", node1, 80)
	}
	node2.wantDropped("dropped", node1, 81)
	var got map[string]float64
	if !wait(func() bool {
		got = node1.scrape(address)
		return got["ringfence_agent_denied_flows"] >= 1 && got["ringfence_agent_denied_packets_logged_total"] >= 1
	}) {
		t.Fatalf("want a denied flow: %v", got)
	}
	accepted, _ := node1.decided("db/ingress/1")
	if n := got[rule("packets", "db/ingress/1", "accept")]; n != float64(accepted) || n < sent {
		t.Errorf("%v packets accepted, want %d, and %d were sent", n, accepted, sent)
	}
	for name, want := range map[string]float64{
		"ringfence_agent_applied": 1, "ringfence_agent_trial": 0, "ringfence_agent_open": 0, "ringfence_agent_observe": 0,
		"ringfence_agent_uplinks": 1, "ringfence_agent_drift_repairs_total": 0, "ringfence_agent_denied_messages_lost_total": 0,
		"ringfence_agent_denied_flows_replaced_total": 0, "ringfence_agent_denied_log_reading": 1,
		`ringfence_agent_group_members{group="app"}`:                                              1,
		`ringfence_agent_version_info{version="` + node1.status().Version + `"}`:                  1,
		"ringfence_agent_version_confirmed_timestamp_seconds":                                     float64(node1.status().Since.Unix()),
		`ringfence_agent_rule_packets_total{action="drop",direction="ingress",rule="unreadable"}`: 0,
	} {
		if v, ok := got[name]; !ok || v != want {
			t.Errorf("%s is %v (there: %t), want %v", name, v, ok, want)
		}
	}
	drops := rule("packets", "db/ingress/2", "drop")
	if got[drops] < 1 || got[rule("bytes", "db/ingress/2", "drop")] < 40*got[drops] || got["ringfence_agent_denied_packets_logged_total"] < got[drops] {
		t.Errorf("%v packets dropped, %v of them logged: %v", got[drops], got["ringfence_agent_denied_packets_logged_total"], got)
	}
	before := got["ringfence_agent_drift_repairs_total"]
	node1.flush()
	if !wait(func() bool {
		got = node1.scrape(address)
		return got["ringfence_agent_drift_repairs_total"] > before
	}) {
		t.Errorf("want a repair: %v", got)
	}
	write(t, dir, observed(groupsText("other", 80)))
	if !wait(func() bool {
		got = node1.scrape(address)
		return got["ringfence_agent_observe"] == 1
	}) {
		t.Errorf("want it to observe: %v", got)
	}
	if _, ok := got[rule("packets", "default", "would-drop")]; !ok {
		t.Errorf("the default only observes, and the metrics do not say so: %v", got)
	}
	write(t, dir, "kind: [")
	if !wait(func() bool { return node1.scrape(address)["ringfence_agent_applied"] == 0 }) {
		t.Error("the manifests cannot be read, and the metrics say that all is well")
	}
	if o := node2.run(node2.flags(dir, "--metrics-listen", "nowhere")...); o.code != exitFailed || !strings.Contains(o.err, "cannot serve metrics") {
		t.Errorf("at a wrong address: %+v", o)
	}
}
