package live_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"ringfence.dev/ringfence/internal/discover"
	"ringfence.dev/ringfence/internal/discover/live"
	"ringfence.dev/ringfence/test/truth"
)

const root = "../../.."

func readAll(t *testing.T, user string) *discover.Report {
	t.Helper()
	config := server.Admin
	if user != "" {
		config = server.As(user)
	}
	s, err := live.Open(config)
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// hold holds what is read of the server against a case.
func hold(t *testing.T, c *truth.Case, r *discover.Report) {
	t.Helper()
	var http, https, health int
	ingress, err := clientset(t, server.Admin).CoreV1().Services("ingress-nginx").Get(t.Context(), "ingress-nginx-controller", metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
	case err != nil:
		t.Fatal(err)
	default:
		http, https, health = int(ingress.Spec.Ports[0].NodePort), int(ingress.Spec.Ports[1].NodePort), int(ingress.Spec.HealthCheckNodePort)
	}
	for _, l := range []struct {
		what      string
		want, got []string
	}{
		{"needs", truth.Allocated(c.Needs, server.Port, http, https, health), truth.Lines(r)},
		{"unknown", slices.Clone(c.Unknown), truth.Abouts(r)},
	} {
		slices.Sort(l.want)
		if diff := cmp.Diff(l.want, l.got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", l.what, diff)
		}
	}
	for _, f := range r.Findings {
		t.Errorf("finding %+v: want none", f)
	}
}

// TestStored: manifests that an API server has stored need what the files need,
// and what the server itself adds.
func TestStored(t *testing.T) {
	for _, c := range truth.Stored() {
		t.Run(c.Name(), func(t *testing.T) {
			server.Load(t, c.Texts(t, root)...)
			hold(t, &c, readAll(t, ""))
		})
	}
}

// TestSettled: the same on nodes, with all pods running and all slices written;
// following it comes to the same.
func TestSettled(t *testing.T) {
	f := follow(t, server.Admin)
	for _, c := range truth.Settled() {
		t.Run(c.Name(), func(t *testing.T) {
			server.Load(t, append(c.Texts(t, root), truth.Nodes)...)
			server.Settle(t)
			r := readAll(t, "")
			hold(t, &c, r)
			f.until(t, "the same, followed", func(followed *discover.Report) string {
				return cmp.Diff(truth.Lines(r), truth.Lines(followed)) + cmp.Diff(truth.Abouts(r), truth.Abouts(followed))
			})
		})
	}
}

// TestBlind: whoever may not list a kind is told so, kind by kind, and is shown no
// essential need that is not there.
func TestBlind(t *testing.T) {
	c := truth.Settled()[6]
	server.Load(t, append(c.Texts(t, root), truth.Nodes)...)
	server.Settle(t)
	all := essential(readAll(t, ""))
	for i, missing := range discover.Resources() {
		t.Run(missing.String(), func(t *testing.T) {
			user := fmt.Sprintf("blind-%d", i)
			server.Load(t, without(missing, user))
			allowed(t, user, missing.Name == "nodes")
			r := readAll(t, user)
			if about := "which " + missing.String() + " there are"; unknown(r, about) == "" {
				t.Errorf("unknown %v: want %q among them", truth.Abouts(r), about)
			}
			for _, n := range essential(r) {
				if !slices.Contains(all, n) {
					t.Errorf("%s: want nothing that there is not with all rights: %v", n, all)
				}
			}
		})
	}
}

// essential returns the lines of essential needs, without the wire: that of some
// is unknown without rights.
func essential(r *discover.Report) []string {
	var out []string
	for _, l := range truth.Lines(r) {
		if strings.HasPrefix(l, "essential: ") {
			out = append(out, l[:strings.LastIndex(l, ", ")])
		}
	}
	return out
}

// without is a role for all that is read but one kind, given to a user.
func without(missing discover.Resource, user string) string {
	role := "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: " + user + "}\nrules:\n"
	for _, r := range discover.Resources() {
		if r != missing {
			role += fmt.Sprintf("- {apiGroups: [%q], resources: [%s], verbs: [list, watch]}\n", r.Group, r.Name)
		}
	}
	return role + bound(user, user)
}
