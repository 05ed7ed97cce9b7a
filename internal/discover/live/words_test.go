package live_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"

	"ringfence.dev/ringfence/internal/discover"
	"ringfence.dev/ringfence/internal/discover/live"
)

// deafHooks are what calls Services of which packets are dropped.
const (
	deafHooks = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.deaf.example}
spec:
  group: deaf.example
  names: {kind: Thing, plural: things, singular: thing, listKind: ThingList}
  scope: Cluster
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}
  - {name: v2, served: true, storage: false, schema: {openAPIV3Schema: {type: object}}}
  conversion:
    strategy: Webhook
    webhook:
      conversionReviewVersions: [v1]
      clientConfig: {service: {namespace: deaf, name: conversion, port: 8443, path: /convert}}
---
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1.deaf.api.example}
spec: {group: deaf.api.example, version: v1, groupPriorityMinimum: 1000, versionPriority: 10, insecureSkipTLSVerify: true, service: {namespace: deaf, name: api, port: 8443}}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: deaf}
webhooks:
- name: a.deaf.example
  timeoutSeconds: 1
  sideEffects: None
  admissionReviewVersions: [v1]
  rules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [configmaps]}]
  objectSelector: {matchLabels: {ear: deaf}}
  clientConfig: {service: {namespace: deaf, name: webhook, port: 8443, path: /v1/admit}}
---
`
	deafService = `
apiVersion: v1
kind: Service
metadata: {name: %[1]s, namespace: deaf}
spec: {clusterIP: %[2]s, ports: [{port: 8443}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: %[1]s-1, namespace: deaf, labels: {kubernetes.io/service-name: %[1]s}}
addressType: IPv4
ports: [{name: "", port: 8443}]
endpoints: [{addresses: [198.51.100.5]}]
---
`
)

// listenDeaf is a Service whose packets are dropped: the kernel answers no more
// connections of a listener whose queue is full.
func listenDeaf(t *testing.T, name, address string) string {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) }) // what is waiting ends with it
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrInet4{Port: 8443, Addr: netip.MustParseAddr(address).As4()}), unix.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	for { // until nobody is let in any more
		c, err := (&net.Dialer{Timeout: 200 * time.Millisecond}).DialContext(t.Context(), "tcp", net.JoinHostPort(address, "8443"))
		if err != nil {
			return fmt.Sprintf(deafService, name, address)
		}
		t.Cleanup(func() { _ = c.Close() })
	}
}

// TestWords: what a need says that the API server logs is what a real one says
// when nobody answers.
func TestWords(t *testing.T) {
	server.Load(t, listenDeaf(t, "webhook", "127.96.7.7"), listenDeaf(t, "api", "127.96.7.8"), listenDeaf(t, "conversion", "127.96.7.9"), deafHooks)
	source, err := live.Open(server.Admin)
	if err != nil {
		t.Fatal(err)
	}
	report, err := source.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	client, err := dynamic.NewForConfig(server.Admin)
	if err != nil {
		t.Fatal(err)
	}
	configMaps := client.Resource(schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}).Namespace("default")
	for name, tc := range map[string]struct {
		object string
		ask    func(context.Context) error
	}{
		"Webhook": {"ValidatingWebhookConfiguration deaf", func(ctx context.Context) error {
			_, err := configMaps.Create(ctx, object("v1", "ConfigMap", "deaf", "ear", "deaf"), metav1.CreateOptions{})
			return err
		}},
		"Conversion": {"CustomResourceDefinition things.deaf.example", func(ctx context.Context) error {
			stored, asked := things("v1"), things("v2")
			if _, err := client.Resource(stored).Create(ctx, object("deaf.example/v1", "Thing", "one", "ear", "none"), metav1.CreateOptions{}); err != nil {
				return err
			}
			_, err := client.Resource(asked).Get(ctx, "one", metav1.GetOptions{})
			return err
		}},
		"APIService": {"APIService v1.deaf.api.example", func(ctx context.Context) error {
			return unavailable(ctx, client.Resource(schema.GroupVersionResource{Group: "apiregistration.k8s.io", Version: "v1", Resource: "apiservices"}), "v1.deaf.api.example")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			logs := logsOf(report, tc.object)
			if logs == "" {
				t.Fatalf("no need because of %s says what is logged", tc.object)
			}
			// The part that no need can know: which address it was.
			pattern := regexp.MustCompile(`\\\(address of Service [a-z/]+\\\)`).ReplaceAllString(regexp.QuoteMeta(logs), `[0-9.]+`)
			// Where two clocks end at once either may be the first.
			for ends, either := range map[string]string{
				"context deadline exceeded, i/o timeout, or Client.Timeout exceeded": `.*(context deadline exceeded|i/o timeout|Client\.Timeout exceeded)`,
				"context deadline exceeded, or Client.Timeout exceeded":              `.*(context deadline exceeded|Client\.Timeout exceeded)`,
			} {
				pattern = strings.Replace(pattern, regexp.QuoteMeta(ends), either, 1)
			}
			if err := tc.ask(t.Context()); err == nil || !regexp.MustCompile(pattern).MatchString(err.Error()) {
				t.Errorf("the API server says\n%v\nand the need\n%s", err, logs)
			}
		})
	}
}

func things(version string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "deaf.example", Version: version, Resource: "things"}
}

func logsOf(r *discover.Report, object string) string {
	for i := range r.Needs {
		if n := &r.Needs[i]; n.Because.Cause().Object.String() == object {
			return n.Logs
		}
	}
	return ""
}

func object(apiVersion, kind, name, label, value string) *unstructured.Unstructured {
	o := &unstructured.Unstructured{}
	o.SetAPIVersion(apiVersion)
	o.SetKind(kind)
	o.SetName(name)
	o.SetLabels(map[string]string{label: value})
	return o
}

// unavailable waits until the API server says why it cannot reach an API, and
// returns that.
func unavailable(ctx context.Context, services dynamic.ResourceInterface, name string) error {
	var said string
	err := wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, within, true, func(ctx context.Context) (bool, error) {
		o, err := services.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		conditions, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
		for _, c := range conditions {
			if m, ok := c.(map[string]any); ok && m["type"] == "Available" && m["reason"] == "FailedDiscoveryCheck" {
				said, _ = m["message"].(string)
			}
		}
		return said != "", nil
	})
	if err != nil {
		return err
	}
	return errors.New(name + " failed with: " + said)
}
