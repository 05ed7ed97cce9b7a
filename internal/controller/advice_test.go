package controller_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	eventsv1 "k8s.io/api/events/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/convert"
	"ringfence.dev/ringfence/internal/judge"
	"ringfence.dev/ringfence/profiles"
)

// TestAdvice gives a cluster a group that lacks needs: the condition lists what
// the command lists for the same manifests, and the group stays as it is.
func TestAdvice(t *testing.T) {
	t.Parallel()
	r := newRoom(t)
	const narrow = "{vpcName: prod, type: Advanced, ingress: [{protocol: TCP, ports: 443/443, peer: {cidr: 0.0.0.0/0}}]}"
	manifests := all(network, manifest("SecurityGroup", "web", narrow), terway("shop", "{name: web}"))
	r.apply(manifests)
	missing := r.says(&v1alpha1.Cluster{}, "shop", "NeedsMet=False/NeedsMissing")
	report := checked(t, manifests)
	var want []string
	for _, m := range report.Missing {
		way := map[string]string{"ingress": "from", "egress": "to"}[m.Direction.String()]
		want = append(want, fmt.Sprintf("%s: %s %s %s %s %s (group %s)", m.ID, m.Direction, m.Protocol, m.Ports, way, m.Peer, m.Group))
	}
	if diff := cmp.Diff(want, strings.Split(missing, "\n")); diff != "" || len(want) < 10 {
		t.Errorf("-command +condition:\n%s", diff)
	}
	const excess = "web/ingress/1: ingress TCP 443/443 from 0.0.0.0/0 (group web)"
	if got := r.says(&v1alpha1.Cluster{}, "shop", "Tight=False/Excess"); got != excess {
		t.Errorf("Tight of the cluster: %q", got)
	}
	if got := r.says(&v1alpha1.SecurityGroup{}, "web", "Tight=False/Excess"); got != excess {
		t.Errorf("Tight of the group: %q", got)
	}
	r.within("an event says so", func(ctx context.Context) error {
		list := &eventsv1.EventList{}
		if err := r.List(ctx, list, client.InNamespace(r.ns)); err != nil {
			return err
		}
		for _, e := range list.Items {
			if e.Reason == v1alpha1.ReasonNeedsMissing && e.Regarding.Name == "shop" && len(e.Note) <= 1024 && strings.Contains(e.Note, want[0]) {
				return nil
			}
		}
		return fmt.Errorf("%d events, none of them that", len(list.Items))
	})

	// A second cluster wants what is in excess for the first: for the group, it is
	// in excess no more.
	r.apply(flannel("blog", 40, "{name: web}"))
	r.says(&v1alpha1.SecurityGroup{}, "web", "Tight=True/NothingInExcess")
	r.says(&v1alpha1.Cluster{}, "shop", "Tight=False/Excess")

	// All open: nothing is missing any more.
	r.apply(manifest("SecurityGroup", "web", "{vpcName: prod, type: Advanced, ingress: [{protocol: ALL, peer: {cidr: 0.0.0.0/0}}], egress: [{protocol: ALL, peer: {cidr: 0.0.0.0/0}}]}"))
	r.says(&v1alpha1.Cluster{}, "shop", "NeedsMet=True/NothingMissing")
	r.delete(&v1alpha1.Cluster{}, "shop")
	r.delete(&v1alpha1.Cluster{}, "blog")
	r.within("nobody uses it, nobody judges it", func(ctx context.Context) error {
		g, err := fetch[v1alpha1.SecurityGroup](ctx, r, "web")
		for _, c := range conditionsOf(g) {
			if c.Type == v1alpha1.ConditionTight {
				return fmt.Errorf("it says %+v", c)
			}
		}
		return err
	})
}

func checked(t *testing.T, manifests string) *judge.Report {
	t.Helper()
	tables, err := profiles.Load()
	if err != nil {
		t.Fatal(err)
	}
	inv, err := convert.Parse([]convert.File{{Name: "in.yaml", Data: []byte(manifests)}})
	if err != nil {
		t.Fatal(err)
	}
	report, err := judge.Check(inv, tables, judge.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return report
}
