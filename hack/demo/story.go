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
	name, err := s.settled(ctx, "")
	if err != nil {
		return errors.Join(err, d.logs())
	}
	d.printf("node-1, node-2 and node-3 enforce Ruleset %s.\n", name)
	return nil
}

// startAgent joins a node, and starts its agent.
func (d *demo) startAgent(ctx context.Context, s *plane, n *node) error {
	token := exec.CommandContext(ctx, filepath.Join(d.bin, "ringfence"), "token", "create", "--host", n.name, "--server", "https://"+d.site.control.String(), "--kubeconfig", s.kubeconfig) //nolint:gosec // G204: what we have built
	var complaint bytes.Buffer
	token.Stderr = &complaint
	typed, err := token.Output()
	if err != nil {
		return fmt.Errorf("ringfence token create: %w\n%s", err, &complaint)
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
func (s *plane) settled(ctx context.Context, before string) (string, error) {
	var name string
	err := s.rollout(ctx, func(r *v1alpha1.Rollout, hosts []v1alpha1.Host) bool {
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
func (s *plane) rollout(ctx context.Context, wanted func(*v1alpha1.Rollout, []v1alpha1.Host) bool) error {
	var rollouts v1alpha1.RolloutList
	var hosts v1alpha1.HostList
	err := wait.PollUntilContextTimeout(ctx, poll, patience, true, func(ctx context.Context) (bool, error) {
		if err := s.list(ctx, "rollouts", &rollouts); err != nil {
			return false, err
		}
		if err := s.list(ctx, "hosts", &hosts); err != nil {
			return false, err
		}
		return len(rollouts.Items) == 1 && wanted(&rollouts.Items[0], hosts.Items), nil
	})
	if err != nil {
		return fmt.Errorf("the hosts do not come to rest: %w\nrollouts: %+v\nhosts: %+v", err, rollouts.Items, hosts.Items)
	}
	return nil
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

// forbidden sends what nothing asks for.
func (d *demo) forbidden(ctx context.Context, s *plane) error {
	if err := d.send(ctx, s, "drop", d.site.forbidden()...); err != nil {
		return err
	}
	return d.verdict()
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
		return between(api, worker, 0, worker.addresses[0], "tcp", 8443) //nolint:mnd // Gatekeeper's
	}
	for _, change := range []struct{ ports, wish string }{{"[9443,8443]", "accept"}, {"[9443]", "drop"}} {
		d.printf("\n$ kubectl patch clusters.ringfence.dev shop --type merge -p '{\"spec\":{\"webhookPorts\":%s}}'\n", change.ports)
		before, err := s.settled(ctx, "")
		if err != nil {
			return err
		}
		if err := s.patch(ctx, "clusters", "shop", `{"spec":{"webhookPorts":`+change.ports+`}}`); err != nil {
			return err
		}
		if _, err := s.settled(ctx, before); err != nil {
			return errors.Join(err, d.logs())
		}
		if err := d.learn(ctx, s); err != nil {
			return err
		}
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
			between(node1, node2, 0, node2.addresses[0], "tcp", 10250), "refused",
		},
		{
			"Somebody drops DNS. The first host tries that, loses its DNS server, and goes back by itself:",
			`"egress":[{"policy":"Drop","priority":1,"protocol":"UDP","ports":"53/53","peer":{"cidr":"0.0.0.0/0"}}]`,
			between(node2, node3, 0, node3.addresses[0], "udp", 53), "withdrawn",
		},
	}
}

// mistakes makes the mistakes, and looks whether the flows still pass.
func (d *demo) mistakes(ctx context.Context, s *plane) error {
	for _, m := range d.site.mistakes() {
		d.printf("\n%s\n$ kubectl patch sg shop --type merge -p '{\"spec\":{%s}}'\n", m.says, m.rule)
		if err := d.predict(ctx, s, []*flow{m.flow}); err != nil { // before: hosts must keep what they run
			return err
		}
		if err := s.patch(ctx, "securitygroups", "shop", `{"spec":{`+m.rule+`}}`); err != nil {
			return err
		}
		var failure v1alpha1.RolloutFailure
		err := s.rollout(ctx, func(r *v1alpha1.Rollout, _ []v1alpha1.Host) bool {
			if r.Status.Failure != nil {
				failure = *r.Status.Failure
			}
			return r.Spec.CandidateRulesetName == "" && strings.Contains(failure.Message, m.why)
		})
		if err != nil {
			return errors.Join(err, d.logs())
		}
		d.printf("Host %s says: %s\n", failure.HostName, failure.Message)
		d.table.head()
		if err := d.show(ctx, m.flow, "accept"); err != nil {
			return err
		}
		if err := s.patch(ctx, "securitygroups", "shop", `{"spec":{"ingress":null,"egress":null}}`); err != nil {
			return err
		}
		if _, err := s.settled(ctx, ""); err != nil {
			return errors.Join(err, d.logs())
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
