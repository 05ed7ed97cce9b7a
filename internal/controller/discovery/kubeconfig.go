package discovery

import (
	"errors"
	"fmt"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// kubeconfigKey is where a Secret holds a kubeconfig.
const kubeconfigKey = "kubeconfig"

// A kubeconfigError says that a Secret is of no use.
type kubeconfigError struct{ why string }

func (e *kubeconfigError) Error() string { return e.why }

func isKubeconfig(err error) bool {
	var e *kubeconfigError
	return errors.As(err, &e)
}

func kubeconfigErrorf(format string, args ...any) error {
	return &kubeconfigError{fmt.Sprintf(format, args...)}
}

// parse reads a kubeconfig that somebody put into a Secret. He must not make the
// controllers run a program or read a file of theirs.
func parse(text []byte) (*rest.Config, error) {
	loaded, err := clientcmd.Load(text)
	if err != nil {
		return nil, kubeconfigErrorf("it is no kubeconfig: %v", err)
	}
	for name, u := range loaded.AuthInfos {
		switch {
		case u.Exec != nil:
			return nil, kubeconfigErrorf("user %s runs a program (exec): want a token or a certificate in the text", name)
		case u.AuthProvider != nil:
			return nil, kubeconfigErrorf("user %s has an auth-provider: want a token or a certificate in the text", name)
		case u.TokenFile != "" || u.ClientCertificate != "" || u.ClientKey != "":
			return nil, kubeconfigErrorf("user %s names a file: want its content in the text, as kubectl config view --flatten --raw prints it", name)
		}
	}
	for name, c := range loaded.Clusters {
		if c.CertificateAuthority != "" {
			return nil, kubeconfigErrorf("cluster %s names a file (certificate-authority): want its content in the text, as kubectl config view --flatten --raw prints it", name)
		}
	}
	config, err := clientcmd.NewNonInteractiveClientConfig(*loaded, loaded.CurrentContext, &clientcmd.ConfigOverrides{}, nil).ClientConfig()
	if err != nil {
		return nil, kubeconfigErrorf("it cannot be used: %v", err)
	}
	return config, nil
}
