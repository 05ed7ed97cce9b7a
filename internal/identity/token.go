package identity

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// A join token is a bootstrap token of Kubernetes: a Secret of this type in
// this namespace, whose name begins so. The API server itself checks the
// secret half and the time.
const (
	TokenNamespace    = "kube-system"
	TokenSecretPrefix = "bootstrap-token-"
	TokenSecretType   = "bootstrap.kubernetes.io/token" //nolint:gosec // G101: a type is no secret
	// TokenGroup is the group of who shows a join token. Other bootstrap tokens,
	// such as those of kubeadm, do not have it, and may not join.
	TokenGroup = "system:bootstrappers:ringfence"
)

// tokenUser begins the user name that the API server gives who shows a token.
const tokenUser = "system:bootstrap:"

// The lengths that Kubernetes wants, of lower case letters and digits: the
// secret half has 16 of 36, which is 82 bits.
const (
	idLength     = 6
	secretLength = 16
	alphabet     = "0123456789abcdefghijklmnopqrstuvwxyz"
)

// The keys of a token's Secret. Those of ours say what it is bound to.
const (
	keyID          = "token-id"
	keySecret      = "token-secret"
	keyExpires     = "expiration"
	keyUse         = "usage-bootstrap-authentication"
	keyGroups      = "auth-extra-groups"
	keyDescription = "description"
	keyNamespace   = "ringfence-namespace"
	keyHost        = "ringfence-host"
	keyPool        = "ringfence-pool"
)

// A Token lets one host, or the hosts of one node pool, ask for a certificate.
type Token struct {
	// ID names it and is no secret: 6 lower case letters or digits. Required.
	ID string
	// Secret proves it: 16 of them. Required.
	Secret string
	// Namespace is that of the host or node pool. Required.
	Namespace string
	// HostName or PoolName is what it is bound to: exactly one of them.
	HostName, PoolName string
	// Expires is when it ends, to the second. Required: a token for ever is none.
	Expires time.Time
}

// NewToken makes up the two halves of a token.
func NewToken() Token { return Token{ID: random(idLength), Secret: random(secretLength)} }

// random takes n characters of the alphabet, each as likely as the others:
// bytes from 252 on would favour the first four.
func random(n int) string {
	const fair = 256 / len(alphabet) * len(alphabet)
	out, buf := make([]byte, 0, n), make([]byte, 1)
	for len(out) < n {
		_, _ = rand.Read(buf) // never fails: it ends the program instead
		if int(buf[0]) < fair {
			out = append(out, alphabet[int(buf[0])%len(alphabet)])
		}
	}
	return string(out)
}

// String is what is shown to the API server: both halves.
func (t Token) String() string { return t.ID + "." + t.Secret }

// SecretName is the name of the token's Secret in TokenNamespace.
func (t Token) SecretName() string { return TokenSecretPrefix + t.ID }

// User is who shows the token, as the API server sees it.
func (t Token) User() string { return tokenUser + t.ID }

// BoundTo says what the token is bound to, for people.
func (t Token) BoundTo() string {
	if t.HostName != "" {
		return "host " + t.Namespace + "/" + t.HostName
	}
	return "node pool " + t.Namespace + "/" + t.PoolName
}

// TokenID returns the ID of the token that a user has shown. It reports false
// for a user who has shown none.
func TokenID(user string) (string, bool) {
	id, ok := strings.CutPrefix(user, tokenUser)
	return id, ok && validID(id)
}

func validID(id string) bool { return regexp.MustCompile(`^[a-z0-9]{6}$`).MatchString(id) }

// Data is the content of the token's Secret.
func (t Token) Data() map[string]string {
	data := map[string]string{
		keyID: t.ID, keySecret: t.Secret,
		keyExpires: t.Expires.UTC().Format(time.RFC3339),
		keyUse:     "true", keyGroups: TokenGroup,
		keyDescription: "join token of Ringfence for " + t.BoundTo(),
		keyNamespace:   t.Namespace,
	}
	if t.HostName != "" {
		data[keyHost] = t.HostName
	} else {
		data[keyPool] = t.PoolName
	}
	return data
}

// ReadToken reads the content of a Secret. A bootstrap token that is bound to
// nothing of ours is an error, as is one that never ends.
func ReadToken(data map[string]string) (Token, error) {
	t := Token{
		ID: data[keyID], Secret: data[keySecret],
		Namespace: data[keyNamespace], HostName: data[keyHost], PoolName: data[keyPool],
	}
	var err error
	t.Expires, err = time.Parse(time.RFC3339, data[keyExpires])
	switch {
	case !validID(t.ID):
		return Token{}, fmt.Errorf("%s is %q, want %d lower case letters or digits", keyID, t.ID, idLength)
	case t.Namespace == "" || (t.HostName == "") == (t.PoolName == ""):
		return Token{}, fmt.Errorf("it is no join token: want %s and one of %s and %s", keyNamespace, keyHost, keyPool)
	case err != nil:
		return Token{}, fmt.Errorf("%s is %q, want a time such as 2030-01-31T12:00:00Z", keyExpires, data[keyExpires])
	}
	return t, nil
}

// PublicKeyHash is how a join command names a certificate authority: the
// SHA-256 of its public key, so that it outlives a renewal of the certificate.
func PublicKeyHash(authority *x509.Certificate) string {
	sum := sha256.Sum256(authority.RawSubjectPublicKeyInfo)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// errNoBinding is why a token that was not bound cannot be stored.
var errNoBinding = errors.New("a join token is bound to one host or to one node pool of a namespace: name one of them")

// Validate tells whether the token can be stored.
func (t Token) Validate() error {
	if t.Namespace == "" || (t.HostName == "") == (t.PoolName == "") {
		return errNoBinding
	}
	return nil
}
