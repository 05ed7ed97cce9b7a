// Command demo shows the control plane at work: it starts the real server, gives
// it a cluster, and shows the security group that the cluster gets, and that
// nobody can delete it. It exits 0 only if all of that happened. On a terminal
// it stays, so that you can go on yourself, until Ctrl-C.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"text/tabwriter"
	"time"

	"golang.org/x/term"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"ringfence.dev/ringfence/api/v1alpha1"
)

// A demo is one show.
type demo struct {
	// bin is the folder of the two programs, and input the manifest to apply.
	bin, input string
	out        io.Writer
	// stays keeps the server up after the show, until the context ends.
	stays bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	d := demo{bin: "bin", input: "examples/own-hosts/shop.yaml", out: os.Stdout, stays: term.IsTerminal(int(os.Stdin.Fd()))}
	err := d.run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func (d *demo) run(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("", "ringfence-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	server, err := startServer(ctx, filepath.Join(d.bin, "ringfence-server"), dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.stop()) }()
	d.printf("The server is ready: it took %s, and keeps everything in %s.\n", server.startup.Round(10*time.Millisecond), dir)
	for _, step := range []func(context.Context, *plane) error{d.apply, d.showGroup, d.refuse, d.check} {
		if err := step(ctx, server); err != nil {
			return err
		}
	}
	if d.stays {
		d.next(server)
		<-ctx.Done()
	}
	return nil
}

func (d *demo) printf(format string, args ...any) { _, _ = fmt.Fprintf(d.out, format, args...) }

// apply gives the server the example.
func (d *demo) apply(ctx context.Context, s *plane) error {
	d.printf("\n$ kubectl apply --server-side -f %s\n", d.input)
	objects, err := readObjects(d.input)
	if err != nil {
		return err
	}
	for _, o := range objects {
		if err := s.apply(ctx, o); err != nil {
			return err
		}
		d.printf("%s/%s\n", o.GetKind(), o.GetName())
	}
	return nil
}

// showGroup waits for the group that the cluster did not name, and prints it.
func (d *demo) showGroup(ctx context.Context, s *plane) error {
	var cluster v1alpha1.Cluster
	if err := s.until(ctx, "clusters", "shop", &cluster, func() bool { return isTrue(cluster.Status.Conditions, v1alpha1.ConditionReady) }); err != nil {
		return err
	}
	var group v1alpha1.SecurityGroup
	if err := s.until(ctx, "securitygroups", cluster.Status.SecurityGroupName, &group, func() bool { return group.Status.RuleCount > 0 }); err != nil {
		return err
	}
	d.printf("\nCluster shop named no security group, so it has got one: %s (%s), used by %s.\n", group.Name, group.Spec.Type, group.Status.UsedBy)
	d.printf("Each rule says the row of the table that asks for it:\n\n")
	w := tabwriter.NewWriter(d.out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "DIRECTION\tPOLICY\tPROTOCOL\tPORTS\tPEER\tROW")
	for _, side := range []struct {
		name string
		list []v1alpha1.SystemRule
	}{{"ingress", group.Status.SystemIngress}, {"egress", group.Status.SystemEgress}} {
		for i := range side.list {
			r := &side.list[i]
			_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", side.name, r.Policy, r.Protocol.String(), r.Ports, r.Peer.CIDR, r.Row)
		}
	}
	if len(group.Status.SystemIngress) == 0 || len(group.Status.SystemEgress) == 0 {
		return fmt.Errorf("group %s has no rules", group.Name)
	}
	return w.Flush()
}

// refuse tries to delete the group, as the administrator.
func (d *demo) refuse(ctx context.Context, s *plane) error {
	d.printf("\n$ kubectl delete sg shop\n")
	err := s.remove(ctx, "securitygroups", "shop")
	if err == nil {
		return errors.New("the group of a cluster was deleted")
	}
	d.printf("%v\n", err)
	return namesUser(err)
}

// check asks the command what the cluster lacks.
func (d *demo) check(ctx context.Context, s *plane) error {
	for _, args := range [][]string{
		{"clusters", "shop", "--kubeconfig", s.kubeconfig},
		{"check", "--kubeconfig", s.kubeconfig},
	} {
		d.printf("\n$ ringfence %s\n", args[0])
		cmd := exec.CommandContext(ctx, filepath.Join(d.bin, "ringfence"), args...) //nolint:gosec // G204: what we have built
		cmd.Stdout, cmd.Stderr = d.out, d.out
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("ringfence %s: %w", args[0], err)
		}
	}
	return nil
}

func (d *demo) next(s *plane) {
	d.printf(`
Go on in another terminal:
  export KUBECONFIG=%s
  kubectl get sg,clusters.ringfence.dev,nodepools,hosts
  kubectl edit clusters.ringfence.dev shop     # add a webhook port, and see the group follow
  kubectl delete namespace default             # no
  %s explain --kubeconfig $KUBECONFIG --from 192.168.0.11 --to 192.168.0.12 --port 10250
  %s token create --host node-1                # the command with which a host joins
Ctrl-C ends the server and removes its files.
`, s.kubeconfig, filepath.Join(d.bin, "ringfence"), filepath.Join(d.bin, "ringfence"))
}

// decode turns an object of the API into one of ours.
func decode(o *unstructured.Unstructured, into any) error {
	return runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, into)
}
