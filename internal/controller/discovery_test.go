package controller_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/discover/live"
	"ringfence.dev/ringfence/test/apiserver"
)

// The objects of a running cluster whose webhook listens on a host.
const (
	runningNodes = `
apiVersion: v1
kind: Node
metadata: {name: node-1, labels: {node-role.kubernetes.io/control-plane: ""}}
status: {addresses: [{type: InternalIP, address: 192.168.0.11}], daemonEndpoints: {kubeletEndpoint: {Port: 10250}}}
---
apiVersion: v1
kind: Node
metadata: {name: node-2}
status: {addresses: [{type: InternalIP, address: 192.168.0.12}], daemonEndpoints: {kubeletEndpoint: {Port: 10250}}}
---
`
	runningGuard = `
apiVersion: v1
kind: Service
metadata: {name: guard, namespace: guard}
spec: {ports: [{port: 443, targetPort: %[1]d}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: guard-1, namespace: guard, labels: {kubernetes.io/service-name: guard}}
addressType: IPv4
ports: [{name: "", port: %[1]d, protocol: TCP}]
endpoints: [{addresses: [192.168.0.12]}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: guard}
webhooks:
- name: a.guard.example
  sideEffects: None
  admissionReviewVersions: [v1]
  rules: [{apiGroups: [guard.example], apiVersions: [v1], operations: [CREATE], resources: [things]}]
  clientConfig: {service: {namespace: guard, name: guard}}
`
	readerBinding = `---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: ringfence-reader}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: ringfence-needs}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: ringfence}]
`
)

// hookRules lists the ingress rules of a group that the running cluster asked for.
func hookRules(g *v1alpha1.SecurityGroup) []string {
	var out []string
	for i := range g.Status.SystemIngress {
		if r := &g.Status.SystemIngress[i]; r.Row == "X-HOOK-I" {
			out = append(out, fmt.Sprintf("%s from %s", r.Ports, r.Peer.CIDR))
		}
	}
	slices.Sort(out)
	return out
}

// hasRules waits until the group of a cluster has these rules.
func (r room) hasRules(want ...string) {
	r.t.Helper()
	r.within("rules for what the API server calls", func(ctx context.Context) error {
		g, err := fetch[v1alpha1.SecurityGroup](ctx, r, "shop")
		if err != nil {
			return err
		}
		if got := hookRules(g); !slices.Equal(got, want) {
			return fmt.Errorf("they are %v: want %v", got, want)
		}
		return nil
	})
}

// told waits for an Event about the cluster with a text in it.
func (r room) told(reason, text string) {
	r.t.Helper()
	r.within("Event "+reason, func(ctx context.Context) error {
		var list eventsv1.EventList
		if err := r.List(ctx, &list, client.InNamespace(r.ns)); err != nil {
			return err
		}
		var all []string
		for _, e := range list.Items {
			if all = append(all, e.Reason+": "+e.Note); e.Reason == reason && strings.Contains(e.Note, text) {
				return nil
			}
		}
		return fmt.Errorf("none says %q: %s", text, strings.Join(all, "\n"))
	})
}

