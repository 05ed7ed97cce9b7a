package controller_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
)

// refused wants an error of the kind Forbidden with these parts.
func refused(t *testing.T, what string, err error, parts ...string) {
	t.Helper()
	if !apierrors.IsForbidden(err) {
		t.Errorf("%s: want it forbidden, got %v", what, err)
		return
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%s: want %q in: %v", what, part, err)
		}
	}
}

// TestProtection tries everything that an administrator can try on a group that
// two clusters use, until both are gone.
func TestProtection(t *testing.T) {
	t.Parallel()
	r := newRoom(t)
	r.apply(all(
		network, manifest("SecurityGroup", "web", "{vpcName: prod}"), terway("shop", "{name: web}"), flannel("blog", 20, "{name: web}"),
		manifest("NodePool", "workers", "{clusterName: shop}"),
	))
	r.ready("shop", "blog")
	r.says(&v1alpha1.NodePool{}, "workers", "Ready=True/GroupInUse")
	r.protected("cluster blog", "cluster shop (node pools workers)")
	r.delete(&v1alpha1.NodePool{}, "workers")
	r.delete(&v1alpha1.Cluster{}, "shop")
	r.within("one user is left", func(ctx context.Context) error {
		g, err := fetch[v1alpha1.SecurityGroup](ctx, r, "web")
		if err == nil && g.Status.UsedBy != "blog" {
			return fmt.Errorf("used by %q", g.Status.UsedBy)
		}
		return err
	})
	r.protected("cluster blog")
	r.delete(&v1alpha1.Cluster{}, "blog")
	r.within("nobody uses it, so it goes", func(ctx context.Context) error {
		return client.IgnoreNotFound(r.Delete(ctx, &v1alpha1.SecurityGroup{ObjectMeta: metav1.ObjectMeta{Namespace: r.ns, Name: "web"}}))
	})
	r.gone(&v1alpha1.SecurityGroup{}, "web")
	if err := r.Delete(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: r.ns}}); err != nil {
		t.Errorf("and its namespace: %v", err)
	}
}

