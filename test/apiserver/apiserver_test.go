package apiserver_test

import (
	"os"
	"path/filepath"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"ringfence.dev/ringfence/test/apiserver"
)

var server *apiserver.Server

func TestMain(m *testing.M) { os.Exit(apiserver.Main(m, &server)) }

func client(t *testing.T, of *rest.Config) *kubernetes.Clientset {
	t.Helper()
	c, err := kubernetes.NewForConfig(of)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

const shop = `
apiVersion: v1
kind: Node
metadata: {name: one}
status: {addresses: [{type: InternalIP, address: 192.0.2.7}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: shop, namespace: shop}
spec:
  selector: {matchLabels: {app: shop}}
  template:
    metadata: {labels: {app: shop}}
    spec: {containers: [{name: shop, image: shop, ports: [{name: web, containerPort: 8080}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: shop, namespace: shop}
spec: {type: NodePort, selector: {app: shop}, ports: [{port: 80, targetPort: web}]}
`

// TestReal: it is a whole API server: it says where it is, allocates, validates
// and lets nobody do what they may not.
func TestReal(t *testing.T) {
	server.Load(t, shop)
	server.Settle(t)
	c := client(t, server.Admin)
	own, err := c.DiscoveryV1().EndpointSlices("default").Get(t.Context(), "kubernetes", metav1.GetOptions{})
	if err != nil || own.Endpoints[0].Addresses[0] != apiserver.Advertised || int(*own.Ports[0].Port) != server.Port {
		t.Errorf("the server's own slice: %+v, %v: want %s and port %d", own, err, apiserver.Advertised, server.Port)
	}
	svc, err := c.CoreV1().Services("shop").Get(t.Context(), "shop", metav1.GetOptions{})
	if err != nil || svc.Spec.Ports[0].NodePort == 0 {
		t.Errorf("Service %+v, %v: want a node port", svc, err)
	}
	slices, err := c.DiscoveryV1().EndpointSlices("shop").List(t.Context(), metav1.ListOptions{})
	if err != nil || len(slices.Items) != 1 || *slices.Items[0].Ports[0].Port != 8080 || *slices.Items[0].Endpoints[0].NodeName != "one" {
		t.Errorf("slices %+v, %v: want one, on port 8080 of a pod on node one", slices, err)
	}
	_, err = c.CoreV1().Services("shop").Create(t.Context(), &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "x"}}, metav1.CreateOptions{})
	if !apierrors.IsInvalid(err) {
		t.Errorf("a Service without ports: %v: want that it is invalid", err)
	}
	_, err = client(t, server.As("stranger")).CoreV1().Pods("").List(t.Context(), metav1.ListOptions{})
	if !apierrors.IsForbidden(err) {
		t.Errorf("a stranger: %v: want that it is forbidden", err)
	}
}

// TestCorpus: the release manifests of real components can be loaded, and leave
// nothing behind.
func TestCorpus(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("..", "..", "..", "shared", "corpus", "manifests", "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Skipf("NOT TESTED with the manifests of real components: %d files, %v", len(files), err)
	}
	for _, f := range files {
		t.Run(filepath.Base(f), func(t *testing.T) {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			server.Load(t, string(text))
		})
	}
	pods, err := client(t, server.Admin).AppsV1().Deployments("").List(t.Context(), metav1.ListOptions{})
	if err != nil || len(pods.Items) != 0 {
		t.Errorf("%v, %v: want nothing left", pods, err)
	}
}

// TestTwo: a second server has objects of its own, and its own kubeconfig.
func TestTwo(t *testing.T) {
	second := apiserver.Start(t)
	server.Load(t, shop)
	c := client(t, second.Admin)
	if _, err := c.CoreV1().Nodes().Get(t.Context(), "one", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("node of the first server: %v: want that it is not found", err)
	}
	as, err := clientcmd.BuildConfigFromFlags("", apiserver.Kubeconfig(t, second.As("somebody")))
	if err != nil {
		t.Fatal(err)
	}
	who, err := client(t, as).AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil || who.Status.UserInfo.Username != "somebody" {
		t.Errorf("by the kubeconfig: %+v, %v: want somebody", who, err)
	}
}
