package apiserver

import (
	"context"
	"fmt"
	"maps"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
)

// Settle makes what controllers, a scheduler and kubelets would make of the
// workloads and Services that are stored, on the nodes that are stored: of each
// Deployment a ReplicaSet with a pod, of each DaemonSet a pod on each node, all
// of them running, and an EndpointSlice for each Service that has a selector. It
// deletes them when the test ends.
func (s *Server) Settle(tb testing.TB) {
	tb.Helper()
	client, err := kubernetes.NewForConfig(s.Admin)
	if err != nil {
		tb.Fatal(err)
	}
	w := &settler{tb: tb, client: client}
	nodes, err := client.CoreV1().Nodes().List(tb.Context(), metav1.ListOptions{})
	w.must(err)
	if len(nodes.Items) == 0 {
		tb.Fatal("cannot settle: there is no node")
	}
	w.nodes = nodes.Items
	w.deployments()
	w.daemonSets()
	w.services()
}

type settler struct {
	tb     testing.TB
	client kubernetes.Interface
	nodes  []corev1.Node
	pods   []*corev1.Pod
}

func (w *settler) must(err error) {
	w.tb.Helper()
	if err != nil {
		w.tb.Fatal(err)
	}
}

// gone deletes an object of ours when the test ends.
func (w *settler) gone(remove func(context.Context, string, metav1.DeleteOptions) error, name string) {
	w.tb.Cleanup(func() {
		now := int64(0)
		if err := remove(context.WithoutCancel(w.tb.Context()), name, metav1.DeleteOptions{GracePeriodSeconds: &now}); err != nil {
			w.tb.Error(err)
		}
	})
}

func (w *settler) deployments() {
	list, err := w.client.AppsV1().Deployments("").List(w.tb.Context(), metav1.ListOptions{})
	w.must(err)
	for i := range list.Items {
		d := &list.Items[i]
		sets := w.client.AppsV1().ReplicaSets(d.Namespace)
		made, err := sets.Create(w.tb.Context(), &appsv1.ReplicaSet{
			ObjectMeta: metav1.ObjectMeta{Name: d.Name + "-1", Namespace: d.Namespace, OwnerReferences: ownedBy("Deployment", d.Name, d.UID)},
			Spec:       appsv1.ReplicaSetSpec{Replicas: d.Spec.Replicas, Selector: d.Spec.Selector, Template: d.Spec.Template},
		}, metav1.CreateOptions{})
		w.must(err)
		w.gone(sets.Delete, made.Name)
		w.pod(d.Namespace, ownedBy("ReplicaSet", made.Name, made.UID), &d.Spec.Template, len(w.nodes)-1)
	}
}

func (w *settler) daemonSets() {
	list, err := w.client.AppsV1().DaemonSets("").List(w.tb.Context(), metav1.ListOptions{})
	w.must(err)
	for i := range list.Items {
		for n := range w.nodes {
			w.pod(list.Items[i].Namespace, ownedBy("DaemonSet", list.Items[i].Name, list.Items[i].UID), &list.Items[i].Spec.Template, n)
		}
	}
}

func ownedBy(kind, name string, uid types.UID) []metav1.OwnerReference {
	yes := true
	return []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: kind, Name: name, UID: uid, Controller: &yes}}
}

// pod makes a pod that runs on a node.
func (w *settler) pod(namespace string, owner []metav1.OwnerReference, t *corev1.PodTemplateSpec, node int) {
	address := w.address(node)
	if !t.Spec.HostNetwork {
		address = fmt.Sprintf("10.244.%d.%d", node, 10+len(w.pods))
	}
	p := &corev1.Pod{Spec: *t.Spec.DeepCopy()}
	p.Name, p.Namespace, p.Labels, p.OwnerReferences = fmt.Sprintf("%s-%d", owner[0].Name, node), namespace, maps.Clone(t.Labels), owner
	p.Spec.NodeName = w.nodes[node].Name
	pods := w.client.CoreV1().Pods(namespace)
	made, err := pods.Create(w.tb.Context(), p, metav1.CreateOptions{})
	w.must(err)
	w.gone(pods.Delete, made.Name)
	made.Status = corev1.PodStatus{Phase: corev1.PodRunning, PodIP: address, PodIPs: []corev1.PodIP{{IP: address}}, HostIP: w.address(node)}
	made, err = pods.UpdateStatus(w.tb.Context(), made, metav1.UpdateOptions{})
	w.must(err)
	w.pods = append(w.pods, made)
}

