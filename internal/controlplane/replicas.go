package controlplane

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// authorityName is a ConfigMap in kube-system that says by which keys the
// servers on one etcd know each other's clients.
const authorityName = "ringfence-authority"

// sameAuthority compares the keys of this replica with those of the one that
// was there first, and writes them down if it is the first. Replicas whose keys
// differ would each refuse whom the other has let in, now one and now the
// other. It is tried again until there is an answer.
func (s *Server) sameAuthority(ctx context.Context, loopback *rest.Config) (different bool, err error) {
	client, err := kubernetes.NewForConfig(loopback)
	if err != nil {
		return false, err
	}
	maps := client.CoreV1().ConfigMaps(metav1.NamespaceSystem)
	want := map[string]string{"ca": fingerprint(s.certs.ca), "sa": fingerprint(s.certs.serviceAccounts)}
	have, err := maps.Get(ctx, authorityName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		content := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: authorityName}, Data: want}
		have, err = maps.Create(ctx, content, metav1.CreateOptions{})
	}
	if err != nil {
		return false, fmt.Errorf("cannot compare the keys with those of other replicas: %w", err)
	}
	for file, ours := range want {
		if theirs := have.Data[file]; theirs != ours {
			return true, fmt.Errorf("pki/%s.crt of this server is not that of the others on this etcd (ConfigMap kube-system/%s): stop it, copy pki/ca.* and pki/sa.* from one of them, and start it again", file, authorityName)
		}
	}
	return false, nil
}

// fingerprint names a public key.
func fingerprint(p pair) string {
	sum := sha256.Sum256(p.cert.RawSubjectPublicKeyInfo)
	return hex.EncodeToString(sum[:])
}
