// Package kubeapi reaches an API server by a kubeconfig, for commands: it loads
// the file, connects without typed clients (which weigh more than the commands
// themselves), and says in words what stands in the way.
package kubeapi

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Options say which API server, and where in it. The zero value means what
// kubectl would take.
type Options struct {
	// Kubeconfig is a file. Empty means those of the variable KUBECONFIG, then
	// the one in the home folder.
	Kubeconfig string
	// Context names one of the file's contexts. Empty means its current one.
	Context string
	// Namespace is where objects are. Empty means that of the context, then
	// "default".
	Namespace string
}

// A Server is an API server that can be asked. Open makes it.
type Server struct {
	// URL is where it is, as the kubeconfig has it.
	URL string
	// Namespace is where objects are.
	Namespace string

	config *rest.Config
	client dynamic.Interface
}

// Open reads a kubeconfig. It connects to nobody yet.
func Open(o Options) (*Server, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = o.Kubeconfig
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: o.Context})
	config, err := loader.ClientConfig()
	switch {
	case clientcmd.IsEmptyConfig(err):
		return nil, errors.New("cannot find an API server: name its kubeconfig with --kubeconfig, or in the variable KUBECONFIG (ringfence-server writes admin.kubeconfig into its data folder)")
	case err != nil:
		return nil, fmt.Errorf("cannot read the kubeconfig: %w", err)
	}
	s := &Server{URL: config.Host, Namespace: o.Namespace, config: config}
	if s.Namespace == "" {
		if s.Namespace, _, err = loader.Namespace(); err != nil {
			return nil, fmt.Errorf("cannot read the kubeconfig: %w", err)
		}
	}
	// Commands ask a few dozen times at most; the server meters them itself.
	config.QPS = -1
	config.UserAgent = "ringfence"
	// Commands print what the server says where it matters.
	config.WarningHandlerWithContext = silent{}
	if s.client, err = dynamic.NewForConfig(config); err != nil {
		return nil, fmt.Errorf("cannot use the kubeconfig: %w", err)
	}
	return s, nil
}

// silent drops the warnings of an API server, such as of deprecated versions.
type silent struct{}

// HandleWarningHeaderWithContext implements rest.WarningHandlerWithContext.
func (silent) HandleWarningHeaderWithContext(context.Context, int, string, string) {}

// Config returns how to connect, a copy.
func (s *Server) Config() *rest.Config { return rest.CopyConfig(s.config) }

// Objects are those of one resource in the namespace.
func (s *Server) Objects(resource schema.GroupVersionResource) dynamic.ResourceInterface {
	return s.In(resource, s.Namespace)
}

// In are those of one resource in another namespace; "" for all.
func (s *Server) In(resource schema.GroupVersionResource, namespace string) dynamic.ResourceInterface {
	return s.client.Resource(resource).Namespace(namespace)
}

// Ready reports whether the server says that it is.
func (s *Server) Ready(ctx context.Context) bool {
	client, err := rest.HTTPClientFor(s.config)
	if err != nil {
		return false
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/readyz", http.NoBody)
	if err != nil {
		return false
	}
	answer, err := client.Do(request)
	if err != nil {
		return false
	}
	defer answer.Body.Close() //nolint:errcheck // only its status counts
	return answer.StatusCode == http.StatusOK
}

// Authorities are the certificates by which the kubeconfig knows the server.
// None means that it trusts those of the system.
func (s *Server) Authorities() ([]*x509.Certificate, error) {
	config := rest.CopyConfig(s.config)
	if err := rest.LoadTLSFiles(config); err != nil {
		return nil, fmt.Errorf("cannot read the certificate authority of the kubeconfig: %w", err)
	}
	var found []*x509.Certificate
	for text := config.CAData; ; {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return found, nil
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("cannot read the certificate authority of the kubeconfig: %w", err)
		}
		found = append(found, cert)
	}
}

// Explain says what an error of a request means: whether the server is not
// there, is another one, does not know who asks, or does not let them. Others
// pass unchanged, nil too.
func (s *Server) Explain(err error) error {
	var dial *net.OpError
	var cert *tls.CertificateVerificationError
	var other *url.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &cert):
		return fmt.Errorf("%s shows a certificate that the kubeconfig does not trust: it is another server, or its certificates were made anew: %w", s.URL, cert.Err)
	case errors.As(err, &dial) && dial.Op == "dial":
		return fmt.Errorf("nobody answers at %s; does the server run there? %w", s.URL, dial)
	case errors.As(err, &other):
		return fmt.Errorf("%s does not answer as an API server: %w", s.URL, other.Err)
	case apierrors.IsUnauthorized(err):
		return fmt.Errorf("%s does not know who asks: the kubeconfig's certificate or token has expired, or is for another server", s.URL)
	case apierrors.IsForbidden(err):
		return fmt.Errorf("not allowed: %w", err)
	}
	return err
}
