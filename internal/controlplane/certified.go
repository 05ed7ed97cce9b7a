package controlplane

import (
	"crypto/sha256"
	"net/http"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/cache"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/utils/clock"
)

const (
	// certifiedFor is how long it is remembered whose a certificate is: three times
	// as long as a host waits between two signs of life, and no longer than
	// Kubernetes takes to notice that the file of the authority changed.
	certifiedFor = time.Minute
	// maxCertified is for how many certificates, some 500 bytes each: twice as many
	// as there may be hosts. Beyond it, whoever was not heard of for longest is
	// verified anew.
	maxCertified = 20_000
)

// A certified remembers for a minute whose a client certificate is. Verifying its
// signature is a good third of what the API server does for a small request, and a
// host shows the same one with each.
//
// It remembers nothing of who is refused, and does not know requests that say who
// sends them in any other way too. That the sender has the key is TLS's to see to,
// for each connection.
type certified struct {
	next  authenticator.Request
	clock clock.PassiveClock
	known *cache.LRUExpireCache // of *authenticator.Response, by the hash of the chain
}

func newCertified(next authenticator.Request, now clock.PassiveClock) *certified {
	return &certified{next: next, clock: now, known: cache.NewLRUExpireCacheWithClock(maxCertified, now)}
}

// AuthenticateRequest implements authenticator.Request.
func (c *certified) AuthenticateRequest(r *http.Request) (*authenticator.Response, bool, error) {
	if !onlyCertified(r) {
		return c.next.AuthenticateRequest(r)
	}
	hash := sha256.New()
	for _, each := range r.TLS.PeerCertificates {
		hash.Write(each.Raw)
	}
	key := [sha256.Size]byte(hash.Sum(nil))
	if found, ok := c.known.Get(key); ok {
		if who, ok := found.(*authenticator.Response); ok {
			return who, true, nil
		}
	}
	who, ok, err := c.next.AuthenticateRequest(r)
	if ok && err == nil {
		rest := r.TLS.PeerCertificates[0].NotAfter.Sub(c.clock.Now())
		c.known.Add(key, who, min(certifiedFor, rest))
	}
	return who, ok, err
}

// onlyCertified reports whether nothing but a certificate says who sends a request.
func onlyCertified(r *http.Request) bool {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return false
	}
	for name := range r.Header {
		// Tokens, those of websockets, and what a proxy says.
		if name == "Authorization" || name == "Sec-Websocket-Protocol" || strings.HasPrefix(name, "X-Remote-") {
			return false
		}
	}
	return true
}
