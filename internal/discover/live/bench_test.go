package live_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/clock"

	"ringfence.dev/ringfence/internal/discover/live"
	"ringfence.dev/ringfence/test/apiserver"
)

// readerOf is the variable with the kubeconfig that a process of its own is to
// read by, so that its memory is nobody else's.
const readerOf = "RINGFENCE_TEST_READ"

// A reading is what one process took to read a cluster.
type reading struct {
	Needs    int
	Seconds  float64
	BeforeMB float64
	PeakMB   float64
}

// readAlone reads the cluster of a kubeconfig, and prints what it took.
func readAlone(kubeconfig string) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	s, err := live.Open(config)
	if err != nil {
		return err
	}
	before, watch := peakMB(), clock.RealClock{}
	began := watch.Now()
	r, err := s.Read(context.Background()) //nolint:forbidigo // a process of its own
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(reading{Needs: len(r.Needs), Seconds: watch.Since(began).Seconds(), BeforeMB: before, PeakMB: peakMB()})
}

// peakMB is the most memory that the process ever had.
func peakMB() float64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	_, after, _ := strings.Cut(string(status), "VmHWM:")
	var kB float64
	_, _ = fmt.Sscan(after, &kB)
	return kB / 1024
}

// BenchmarkRead reads 5,000 Services with 50,000 endpoints, in a process of its
// own. What that had before it began is its code, and no figure of ours.
func BenchmarkRead(b *testing.B) {
	own := apiserver.Start(b)
	client, err := kubernetes.NewForConfig(own.Admin)
	if err != nil {
		b.Fatal(err)
	}
	populate(b, client, 5000, 10)
	kubeconfig := apiserver.Kubeconfig(b, own.Admin)
	for b.Loop() {
		cmd := exec.CommandContext(b.Context(), os.Args[0], "-test.run=^$")
		cmd.Env = append(os.Environ(), readerOf+"="+kubeconfig)
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, os.Stderr
		if err := cmd.Run(); err != nil {
			b.Fatal(err)
		}
		var got reading
		if err := json.Unmarshal(out.Bytes(), &got); err != nil {
			b.Fatal(err)
		}
		if got.Needs < 5000 {
			b.Fatalf("%d needs: want one a Service at least", got.Needs)
		}
		b.ReportMetric(got.Seconds*1000, "ms/read")
		b.ReportMetric(got.PeakMB-got.BeforeMB, "MB-more")
	}
}

// populate makes Services with an address outside, and their slices.
func populate(b *testing.B, client kubernetes.Interface, services, each int) {
	b.Helper()
	for i := range services {
		name := fmt.Sprintf("s-%d", i)
		s := &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec:       corev1.ServiceSpec{ExternalIPs: []string{fmt.Sprintf("198.51.%d.%d", i/250, 1+i%250)}, Ports: []corev1.ServicePort{{Name: "http", Port: 80}}},
		}
		if _, err := client.CoreV1().Services("default").Create(b.Context(), s, metav1.CreateOptions{}); err != nil {
			b.Fatal(err)
		}
		port, portName := int32(8080), "http"
		slice := &discoveryv1.EndpointSlice{
			ObjectMeta:  metav1.ObjectMeta{Name: name + "-1", Labels: map[string]string{discoveryv1.LabelServiceName: name}},
			AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Name: &portName, Port: &port}},
		}
		for k := range each {
			n := i*each + k
			node := fmt.Sprintf("node-%d", n%500)
			slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{
				Addresses: []string{fmt.Sprintf("10.%d.%d.%d", n/62500, n/250%250, 1+n%250)}, NodeName: &node,
				TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: "default", Name: fmt.Sprintf("%s-%d", name, k)},
			})
		}
		if _, err := client.DiscoveryV1().EndpointSlices("default").Create(b.Context(), slice, metav1.CreateOptions{}); err != nil {
			b.Fatal(err)
		}
	}
}
