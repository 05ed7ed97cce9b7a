package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/wait"

	"ringfence.dev/ringfence/api/v1alpha1"
)

// unguarded sends what shall be forbidden while no agent runs: all of it must
// arrive, or its absence later would prove nothing.
func (d *demo) unguarded(ctx context.Context, _ *plane) error {
	list := d.site.forbidden()
	for _, f := range list {
		m, err := d.measure(ctx, f)
		if err != nil {
			return fmt.Errorf("%s: %w", f, err)
		}
		if !m.received {
			return fmt.Errorf("%s does not arrive although no agent runs: the network of the demo is wrong", f)
		}
	}
	d.printf("\nNo agent runs yet: %d of %d flows that nothing asks for arrive.\n", len(list), len(list))
	return nil
}

// startAgents joins each node, starts its agent, and waits until all say that
// they enforce what they ought to.
func (d *demo) startAgents(ctx context.Context, s *plane) error {
	d.printf("\n$ ringfence token create --host node-1          # and on the node what it prints:\n$ ringfence-agent join --server https://%s ...; ringfence-agent\n", d.site.control)
	for _, n := range d.site.nodes {
		n.stateDir = filepath.Join(d.dir, n.name)
		if err := d.startAgent(ctx, s, n); err != nil {
			return err
		}
	}
	name, err := d.settled(ctx, s, "")
	if err != nil {
		return err
	}
	d.printf("node-1, node-2 and node-3 say Enforced, with Ruleset %s.\n", name)
	return nil
}

// startAgent joins a node, and starts its agent.
func (d *demo) startAgent(ctx context.Context, s *plane, n *node) error {
	typed, err := d.ringfence(ctx, nil, "token", "create", "--host", n.name, "--server", "https://"+d.site.control.String(), "--kubeconfig", s.kubeconfig)
	if err != nil {
		return err
	}
	program := filepath.Join(d.bin, "ringfence-agent")
	join := exec.CommandContext(ctx, program, append(strings.Fields(string(typed))[1:], "--state-dir", n.stateDir)...) //nolint:gosec // G204: what we have built
	var said bytes.Buffer
	join.Stdout, join.Stderr = &said, &said
	if err := n.machine.Run(join); err != nil {
		return fmt.Errorf("%s cannot join: %w\n%s", n.name, err, &said)
	}
	log, err := os.Create(n.stateDir + ".log")
	if err != nil {
		return err
	}
	defer log.Close()                                         //nolint:errcheck // the process writes, not we
	agent := exec.Command(program, "--state-dir", n.stateDir) //nolint:gosec,noctx // G204: what we have built; the lab ends it
	agent.Stdout, agent.Stderr = log, log
	n.agent, err = n.machine.Start(agent)
	return err
}

// logs returns what the agents have said, as an error.
func (d *demo) logs() error {
	var all []error
	for _, n := range d.site.nodes {
		text, err := os.ReadFile(n.stateDir + ".log")
		all = append(all, fmt.Errorf("%s: %s", n.name, text), err)
	}
	return errors.Join(all...)
}

// settled waits until all hosts run one Ruleset, another one than before, and
// none is being tried. It returns its name.
func (d *demo) settled(ctx context.Context, s *plane, before string) (string, error) {
	var name string
	err := d.rollout(ctx, s, func(r *v1alpha1.Rollout, hosts []v1alpha1.Host) bool {
		name = r.Spec.StableRulesetName
		if name == "" || name == before || r.Spec.CandidateRulesetName != "" {
			return false
		}
		return !slices.ContainsFunc(hosts, func(h v1alpha1.Host) bool {
			return h.Status.RulesetName != name || !isTrue(h.Status.Conditions, v1alpha1.ConditionEnforced)
		})
	})
	return name, err
}