// TestDiscovery: ports open for what a real API server calls, before they are
// used, stay for a while once nothing needs them, and close; a role that is taken
// away closes nothing.
func TestDiscovery(t *testing.T) {
	running := apiserver.Start(t)
	running.Load(t, runningNodes, fmt.Sprintf(runningGuard, 8443), live.Role()+readerBinding)
	text, err := os.ReadFile(apiserver.Kubeconfig(t, running.As("ringfence")))
	if err != nil {
		t.Fatal(err)
	}
	r := newRoom(t)
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: r.ns, Name: "running"}, Data: map[string][]byte{"kubeconfig": text}}
	if err := r.Create(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	cluster := func(discovery string) string {
		return manifest("Cluster", "shop", `{vpcName: prod, network: {mode: Flannel, encapsulation: VXLAN, nodeSubnets: [nodes-a]}, apiServer: {addresses: [192.168.0.200]},
  securityGroup: {type: Advanced, profile: LeastPrivilege}`+discovery+`}`)
	}
	r.apply(all(network, cluster(", discovery: {kubeconfigSecretName: running, closeAfterSeconds: 3}")))
	r.says(&v1alpha1.Cluster{}, "shop", "Discovered=True/Following")
	from := " from " + apiserver.Advertised // where the server says that it is
	r.hasRules("8443/8443" + from)
	r.told("NeedOpened", "tcp/8443 is opened for the API server's hosts: ValidatingWebhookConfiguration guard /webhooks/0/clientConfig/service")

	needs, err := fetch[v1alpha1.ClusterNeeds](t.Context(), r, "shop")
	if err != nil || needs.Counts.Essential < 3 || len(needs.OwnerReferences) != 1 {
		t.Errorf("published %+v: %v", needs, err)
	}

	t.Run("Moves", func(t *testing.T) {
		r := r.with(t)
		running.Retarget(t, "guard", "guard", "guard-1", 9443)
		r.hasRules("8443/8443"+from, "9443/9443"+from)
		r.told("NeedGone", "tcp/8443 is not needed any more and closes in 3s")
		r.told("NeedClosed", "tcp/8443 is closed: nothing has needed it for 3s")
		r.hasRules("9443/9443" + from)
	})
	t.Run("Sensitive", func(t *testing.T) {
		r := r.with(t)
		running.Retarget(t, "guard", "guard", "guard-1", 2379)
		r.told("NeedNotOpened", "tcp/2379 is not opened by itself")
		running.Retarget(t, "guard", "guard", "guard-1", 9443)
		r.hasRules("9443/9443" + from)
	})
	t.Run("Forbidden", func(t *testing.T) {
		r := r.with(t)
		unbind(t, running)
		r.says(&v1alpha1.Cluster{}, "shop", "Discovered=False/Unreadable")
		running.Retarget(t, "guard", "guard", "guard-1", 7443)
		r.within("nothing closes", func(ctx context.Context) error {
			c, err := fetch[v1alpha1.Cluster](ctx, r, "shop")
			if err != nil {
				return err
			}
			if d := c.Status.Discovered; d == nil || len(d.Hooks) != 1 || d.Hooks[0].Port != 9443 || d.Hooks[0].GoneSince != nil {
				return fmt.Errorf("discovered %+v", d)
			}
			return nil
		})
		running.Load(t, readerBinding)
		r.hasRules("7443/7443" + from)
	})
	t.Run("Kubeconfig", func(t *testing.T) {
		r := r.with(t)
		bad := secret.DeepCopy()
		bad.Data["kubeconfig"] = []byte(strings.Replace(string(text), "token:", "tokenFile: /etc/passwd\n    token:", 1))
		if err := r.Update(t.Context(), bad); err != nil {
			t.Fatal(err)
		}
		if m := r.says(&v1alpha1.Cluster{}, "shop", "Discovered=False/NoKubeconfig"); !strings.Contains(m, "names a file") {
			t.Errorf("message %q", m)
		}
		r.hasRules("7443/7443" + from)
		if err := r.Delete(t.Context(), bad); err != nil {
			t.Fatal(err)
		}
		r.within("the Secret is missed", func(ctx context.Context) error {
			c, err := fetch[v1alpha1.Cluster](ctx, r, "shop")
			if err == nil && !strings.Contains(fmt.Sprint(c.Status.Conditions), "Secret running is not there") {
				err = errors.New("nobody says so")
			}
			return err
		})
	})
	t.Run("Off", func(t *testing.T) {
		r := r.with(t)
		r.apply(cluster(""))
		r.hasRules()
		r.within("nothing is left", func(ctx context.Context) error {
			c, err := fetch[v1alpha1.Cluster](ctx, r, "shop")
			if err != nil {
				return err
			}
			if _, err := fetch[v1alpha1.ClusterNeeds](ctx, r, "shop"); err == nil || c.Status.Discovered != nil || strings.Contains(fmt.Sprint(c.Status.Conditions), "Discovered") {
				return fmt.Errorf("the needs are there, or %+v", c.Status)
			}
			return nil
		})
	})
}

// with is the room for a subtest.
func (r room) with(t *testing.T) room {
	t.Helper()
	r.t = t
	return r
}

// unbind takes the rights away from who reads.
func unbind(t *testing.T, running *apiserver.Server) {
	t.Helper()
	binding := &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "ringfence-reader"}}
	if err := clientOf(t, running.Admin).Delete(t.Context(), binding); err != nil {
		t.Fatal(err)
	}
}
