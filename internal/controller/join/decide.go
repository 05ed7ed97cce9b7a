package join

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/identity"
)

// The reasons of a decision, as the request's condition has them.
const (
	reasonJoined       = "RingfenceHostJoined"
	reasonRenewed      = "RingfenceHostRenewed"
	reasonWrongForm    = "RingfenceWrongForm"
	reasonTokenGone    = "RingfenceTokenGone"
	reasonTokenExpired = "RingfenceTokenExpired"
	reasonOtherHost    = "RingfenceOtherHost"
	reasonOtherPool    = "RingfenceOtherPool"
	reasonNoHost       = "RingfenceNoHost"
	reasonNoPool       = "RingfenceNoNodePool"
	reasonHostLeaves   = "RingfenceHostLeaves"
	reasonFreshLease   = "RingfenceFreshLease"
)

// An asker is who wants a certificate: a host that has one, or who shows a join
// token. Exactly one of the two is set.
type asker struct {
	host    identity.Host
	tokenID string
}

// askerOf reads who made a request, as the API server has recorded it. It
// reports false for requests that are none of ours.
func askerOf(spec *certificatesv1.CertificateSigningRequestSpec) (asker, bool) {
	if id, ok := identity.TokenID(spec.Username); ok {
		return asker{tokenID: id}, slices.Contains(spec.Groups, identity.TokenGroup)
	}
	host, ok := identity.HostOf(spec.Username)
	return asker{host: host}, ok && slices.Contains(spec.Groups, identity.HostGroup)
}

// A world is all that a decision is made from. Nil means that there is none.
type world struct {
	asker asker
	// wanted is the host that the request names.
	wanted identity.Host
	// token is the one that was shown, and pool the node pool that it is bound to.
	token *identity.Token
	pool  *v1alpha1.NodePool
	// host and lease are those of the wanted name.
	host  *v1alpha1.Host
	lease *coordinationv1.Lease
	now   time.Time
}

// A verdict is what to do with a request.
type verdict struct {
	approved bool
	// reason and message say why. The message has no time in it.
	reason, message string
	// host is the one that gets the certificate. Nil if nobody does.
	host *v1alpha1.Host
	// create says that the host is to be made first.
	create bool
}

func denied(reason, format string, args ...any) verdict {
	return verdict{reason: reason, message: fmt.Sprintf(format, args...)}
}

// claim reads what a request asks for by itself. The error says what is wrong
// with its form, and what would be right.
func claim(spec *certificatesv1.CertificateSigningRequestSpec) (identity.Host, error) {
	if spec.SignerName != certificatesv1.KubeAPIServerClientSignerName {
		return identity.Host{}, fmt.Errorf("spec.signerName: %q, want %q", spec.SignerName, certificatesv1.KubeAPIServerClientSignerName)
	}
	if !slices.Contains(spec.Usages, certificatesv1.UsageClientAuth) {
		return identity.Host{}, fmt.Errorf("spec.usages: want %q", certificatesv1.UsageClientAuth)
	}
	for _, usage := range spec.Usages {
		if usage != certificatesv1.UsageClientAuth && usage != certificatesv1.UsageDigitalSignature && usage != certificatesv1.UsageKeyEncipherment {
			return identity.Host{}, fmt.Errorf("spec.usages: %q, want %q, and beside it at most %q and %q", usage,
				certificatesv1.UsageClientAuth, certificatesv1.UsageDigitalSignature, certificatesv1.UsageKeyEncipherment)
		}
	}
	block, _ := pem.Decode(spec.Request)
	if block == nil {
		return identity.Host{}, errors.New("spec.request: want a PEM block")
	}
	request, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return identity.Host{}, fmt.Errorf("spec.request: %w", err)
	}
	host, err := identity.Claim(request)
	if err != nil {
		return identity.Host{}, fmt.Errorf("spec.request: %w", err)
	}
	return host, nil
}

// decide says whether the asker gets the certificate of the wanted host.
func decide(w *world) verdict {
	if w.host != nil && w.host.DeletionTimestamp != nil {
		return denied(reasonHostLeaves, "host %s is being deleted", w.wanted)
	}
	if w.asker.tokenID == "" {
		return decideRenewal(w)
	}
	if refusal, ok := tokenFits(w); !ok {
		return refusal
	}
	// A name that runs is not taken over, whoever holds a token.
	if l := w.lease; l != nil && l.Spec.RenewTime != nil && l.Spec.LeaseDurationSeconds != nil &&
		identity.Fresh(l.Spec.RenewTime.Time, *l.Spec.LeaseDurationSeconds, w.now) {
		return denied(reasonFreshLease, "a host named %s runs: its Lease is fresh; stop that one and wait %d s, or give this one another name", w.wanted, identity.LeaseSeconds)
	}
	v := verdict{approved: true, reason: reasonJoined, message: "joins with a token for " + w.token.BoundTo(), host: w.host}
	if w.host == nil {
		v.create = true
		v.host = &v1alpha1.Host{
			ObjectMeta: metav1.ObjectMeta{Namespace: w.wanted.Namespace, Name: w.wanted.Name},
			Spec:       v1alpha1.HostSpec{NodePoolName: w.token.PoolName},
		}
	}
	return v
}

func decideRenewal(w *world) verdict {
	switch {
	case w.asker.host != w.wanted:
		return denied(reasonOtherHost, "asked for by host %s; a host asks for a certificate of its own name only, others join with a token", w.asker.host)
	case w.host == nil:
		return denied(reasonNoHost, "there is no Host %s any more; it has to join again", w.wanted)
	}
	return verdict{approved: true, reason: reasonRenewed, message: "renews its own certificate", host: w.host}
}

// tokenFits says whether the token is good for the wanted host. Of a token for
// a host, the Host object must exist: somebody has said what it is. A token for
// a node pool may bring new hosts, which are made with nothing but the pool's
// name, and may bring back those that the pool has already.
func tokenFits(w *world) (verdict, bool) {
	t := w.token
	switch {
	case t == nil:
		return denied(reasonTokenGone, "join token %s does not exist any more, or is bound to nothing; make another one", w.asker.tokenID), false
	case !w.now.Before(t.Expires):
		return denied(reasonTokenExpired, "join token %s has expired; make another one", t.ID), false
	case t.Namespace != w.wanted.Namespace:
		return denied(reasonOtherHost, "join token %s is for %s, in another namespace than %s", t.ID, t.BoundTo(), w.wanted), false
	case t.HostName != "" && t.HostName != w.wanted.Name:
		return denied(reasonOtherHost, "join token %s is for %s, not for %s", t.ID, t.BoundTo(), w.wanted), false
	case t.HostName != "" && w.host == nil:
		return denied(reasonNoHost, "there is no Host %s; create it first, or join with a token for a node pool", w.wanted), false
	case t.PoolName != "" && w.pool == nil:
		return denied(reasonNoPool, "join token %s is for %s, which does not exist", t.ID, t.BoundTo()), false
	case t.PoolName != "" && w.host != nil && w.host.Spec.NodePoolName != t.PoolName:
		return denied(reasonOtherPool, "join token %s is for %s, and Host %s exists with spec.nodePoolName %q; join with a token for that host", t.ID, t.BoundTo(), w.wanted, w.host.Spec.NodePoolName), false
	}
	return verdict{}, true
}
