package upstream

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"

	"ringfence.dev/ringfence/internal/identity"
)

const requestsPath = "/apis/certificates.k8s.io/v1/certificatesigningrequests"

// A request is a CertificateSigningRequest, as far as a host says or reads it.
type request struct {
	APIVersion string         `json:"apiVersion"`
	Kind       string         `json:"kind"`
	Metadata   requestMeta    `json:"metadata"`
	Spec       requestSpec    `json:"spec"`
	Status     requestVerdict `json:"status,omitzero"`
}

type requestMeta struct {
	Name         string `json:"name,omitempty"`
	GenerateName string `json:"generateName,omitempty"`
}

type requestSpec struct {
	Request    []byte   `json:"request"`
	SignerName string   `json:"signerName"`
	Usages     []string `json:"usages"`
}

type requestVerdict struct {
	Certificate []byte             `json:"certificate,omitempty"`
	Conditions  []requestCondition `json:"conditions,omitempty"`
}

type requestCondition struct {
	Type    string `json:"type"`
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

// errDenied says that the control plane gives no certificate.
var errDenied = errors.New("the control plane gives no certificate")

// certify asks for a certificate of a host, and waits for it until the context
// ends. It returns the certificate and its key, as PEM.
func certify(ctx context.Context, by *rest.RESTClient, host identity.Host) ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: host.Subject()}, key)
	if err != nil {
		return nil, err
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	name, err := ask(ctx, by, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
	if err != nil {
		return nil, err
	}
	certificate, err := await(ctx, by, name)
	if err != nil {
		return nil, err
	}
	pair := append(bytes.TrimSpace(certificate), '\n')
	pair = append(pair, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER})...)
	if _, err := tls.X509KeyPair(pair, pair); err != nil {
		return nil, fmt.Errorf("the control plane has sent another certificate than was asked for: %w", err)
	}
	return pair, nil
}

// ask makes the request, and returns its name.
func ask(ctx context.Context, by *rest.RESTClient, text []byte) (string, error) {
	body, err := json.Marshal(&request{
		APIVersion: "certificates.k8s.io/v1", Kind: "CertificateSigningRequest",
		Metadata: requestMeta{GenerateName: "ringfence-host-"},
		Spec:     requestSpec{Request: text, SignerName: "kubernetes.io/kube-apiserver-client", Usages: []string{"digital signature", "client auth"}},
	})
	if err != nil {
		return "", err
	}
	answer, err := by.Post().AbsPath(requestsPath).Body(body).Do(ctx).Raw()
	if err != nil {
		return "", fmt.Errorf("cannot ask for a certificate: %w", err)
	}
	var made request
	if err := json.Unmarshal(answer, &made); err != nil || made.Metadata.Name == "" {
		return "", errors.Join(errors.New("cannot ask for a certificate: the answer is none of an API server"), err)
	}
	return made.Metadata.Name, nil
}

// lookEvery is how often a host looks whether its certificate is there.
const lookEvery = 250 * time.Millisecond

// await waits for the certificate. Who has made a request may read it a moment
// later only.
func await(ctx context.Context, by *rest.RESTClient, name string) ([]byte, error) {
	var certificate []byte
	last := errors.New("nobody has decided about it yet; does the control plane run its controllers?")
	err := wait.PollUntilContextCancel(ctx, lookEvery, true, func(ctx context.Context) (bool, error) {
		answer, err := by.Get().AbsPath(requestsPath, name).Do(ctx).Raw()
		if err != nil {
			last = err
			return false, gone(err)
		}
		var r request
		if err := json.Unmarshal(answer, &r); err != nil {
			return false, err
		}
		for _, c := range r.Status.Conditions {
			if c.Type == "Denied" || c.Type == "Failed" {
				return false, fmt.Errorf("%w: %s (%s)", errDenied, c.Message, c.Reason)
			}
		}
		certificate = r.Status.Certificate
		return len(certificate) > 0, nil
	})
	if wait.Interrupted(err) {
		return nil, fmt.Errorf("no certificate came for request %s: %w", name, last)
	}
	return certificate, err
}

// gone returns an error after which looking again helps nothing.
func gone(err error) error {
	if apierrors.IsNotFound(err) || apierrors.IsUnauthorized(err) {
		return err
	}
	return nil
}
