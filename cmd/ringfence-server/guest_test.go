package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/yaml"

	"ringfence.dev/ringfence/internal/controlplane"
	"ringfence.dev/ringfence/internal/testenv"
)

// root is a cluster administrator of an API server that is not ours, as a
// connection and as a kubeconfig.
func root(t *testing.T, theirs *testenv.Env) (config *rest.Config, file string) {
	t.Helper()
	config = theirs.Signed(t, "root", "system:masters")
	c := clientcmdapi.NewConfig()
	c.Clusters["x"] = &clientcmdapi.Cluster{Server: theirs.URL, CertificateAuthorityData: config.CAData}
	c.AuthInfos["x"] = &clientcmdapi.AuthInfo{ClientCertificateData: config.CertData, ClientKeyData: config.KeyData}
	c.Contexts["x"] = &clientcmdapi.Context{Cluster: "x", AuthInfo: "x"}
	c.CurrentContext = "x"
	file = filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*c, file); err != nil {
		t.Fatal(err)
	}
	return config, file
}

const newCluster = `
- {kind: VPC, metadata: {name: prod}, spec: {cidrBlock: 192.168.0.0/16, subnets: [{name: a, cidrBlock: 192.168.0.0/19, zone: a}]}}
- kind: Cluster
  metadata: {name: shop}
  spec:
    vpcName: prod
    network: {mode: Flannel, nodeSubnets: [a], podCIDRs: [172.20.0.0/16], serviceCIDRs: [172.21.0.0/20]}
    apiServer: {addresses: [192.168.0.200], port: 6443}
    securityGroup: {type: Basic, profile: Recommended}
`

// TestSomebodyElsesServer runs the program with --kubeconfig against an API
// server that knows nothing of ours: a cluster gets its group there, with
// rules, and the group is protected.
func TestSomebodyElsesServer(t *testing.T) {
	if testing.Short() {
		t.Skip("two processes")
	}
	theirs := testenv.Start(t, controlplane.Config{})
	config, file := root(t, theirs)
	p := &process{done: make(chan error, 1)}
	p.cmd = exec.Command(os.Args[0], "--kubeconfig", file, "--health-listen", "127.0.0.1:0")
	p.cmd.Env, p.cmd.Stderr = append(os.Environ(), asServer+"=1"), p
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.done <- p.cmd.Wait(); close(p.done) }()
	t.Cleanup(p.kill)

	var list []map[string]any
	if err := yaml.Unmarshal([]byte(newCluster), &list); err != nil {
		t.Fatal(err)
	}
	until := func(reason string, ok func(context.Context) error) {
		t.Helper()
		var last error
		err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, patience, true, func(ctx context.Context) (bool, error) {
			last = ok(ctx)
			return last == nil, nil
		})
		if err != nil {
			t.Fatalf("%s: %v\n%s", reason, last, tail(p.stderr()))
		}
	}
	for _, content := range list {
		o := &unstructured.Unstructured{Object: content}
		o.SetAPIVersion("ringfence.dev/v1alpha1")
		until("the definitions are there", func(ctx context.Context) error {
			_, err := objects(config).Resource(ringfence(strings.ToLower(o.GetKind())+"s")).Namespace("default").Create(ctx, o, metav1.CreateOptions{})
			if apierrors.IsAlreadyExists(err) {
				return nil
			}
			return err
		})
	}
	groups := objects(config).Resource(ringfence("securitygroups")).Namespace("default")
	until("the cluster's group has rules and is protected", func(ctx context.Context) error {
		group, err := groups.Get(ctx, "shop", metav1.GetOptions{})
		if err != nil {
			return err
		}
		rules, _, err := unstructured.NestedSlice(group.Object, "status", "systemIngress")
		protected, _, _ := unstructured.NestedBool(group.Object, "status", "protected")
		if err == nil && (len(rules) == 0 || !protected) {
			return apierrors.NewTooManyRequests("not yet", 1)
		}
		return err
	})
	if err := groups.Delete(t.Context(), "shop", metav1.DeleteOptions{}); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "in use by cluster shop") {
		t.Errorf("even its cluster administrator does not delete the group: %v", err)
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := <-p.done; err != nil {
		t.Errorf("a stop that was asked for: %v\n%s", err, tail(p.stderr()))
	}
}