// rollout waits until the Rollout of the cluster's group and the hosts are as wanted.
func (d *demo) rollout(ctx context.Context, s *plane, wanted func(*v1alpha1.Rollout, []v1alpha1.Host) bool) error {
	var rollouts v1alpha1.RolloutList
	var hosts v1alpha1.HostList
	err := wait.PollUntilContextTimeout(ctx, poll, patience, true, func(ctx context.Context) (bool, error) {
		for _, n := range d.site.nodes {
			select {
			case <-n.agent.Ended():
				return false, fmt.Errorf("the agent of %s ended: %w", n.name, n.agent.Wait())
			default:
			}
		}
		if err := errors.Join(s.list(ctx, "rollouts", &rollouts), s.list(ctx, "hosts", &hosts)); err != nil {
			return false, err
		}
		return len(rollouts.Items) == 1 && wanted(&rollouts.Items[0], hosts.Items), nil
	})
	if err == nil {
		return nil
	}
	err = fmt.Errorf("the hosts are not as they should be: %w", err)
	for i := range rollouts.Items {
		err = fmt.Errorf("%w\nrollout: %+v %+v", err, rollouts.Items[i].Spec, rollouts.Items[i].Status)
	}
	for i := range hosts.Items {
		err = fmt.Errorf("%w\nhost %s: %+v", err, hosts.Items[i].Name, hosts.Items[i].Status)
	}
	return errors.Join(err, d.logs())
}

// needs sends a flow for each rule of the group that no flow before it needed.
func (d *demo) needs(ctx context.Context, s *plane) error {
	list, err := s.rules(ctx)
	if err != nil {
		return err
	}
	var all []*flow
	perRule := make([][]*flow, len(list))
	for i := range list {
		perRule[i] = d.site.candidates(&list[i])
		all = append(all, perRule[i]...)
	}
	if err := d.predict(ctx, s, all); err != nil {
		return err
	}
	d.printf("\nEvery row that this cluster's facts make a need, with real packets. PREDICTED is what `ringfence\nexplain` says of sender > receiver; MEASURED what came out, and which rules' counters rose:\n\n")
	d.table.head()
	shown := map[string]bool{}
	for i := range list {
		r := &list[i]
		if shown[r.by] {
			continue
		}
		f := best(perRule[i], r)
		if f == nil {
			return fmt.Errorf("no flow of this network needs rule %s (row %s)", r.by, r.row)
		}
		f.row = r.row
		if err := d.show(ctx, f, "accept"); err != nil {
			return err
		}
		for j := range f.judged {
			shown[f.judged[j].by] = true
		}
	}
	return nil
}

// pods sends what pods send to others than pods: with their node's address.
func (d *demo) pods(ctx context.Context, s *plane) error {
	pod, registry, api := d.site.anywhere("pod-2"), d.site.place("registry"), d.site.place("node-1")
	return d.send(ctx, s, "accept",
		between(pod, registry, ipv4(pod, registry), kind{"tcp", 443}),
		between(pod, api, ipv4(pod, api), kind{"tcp", apiPort}))
}

// best chooses the flow that a rule decides, or else one that it would if no
// other did before it.
func best(list []*flow, r *rule) *flow {
	passes := func(f *flow) bool { return f.predicted() == "accept" }
	for _, f := range list {
		if passes(f) && slices.ContainsFunc(f.judged, func(j judgement) bool { return j.by == r.by }) {
			return f
		}
	}
	if i := slices.IndexFunc(list, passes); i >= 0 {
		return list[i]
	}
	return nil
}

// forbidden sends what nothing asks for, and says how it all went.
func (d *demo) forbidden(ctx context.Context, s *plane) error {
	if err := d.send(ctx, s, "drop", d.site.forbidden()...); err != nil {
		return err
	}
	if err := d.verdict(); err != nil {
		return err
	}
	decided := 0
	for by := range d.table.rows {
		if d.table.decided[by] {
			decided++
		}
	}
	d.printf("\nAll %d flows did what was predicted, by the rules that were predicted: %d of the %d rules decided at\nleast one (the rest lie within another one that comes first).\n", d.table.flows, decided, len(d.table.rows))
	return nil
}

// send predicts and measures flows that must all be accepted, or dropped.
func (d *demo) send(ctx context.Context, s *plane, wish string, flows ...*flow) error {
	if err := d.predict(ctx, s, flows); err != nil {
		return err
	}
	for _, f := range flows {
		if err := d.show(ctx, f, wish); err != nil {
			return err
		}
	}
	return nil
}

// show measures a flow that was predicted.
func (d *demo) show(ctx context.Context, f *flow, wish string) error {
	f.wish = wish
	m, err := d.measure(ctx, f)
	if err != nil {
		return fmt.Errorf("%s: %w", f, err)
	}
	d.table.add(f, m)
	return nil
}