// protected tries to get rid of the group web.
func (r room) protected(users ...string) {
	r.t.Helper()
	ctx, web := r.t.Context(), r.group("web")
	refused(r.t, "delete", r.Delete(ctx, web), users...)
	refused(r.t, "delete with everything that hangs on it", r.Delete(ctx, web, client.PropagationPolicy(metav1.DeletePropagationForeground), client.GracePeriodSeconds(0)), users...)
	refused(r.t, "delete all at once", r.DeleteAllOf(ctx, &v1alpha1.SecurityGroup{}, client.InNamespace(r.ns)), users...)
	refused(r.t, "delete the namespace", r.Delete(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: r.ns}}), "namespace "+r.ns+" holds")
	refused(r.t, "clear the status", r.Status().Patch(ctx, r.group("web"), client.RawPatch(types.MergePatchType, []byte(`{"status":null}`))))
	refused(r.t, "take the finalizer off", r.Patch(ctx, r.group("web"), client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`))), "ringfence.dev/in-use")
	for _, kind := range []string{"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"} {
		u := &unstructured.Unstructured{}
		u.SetGroupVersionKind(schema.GroupVersionKind{Group: "admissionregistration.k8s.io", Version: "v1", Kind: kind})
		u.SetName("ringfence-group-in-use")
		refused(r.t, "delete the "+kind, r.Delete(ctx, u))
	}
	raw, err := kubernetes.NewForConfig(env.Admin)
	if err != nil {
		r.t.Fatal(err)
	}
	err = raw.RESTClient().Delete().AbsPath("/apis/ringfence.dev/v1alpha1/namespaces", r.ns, "securitygroups", "web").
		Param("gracePeriodSeconds", "0").Do(ctx).Error()
	refused(r.t, "a raw request", err, users...)
	if now := r.group("web"); now.DeletionTimestamp != nil || now.UID != web.UID || !*now.Status.Protected || len(now.Finalizers) == 0 {
		r.t.Errorf("it changed: %+v", now.ObjectMeta)
	}
}

// TestProtectedInstantly deletes a group right after a cluster began to use it:
// no controller can have seen that.
func TestProtectedInstantly(t *testing.T) {
	t.Parallel()
	r := newRoom(t)
	r.apply(all(network, manifest("SecurityGroup", "web", "{vpcName: prod}")))
	r.says(&v1alpha1.SecurityGroup{}, "web", "Accepted=True/Accepted")
	for i := range 10 {
		web := r.group("web")
		r.apply(terway("shop", "{name: web}"))
		refused(t, fmt.Sprintf("the instant after, time %d", i), r.Delete(t.Context(), web), "shop")
		r.delete(&v1alpha1.Cluster{}, "shop")
		r.gone(&v1alpha1.Cluster{}, "shop")
	}
}

// TestHeldByOthers holds groups by what is no cluster.
func TestHeldByOthers(t *testing.T) {
	t.Parallel()
	r := newRoom(t)
	r.apply(all(
		network, manifest("SecurityGroup", "db", "{vpcName: prod}"),
		manifest("SecurityGroup", "web", "{vpcName: prod, egress: [{protocol: TCP, ports: 5432/5432, peer: {groupName: db}}]}"),
	))
	db := &v1alpha1.SecurityGroup{ObjectMeta: metav1.ObjectMeta{Namespace: r.ns, Name: "db"}}
	web := &v1alpha1.SecurityGroup{ObjectMeta: metav1.ObjectMeta{Namespace: r.ns, Name: "web"}}
	r.within("both are looked at", func(ctx context.Context) error {
		for name, want := range map[string]string{"db": "rules of group web", "web": ""} {
			if g, err := fetch[v1alpha1.SecurityGroup](ctx, r, name); err != nil || g.Status.Protected == nil || g.Status.UsedBy != want {
				return fmt.Errorf("%s: %+v, %w", name, g.Status, err)
			}
		}
		return nil
	})
	refused(t, "a rule names it", r.Delete(t.Context(), db.DeepCopy()), "security group db is held by rules of group web; take it off the hosts and out of the rules first")
	r.apply(manifest("Host", "h", "{addresses: [192.168.0.7], securityGroupNames: [web]}"))
	refused(t, "a host wears it, since an instant", r.Delete(t.Context(), web.DeepCopy()), "web", "host h")
	r.within("and it is said", func(ctx context.Context) error {
		g, err := fetch[v1alpha1.SecurityGroup](ctx, r, "web")
		if err == nil && g.Status.UsedBy != "host h" {
			return fmt.Errorf("used by %q", g.Status.UsedBy)
		}
		return err
	})
	refused(t, "a host wears it", r.Delete(t.Context(), web.DeepCopy()), "security group web is held by host h;")
	r.delete(&v1alpha1.Host{}, "h")
	for _, g := range []*v1alpha1.SecurityGroup{web, db} { // in the order in which they can go
		r.within(g.Name+" goes", func(ctx context.Context) error { return client.IgnoreNotFound(r.Delete(ctx, g.DeepCopy())) })
		r.gone(&v1alpha1.SecurityGroup{}, g.Name)
	}
}

// TestExistingGroup lets clusters come, change and go on a group that a GitOps
// tool re-applies all the while: the spec stays as it was, byte for byte, and
// what is applied again changes nothing.
func TestExistingGroup(t *testing.T) {
	t.Parallel()
	r := newRoom(t)
	group := manifest("SecurityGroup", "web", `{vpcName: prod, type: Advanced, ingress: [{protocol: tcp, ports: 443/443, peer: {cidr: 0.0.0.0/0}, description: front},
  {policy: Drop, priority: 100, protocol: 112, peer: {cidr: 10.0.0.1/8}}]}`)
	r.apply(all(network, group))
	spec := r.spec("web")
	same := func(when string) {
		t.Helper()
		r.apply(group)
		if now := r.spec("web"); now != spec {
			t.Errorf("%s: the spec was %s and is %s", when, spec, now)
		}
	}
	r.apply(terway("shop", "{name: web, profile: LeastPrivilege}"))
	r.ready("shop")
	same("a cluster came")
	r.apply(flannel("blog", 20, "{name: web}"))
	r.apply(manifest("NodePool", "workers", "{clusterName: blog, securityGroup: {names: [web]}}"))
	r.ready("shop", "blog")
	same("a second one came, with a pool")
	r.apply(strings.ReplaceAll(terway("shop", "{name: web, profile: Recommended}"), "8443", "9443"))
	r.says(&v1alpha1.Cluster{}, "shop", "NeedsMet=False/NeedsMissing")
	same("the first one changed")
	// The last word of the controllers: what is exposed by one cluster is no
	// excess of the group.
	r.says(&v1alpha1.Cluster{}, "blog", "NeedsMet=False/NeedsMissing")
	r.says(&v1alpha1.SecurityGroup{}, "web", "Tight=True/NothingInExcess")
	steady := r.group("web")
	for range 5 {
		r.apply(all(network, group, flannel("blog", 20, "{name: web}")))
	}
	if now := r.group("web"); now.Generation != steady.Generation || now.ResourceVersion != steady.ResourceVersion {
		t.Errorf("applied again: generation %d, was %d; version %s, was %s", now.Generation, steady.Generation, now.ResourceVersion, steady.ResourceVersion)
	}
	for _, o := range []client.Object{&v1alpha1.NodePool{ObjectMeta: metav1.ObjectMeta{Name: "workers"}}, &v1alpha1.Cluster{ObjectMeta: metav1.ObjectMeta{Name: "blog"}}, &v1alpha1.Cluster{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}} {
		r.delete(o, o.GetName())
	}
	r.within("the use ends", func(ctx context.Context) error {
		g, err := fetch[v1alpha1.SecurityGroup](ctx, r, "web")
		if err == nil && *g.Status.Protected {
			return fmt.Errorf("used by %q", g.Status.UsedBy)
		}
		return err
	})
	same("all are gone")
	if g := r.group("web"); g.Generation != 1 || len(g.Status.SystemIngress)+len(g.Status.SystemEgress) > 0 {
		t.Errorf("generation %d, system rules %v %v", g.Generation, g.Status.SystemIngress, g.Status.SystemEgress)
	}
}

// spec returns a group's spec as the API server has it.
func (r room) spec(name string) string {
	r.t.Helper()
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(v1alpha1.KindSecurityGroup))
	if err := r.Get(r.t.Context(), client.ObjectKey{Namespace: r.ns, Name: name}, u); err != nil {
		r.t.Fatal(err)
	}
	text, err := json.Marshal(u.Object["spec"])
	if err != nil {
		r.t.Fatal(err)
	}
	return string(text)
}

// TestNothingToWrite makes the controllers look at everything again: they find
// nothing to write.
func TestNothingToWrite(t *testing.T) {
	t.Parallel()
	r := newRoom(t)
	r.apply(all(
		network, terway("shop", "{}"), flannel("blog", 20, "{name: shop}"),
		manifest("NodePool", "workers", "{clusterName: shop, securityGroup: {type: Basic}}"), manifest("Host", "h", "{nodePoolName: workers, addresses: [192.168.0.8]}"),
	))
	r.ready("shop", "blog")
	for _, c := range []string{"shop", "blog"} {
		r.says(&v1alpha1.Cluster{}, c, "NeedsMet=True/NothingMissing")
	}
	for _, g := range []string{"shop", "shop-workers"} {
		r.says(&v1alpha1.SecurityGroup{}, g, "Tight=True/NothingInExcess")
	}
	r.says(&v1alpha1.NodePool{}, "workers", "Ready=True/GroupInUse")
	r.within("the pool's group has its member", func(ctx context.Context) error {
		g, err := fetch[v1alpha1.SecurityGroup](ctx, r, "shop-workers")
		if err == nil && g.Status.Members != 1 {
			return fmt.Errorf("%d members", g.Status.Members)
		}
		return err
	})
	before := r.versions()
	for i := range 3 {
		vpc := &v1alpha1.VPC{ObjectMeta: metav1.ObjectMeta{Namespace: r.ns, Name: "prod"}}
		patch := fmt.Sprintf(`{"metadata":{"annotations":{"example.com/look":"%d"}}}`, i)
		if err := r.Patch(t.Context(), vpc, client.RawPatch(types.MergePatchType, []byte(patch))); err != nil {
			t.Fatal(err)
		}
		// Behind the others in every queue, so once it is done, they are.
		last := fmt.Sprintf("last-%d", i)
		r.apply(flannel(last, 60+i, "{}"))
		r.ready(last)
		r.says(&v1alpha1.Cluster{}, last, "NeedsMet=True/NothingMissing")
		r.says(&v1alpha1.SecurityGroup{}, last, "Tight=True/NothingInExcess")
	}
	after := r.versions()
	for name, version := range before {
		if after[name] != version {
			t.Errorf("%s was written", name)
		}
	}
}

// versions returns the version of each object that controllers write to.
func (r room) versions() map[string]string {
	r.t.Helper()
	versions := map[string]string{}
	for _, list := range []client.ObjectList{&v1alpha1.SecurityGroupList{}, &v1alpha1.ClusterList{}, &v1alpha1.NodePoolList{}, &v1alpha1.HostList{}} {
		if err := r.List(r.t.Context(), list, client.InNamespace(r.ns)); err != nil {
			r.t.Fatal(err)
		}
		switch l := list.(type) {
		case *v1alpha1.SecurityGroupList:
			for i := range l.Items {
				versions["group "+l.Items[i].Name] = l.Items[i].ResourceVersion
			}
		case *v1alpha1.ClusterList:
			for i := range l.Items {
				versions["cluster "+l.Items[i].Name] = l.Items[i].ResourceVersion
			}
		case *v1alpha1.NodePoolList:
			for i := range l.Items {
				versions["node pool "+l.Items[i].Name] = l.Items[i].ResourceVersion
			}
		case *v1alpha1.HostList:
			for i := range l.Items {
				versions["host "+l.Items[i].Name] = l.Items[i].ResourceVersion
			}
		}
	}
	return versions
}
