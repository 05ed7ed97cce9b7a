package upstream

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"

	"ringfence.dev/ringfence/internal/identity"
	"ringfence.dev/ringfence/internal/statedir"
)

// What a state folder has of a host that has joined.
const (
	// planeFile says where the control plane is. It is written last.
	planeFile = "control-plane.json"
	// pairFile is the host's certificate and its key in one file, so that they
	// are replaced together.
	pairFile = "host.pem"
	// rulesetFolder has the Rulesets that the host ran last, by name.
	rulesetFolder = "rulesets"
)

// ErrNotJoined says that a state folder belongs to no control plane.
var ErrNotJoined = errors.New("this host has not joined a control plane")

// A plane is where the control plane is, and who this host is there.
type plane struct {
	// Server is its URL.
	Server string `json:"server"`
	// CA is the authority of its certificate, as PEM.
	CA []byte `json:"ca"`
	// Namespace and Name are those of this host's Host.
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
}

func (p *plane) host() identity.Host { return identity.Host{Namespace: p.Namespace, Name: p.Name} }

func loadPlane(dir statedir.Dir) (*plane, error) {
	data, err := dir.Load(planeFile)
	if err != nil {
		return nil, err
	}
	if data == nil {
		return nil, ErrNotJoined
	}
	p := &plane{}
	if err := json.Unmarshal(data, p); err != nil {
		return nil, fmt.Errorf("%s is damaged, join again: %w", dir.Path(planeFile), err)
	}
	if p.Server == "" || p.Namespace == "" || p.Name == "" || len(p.CA) == 0 {
		return nil, fmt.Errorf("%s is damaged, join again: want server, ca, namespace and name", dir.Path(planeFile))
	}
	return p, nil
}

// loadPair reads the host's certificate.
func loadPair(dir statedir.Dir) (*x509.Certificate, error) {
	data, err := dir.Load(pairFile)
	if err != nil {
		return nil, err
	}
	if data == nil {
		return nil, fmt.Errorf("%s is missing, join again", dir.Path(pairFile))
	}
	pair, err := tls.X509KeyPair(data, data)
	if err != nil {
		return nil, fmt.Errorf("%s is damaged, join again: %w", dir.Path(pairFile), err)
	}
	return pair.Leaf, nil
}

// Forget takes away what joining has left in a state folder.
func Forget(dir statedir.Dir) error { return dir.Remove(planeFile, pairFile, rulesetFolder) }
