package controller_test

import (
	"context"
	"fmt"
	"testing"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/testenv"
)

// TestRestart stops a server while a group is in use, and starts it again: the
// group is as protected as before, from the first request on, and free once its
// user is gone.
func TestRestart(t *testing.T) {
	t.Parallel()
	cfg := config()
	cfg.DataDir = t.TempDir()
	first := testenv.Start(t, cfg)
	r := newRoomOn(t, first)
	r.apply(all(network, manifest("SecurityGroup", "web", "{vpcName: prod}"), terway("shop", "{name: web}"), flannel("blog", 20, "{}")))
	r.ready("shop", "blog")
	made := printed(r.group("blog"))
	if err := first.Stop(); err != nil {
		t.Fatal(err)
	}
	again := testenv.Start(t, cfg)
	r = room{clientOf(t, again.Admin), t, r.ns}
	refused(t, "right after the start", r.Delete(t.Context(), r.group("web")), "cluster shop")
	r.apply(flannel("later", 30, "{name: blog}"))
	r.ready("shop", "blog", "later")
	r.within("the controllers work as before", func(ctx context.Context) error {
		g, err := fetch[v1alpha1.SecurityGroup](ctx, r, "blog")
		if err == nil && len(printed(g)) <= len(made) {
			return fmt.Errorf("%d rules for two clusters, %d for one", len(printed(g)), len(made))
		}
		return err
	})
	r.delete(&v1alpha1.Cluster{}, "shop")
	r.within("its user is gone, and so is the protection", func(ctx context.Context) error {
		g, err := fetch[v1alpha1.SecurityGroup](ctx, r, "web")
		if err == nil && *g.Status.Protected {
			return fmt.Errorf("used by %q", g.Status.UsedBy)
		}
		return err
	})
	r.delete(&v1alpha1.SecurityGroup{}, "web")
	r.gone(&v1alpha1.SecurityGroup{}, "web")
}