func (w *settler) address(node int) string {
	for _, a := range w.nodes[node].Status.Addresses {
		if a.Type == corev1.NodeInternalIP {
			return a.Address
		}
	}
	w.tb.Fatalf("cannot settle: node %s has no address", w.nodes[node].Name)
	return ""
}

func (w *settler) services() {
	list, err := w.client.CoreV1().Services("").List(w.tb.Context(), metav1.ListOptions{})
	w.must(err)
	for i := range list.Items {
		if len(list.Items[i].Spec.Selector) > 0 {
			w.slice(&list.Items[i])
		}
	}
}

// slice lists the pods behind a Service, with the ports of the last of them.
func (w *settler) slice(of *corev1.Service) {
	s := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: of.Name + "-1", Labels: map[string]string{discoveryv1.LabelServiceName: of.Name}},
		AddressType: discoveryv1.AddressTypeIPv4,
	}
	for _, p := range w.pods {
		if p.Namespace != of.Namespace || !matches(of.Spec.Selector, p.Labels) {
			continue
		}
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{p.Status.PodIP}, NodeName: &p.Spec.NodeName,
			TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: p.Namespace, Name: p.Name, UID: p.UID},
		})
		s.Ports = endpointPorts(of, p)
	}
	if len(s.Endpoints) == 0 {
		return
	}
	slices := w.client.DiscoveryV1().EndpointSlices(of.Namespace)
	made, err := slices.Create(w.tb.Context(), s, metav1.CreateOptions{})
	w.must(err)
	w.gone(slices.Delete, made.Name)
}

func matches(selector, labels map[string]string) bool {
	for k, v := range selector {
		if labels[k] != v {
			return false
		}
	}
	return true
}

// endpointPorts returns where the ports of a Service lead in a pod.
func endpointPorts(of *corev1.Service, p *corev1.Pod) []discoveryv1.EndpointPort {
	var out []discoveryv1.EndpointPort
	for i := range of.Spec.Ports {
		sp := &of.Spec.Ports[i]
		port := sp.TargetPort.IntVal
		if sp.TargetPort.Type == intstr.String {
			port = named(p, sp.TargetPort.StrVal, sp.Protocol)
		}
		if port != 0 {
			out = append(out, discoveryv1.EndpointPort{Name: &sp.Name, Protocol: &sp.Protocol, Port: &port})
		}
	}
	return out
}

func named(p *corev1.Pod, name string, proto corev1.Protocol) int32 {
	for i := range p.Spec.Containers {
		for _, port := range p.Spec.Containers[i].Ports {
			if port.Name == name && port.Protocol == proto {
				return port.ContainerPort
			}
		}
	}
	return 0
}

// Retarget lets a Service without a selector, and one of its slices, lead to
// another port, as who moves what listens there would.
func (s *Server) Retarget(tb testing.TB, namespace, service, slice string, port int32) {
	tb.Helper()
	client, err := kubernetes.NewForConfig(s.Admin)
	if err != nil {
		tb.Fatal(err)
	}
	_, err = client.CoreV1().Services(namespace).Patch(tb.Context(), service, types.JSONPatchType,
		fmt.Appendf(nil, `[{"op": "replace", "path": "/spec/ports/0/targetPort", "value": %d}]`, port), metav1.PatchOptions{})
	if err != nil {
		tb.Fatal(err)
	}
	_, err = client.DiscoveryV1().EndpointSlices(namespace).Patch(tb.Context(), slice, types.JSONPatchType,
		fmt.Appendf(nil, `[{"op": "replace", "path": "/ports/0/port", "value": %d}]`, port), metav1.PatchOptions{})
	if err != nil {
		tb.Fatal(err)
	}
}
