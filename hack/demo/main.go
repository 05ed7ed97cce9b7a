// Command demo shows Ringfence at work on a small network of namespaces on this
// machine: it starts the real server and an agent on each of three nodes, gives
// them a cluster, sends real packets, and compares what became of each with what
// `ringfence explain` predicts. It exits 0 only if every prediction held. On a
// terminal it stays, so that you can go on yourself, until Ctrl-C.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/term"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/test/netns"
)

// A demo is one show.
type demo struct {
	// bin is the folder of the programs, and input the manifest to apply.
	bin, input string
	out        io.Writer
	// stays keeps everything up after the show, until the context ends.
	stays bool

	dir   string
	site  *site
	table *table
}

func main() {
	code, ran, err := netns.Elevate()
	if err == nil && !ran {
		err = show()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		code = 1
	}
	os.Exit(code)
}

func show() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	d := demo{bin: "bin", input: "hack/demo/shop.yaml", out: os.Stdout, stays: term.IsTerminal(int(os.Stdin.Fd()))}
	return d.run(ctx)
}

func (d *demo) run(ctx context.Context) (err error) {
	var unlock func() error
	if d.dir, unlock, err = takeFolder(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if d.site, err = newSite(ctx); err != nil {
		return errors.Join(err, d.site.close())
	}
	defer func() { err = errors.Join(err, d.site.close()) }()
	server, err := startServer(ctx, filepath.Join(d.bin, "ringfence-server"), d.dir, d.site.Home(), controlPlane)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop(server.process)) }()
	d.printf("The server is ready: it took %s, and keeps everything in %s.\n", server.startup.Round(10*time.Millisecond), d.dir)
	at, err := url.Parse(server.URL)
	if err != nil {
		return err
	}
	if err := d.site.forward(ctx, at.Host); err != nil {
		return err
	}
	for _, step := range []func(context.Context, *plane) error{
		d.apply, d.showGroup, d.unguarded, d.startAgents, d.needs, d.pods, d.forbidden, d.webhook, d.mistakes, d.refuse, d.check,
	} {
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

// showGroup waits for the group that the cluster did not name.
func (d *demo) showGroup(ctx context.Context, s *plane) error {
	d.table = &table{out: d.out, decided: map[string]bool{}}
	if err := d.learn(ctx, s); err != nil {
		return err
	}
	d.printf("\nCluster shop named no security group, so it has got one, with %d rules, each for a row of the table of needs.\n", len(d.table.rows))
	return nil
}

// learn learns which rule of the group is for which row.
func (d *demo) learn(ctx context.Context, s *plane) error {
	list, err := s.rules(ctx)
	if err != nil {
		return err
	}
	d.table.rows = map[string]string{}
	for i := range list {
		d.table.rows[list[i].by] = list[i].row
	}
	return nil
}

// rules waits until the cluster's group is ready, and lists its rules.
func (s *plane) rules(ctx context.Context) ([]rule, error) {
	var cluster v1alpha1.Cluster
	if err := s.until(ctx, "clusters", "shop", &cluster, func() bool { return isTrue(cluster.Status.Conditions, v1alpha1.ConditionReady) }); err != nil {
		return nil, err
	}
	group := &v1alpha1.SecurityGroup{}
	if err := s.until(ctx, "securitygroups", cluster.Status.SecurityGroupName, group, func() bool { return group.Status.RuleCount > 0 }); err != nil {
		return nil, err
	}
	return rulesOf(group)
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
		text, err := d.ringfence(ctx, nil, args...)
		if err != nil {
			return err
		}
		d.printf("%s", text)
	}
	return nil
}

func (d *demo) next(s *plane) {
	node := d.site.place("node-2").node
	d.printf(`
All of it stays up. Go on in another terminal, here:
  export KUBECONFIG=%s
  kubectl get sg,clusters.ringfence.dev,hosts,rollouts
  kubectl edit clusters.ringfence.dev shop     # add a webhook port, and see the hosts follow
  %[2]s rollout status
  %[2]s explain --kubeconfig $KUBECONFIG --from 203.0.113.9 --to 192.168.0.12 --port 10250
  %[3]s %[4]s status --state-dir %[5]s
  %[3]s nft list table inet ringfence
  %[3]s %[4]s open --for 1m
Ctrl-C ends everything, and removes its files.
`, s.kubeconfig, filepath.Join(d.bin, "ringfence"), enter(node.agent.PID()), filepath.Join(d.bin, "ringfence-agent"), node.stateDir)
}

// enter is the command that runs another one where a process is.
func enter(pid int) string {
	const everybody = "4294967295"
	users, err := os.ReadFile("/proc/self/uid_map")
	if err == nil && !strings.Contains(string(users), everybody) { // we are root for ourselves only
		return fmt.Sprintf("nsenter -t %d -U -n --preserve-credentials", pid)
	}
	return fmt.Sprintf("nsenter -t %d -n", pid)
}

// decode turns an object of the API into one of ours.
func decode(o *unstructured.Unstructured, into any) error {
	return runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, into)
}