// webhook opens the port of an admission webhook, and closes it again.
func (d *demo) webhook(ctx context.Context, s *plane) error {
	call := func() *flow {
		api, worker := d.site.place("node-1"), d.site.place("node-3")
		return between(api, worker, ipv4(api, worker), kind{"tcp", 8443}) // Gatekeeper's
	}
	for _, change := range []struct{ ports, wish string }{{"[9443,8443]", "accept"}, {"[9443]", "drop"}} {
		d.printf("\n$ kubectl patch clusters.ringfence.dev shop --type merge -p '{\"spec\":{\"webhookPorts\":%s}}'\n", change.ports)
		before, err := d.settled(ctx, s, "")
		if err != nil {
			return err
		}
		if err := s.patch(ctx, "clusters", "shop", `{"spec":{"webhookPorts":`+change.ports+`}}`); err != nil {
			return err
		}
		if _, err := d.settled(ctx, s, before); err != nil {
			return err
		}
		if err := d.learn(ctx, s); err != nil {
			return err
		}
		d.printf("\n")
		d.table.head()
		if err := d.send(ctx, s, change.wish, call()); err != nil {
			return err
		}
	}
	return nil
}

// A mistake is a change that would cut the cluster.
type mistake struct {
	says, rule string
	// flow is what it would cut, why what a host must say of it.
	flow *flow
	why  string
}

func (s *site) mistakes() []mistake {
	node1, node2, node3 := s.place("node-1"), s.place("node-2"), s.place("node-3")
	return []mistake{
		{
			"Somebody drops the kubelet's port. The first host refuses that:",
			`"ingress":[{"policy":"Drop","priority":1,"protocol":"TCP","ports":"10250/10250","peer":{"cidr":"192.168.0.0/16"}}]`,
			between(node1, node2, ipv4(node1, node2), kind{"tcp", 10250}), "refused",
		},
		{
			"Somebody drops DNS. The first host tries that, loses its DNS server, and goes back by itself:",
			`"egress":[{"policy":"Drop","priority":1,"protocol":"UDP","ports":"53/53","peer":{"cidr":"0.0.0.0/0"}}]`,
			between(node2, node3, ipv4(node2, node3), kind{"udp", 53}), "withdrawn",
		},
	}
}

// mistakes makes the mistakes, and looks whether the flows still pass.
func (d *demo) mistakes(ctx context.Context, s *plane) error {
	for _, m := range d.site.mistakes() {
		d.printf("\n%s\n$ kubectl patch sg shop --type merge -p '{\"spec\":{%s}}'\n", m.says, m.rule)
		before, err := d.settled(ctx, s, "")
		if err != nil {
			return err
		}
		if err := d.predict(ctx, s, []*flow{m.flow}); err != nil { // before: hosts must keep what they run
			return err
		}
		if err := s.patch(ctx, "securitygroups", "shop", `{"spec":{`+m.rule+`}}`); err != nil {
			return err
		}
		var host v1alpha1.Host
		err = d.rollout(ctx, s, func(r *v1alpha1.Rollout, hosts []v1alpha1.Host) bool {
			i := slices.IndexFunc(hosts, func(h v1alpha1.Host) bool {
				return r.Status.Failure != nil && h.Name == r.Status.Failure.HostName && strings.Contains(h.Status.RollbackReason, m.why)
			})
			if i >= 0 {
				host = hosts[i]
			}
			return i >= 0 && r.Spec.CandidateRulesetName == ""
		})
		if err != nil {
			return err
		}
		after, err := d.settled(ctx, s, "")
		if err != nil {
			return err
		}
		if after != before {
			return fmt.Errorf("the hosts run Ruleset %s, want %s, which they ran before the mistake", after, before)
		}
		d.printf("Host %s, status.rollbackReason:\n  %s\nEverybody runs what ran before, and what the change would have cut passes:\n\n", host.Name, strings.ReplaceAll(host.Status.RollbackReason, "\n", "\n  "))
		d.table.head()
		if err := d.show(ctx, m.flow, "accept"); err != nil {
			return err
		}
		if err := s.patch(ctx, "securitygroups", "shop", `{"spec":{"ingress":null,"egress":null}}`); err != nil {
			return err
		}
		if _, err := d.settled(ctx, s, ""); err != nil {
			return err
		}
	}
	return d.verdict()
}

// verdict is an error if anything so far was not as predicted.
func (d *demo) verdict() error {
	if d.table.bad > 0 {
		return fmt.Errorf("%d of %d flows did not do what was predicted", d.table.bad, d.table.flows)
	}
	return nil
}
