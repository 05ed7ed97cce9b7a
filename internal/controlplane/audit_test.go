package controlplane_test

import (
	"bufio"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"

	"ringfence.dev/ringfence/internal/controlplane"
	"ringfence.dev/ringfence/internal/testenv"
)

// TestAudit: who wrote what, and nothing of what it says.
func TestAudit(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "audit.log")
	audited := testenv.Start(t, controlplane.Config{AuditLog: file})
	c := client(t, audited.Admin).CoreV1()
	const hidden = "correct-horse-battery"
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "door"}, StringData: map[string]string{"key": hidden}}
	if _, err := c.Secrets("default").Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Secrets("default").Get(t.Context(), "door", metav1.GetOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := c.Secrets("default").Delete(t.Context(), "door", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	within(t, "both writes are in the log, with user and object", func(context.Context) (bool, error) {
		text, err := os.ReadFile(file)
		if err != nil || strings.Contains(string(text), hidden) {
			t.Fatalf("the log is not there, or has what a secret says: %v", err)
		}
		var verbs []string
		for lines := bufio.NewScanner(strings.NewReader(string(text))); lines.Scan(); {
			var event auditv1.Event
			if err := json.Unmarshal(lines.Bytes(), &event); err != nil {
				return false, nil //nolint:nilerr // the last line is being written
			}
			if o := event.ObjectRef; o != nil && o.Resource == "secrets" && o.Namespace == "default" && o.Name == "door" && event.User.Username == "ringfence:admin" {
				verbs = append(verbs, event.Verb)
			}
		}
		return strings.Join(verbs, " ") == "create delete", nil
	})
}
