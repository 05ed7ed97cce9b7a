// Package identity says who is who at the door: what a host's certificate
// names, and what a join token is bound to. It has no I/O and no Kubernetes, so
// that the command that makes tokens, the controller that lets hosts in and the
// agent that asks agree.
package identity

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"strings"
	"time"
)

// HostGroup is the group of every host's certificate.
const HostGroup = "ringfence:hosts"

// hostPrefix begins a host's user name. Neither a namespace nor the name of a
// host contains a colon, so NAMESPACE:NAME after it can be told apart.
const hostPrefix = "ringfence:host:"

// A Host names a Host object. The zero value names none.
type Host struct{ Namespace, Name string }

// String is NAMESPACE/NAME, for messages.
func (h Host) String() string { return h.Namespace + "/" + h.Name }

// User is the host's user name: the common name of its certificate.
func (h Host) User() string { return hostPrefix + h.Namespace + ":" + h.Name }

// Subject is the whole subject of the host's certificate.
func (h Host) Subject() pkix.Name {
	return pkix.Name{CommonName: h.User(), Organization: []string{HostGroup}}
}

// HostOf reads a user name. It reports false for a user that is no host.
func HostOf(user string) (Host, bool) {
	rest, ok := strings.CutPrefix(user, hostPrefix)
	namespace, name, both := strings.Cut(rest, ":")
	if !ok || !both || namespace == "" || name == "" || strings.ContainsAny(name, ":/") || strings.Contains(namespace, "/") {
		return Host{}, false
	}
	return Host{namespace, name}, true
}

// Claim returns the host that a request for a certificate names. The error says
// in what it differs from a request for a host's certificate, and what was
// expected: more than its one name would make it good for something else.
func Claim(request *x509.CertificateRequest) (Host, error) {
	h, ok := HostOf(request.Subject.CommonName)
	switch {
	case !ok:
		return Host{}, fmt.Errorf("subject: the common name is %q, want %sNAMESPACE:NAME", request.Subject.CommonName, hostPrefix)
	case len(request.Subject.Organization) != 1 || request.Subject.Organization[0] != HostGroup:
		return Host{}, fmt.Errorf("subject: the organizations are %q, want only %q", request.Subject.Organization, HostGroup)
	case len(request.Subject.Names) != 2:
		return Host{}, fmt.Errorf("subject: it has %d attributes, want the common name and one organization only", len(request.Subject.Names))
	case len(request.DNSNames)+len(request.EmailAddresses)+len(request.IPAddresses)+len(request.URIs) > 0:
		return Host{}, errors.New("subject alternative names: want none, a host's certificate is for no server")
	}
	return h, nil
}

// LeaseSeconds is how long a host's Lease lasts, and so how long after its last
// sign of life a host still counts as there. No host may ask for more.
const LeaseSeconds = 60

// Fresh reports whether a host that renewed its Lease then, for so many seconds,
// still counts as there. A renewal in the future is one by a clock that runs
// ahead: the host is there. The zero time means never renewed.
func Fresh(renewed time.Time, seconds int32, now time.Time) bool {
	life := time.Duration(min(max(seconds, 0), LeaseSeconds)) * time.Second
	return !renewed.IsZero() && now.Before(renewed.Add(life))
}
