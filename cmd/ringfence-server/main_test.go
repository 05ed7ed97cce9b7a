package main

import (
	"bytes"
	"strings"
	"testing"
)

// TestFlagsThatExclude: each mistake names both settings and the reason.
func TestFlagsThatExclude(t *testing.T) {
	for want, args := range map[string][]string{
		"data-dir is empty":                              {},
		"data-dir and kubeconfig exclude each other":     {"--data-dir", "x", "--kubeconfig", "y"},
		"etcd-servers and kubeconfig exclude each other": {"--etcd-servers", "https://192.0.2.1:2379", "--kubeconfig", "y"},
		"health-listen goes with kubeconfig":             {"--data-dir", "x", "--health-listen", "127.0.0.1:0"},
		`health-listen: "nowhere" is not ADDRESS:PORT`:   {"--kubeconfig", "y", "--health-listen", "nowhere"},
		"cannot read the kubeconfig":                     {"--kubeconfig", "/does/not/exist"},
	} {
		cmd := command()
		cmd.SetArgs(args)
		if err := cmd.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: want %q, got %v", args, want, err)
		}
	}
}

func TestManifests(t *testing.T) {
	var out bytes.Buffer
	cmd := command()
	cmd.SetArgs([]string{"manifests"})
	cmd.SetOut(&out)
	if err := cmd.ExecuteContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"name: hosts.ringfence.dev", "name: ringfence-group-in-use", "name: ringfence-host-status", "name: ringfence-editor"} {
		if !strings.Contains(out.String(), part) {
			t.Errorf("%q is missing", part)
		}
	}
}
