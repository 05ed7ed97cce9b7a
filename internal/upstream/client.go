package upstream

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/identity"
	"ringfence.dev/ringfence/internal/statedir"
)

// A Client speaks to the control plane as one host. It is safe for concurrent
// use.
type Client struct {
	// Host is who it is.
	Host identity.Host
	// Server is the control plane's URL.
	Server string

	dir     statedir.Dir
	ours    *rest.RESTClient // the objects of our group
	rest    *rest.RESTClient // others, by path
	log     *slog.Logger
	clock   clock.WithTicker
	reached reached
	// strange are the fields that the control plane does not know.
	strange strange
}

// Open reads what joining has left in a state folder. It connects to nobody yet.
// It returns an error that wraps ErrNotJoined if the host has not joined.
func Open(dir statedir.Dir, c clock.WithTicker, log *slog.Logger) (*Client, error) {
	p, err := loadPlane(dir)
	if err != nil {
		return nil, err
	}
	if _, err := loadPair(dir); err != nil {
		return nil, err
	}
	client := &Client{Host: p.host(), Server: p.Server, dir: dir, log: log, clock: c}
	config := p.config()
	// The files are read again when they change: the host renews its certificate.
	config.CertFile, config.KeyFile = dir.Path(pairFile), dir.Path(pairFile)
	config.Dial = client.reached.dial
	// One connection for all that is asked: the control plane has one for each host.
	shared, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("cannot use %s: %w", p.Server, err)
	}
	if client.rest, err = rest.UnversionedRESTClientForConfigAndClient(config, shared); err != nil {
		return nil, fmt.Errorf("cannot use %s: %w", p.Server, err)
	}
	ours := rest.CopyConfig(config)
	ours.GroupVersion = &v1alpha1.GroupVersion
	if client.ours, err = rest.RESTClientForConfigAndClient(ours, shared); err != nil {
		return nil, fmt.Errorf("cannot use %s: %w", p.Server, err)
	}
	return client, nil
}

// config connects with nothing but trust in the authority.
func (p *plane) config() *rest.Config {
	scheme := runtime.NewScheme()
	_ = v1alpha1.AddToScheme(scheme) // it has no way to fail
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	return &rest.Config{
		Host: p.Server, APIPath: "/apis", UserAgent: "ringfence-agent",
		ContentConfig:   rest.ContentConfig{NegotiatedSerializer: serializer.NewCodecFactory(scheme).WithoutConversion()},
		TLSClientConfig: rest.TLSClientConfig{CAData: p.CA},
		// A host asks seldom, and what fails is tried again later and later.
		QPS: -1,
	}
}

// dialTime is how long a connection may take to come about.
const dialTime = 10 * time.Second

// maxReached is how many addresses of the control plane are remembered: behind
// one name there may be several.
const maxReached = 8

// reached remembers where connections went: that is what the host must not lose.
type reached struct {
	mu   sync.Mutex
	list []netip.AddrPort
	here []uint16
	// named are the addresses that the server's name has; none if that is one.
	named []netip.AddrPort
}

// resolve looks the server's name up, and reports whether it has other addresses
// than before. A name that cannot be looked up has those that it had.
func (r *reached) resolve(ctx context.Context, server string) bool {
	u, err := url.Parse(server)
	if err != nil {
		return false
	}
	if _, err := netip.ParseAddr(u.Hostname()); err == nil {
		return false
	}
	port, err := strconv.ParseUint(cmp.Or(u.Port(), "443"), 10, 16)
	if err != nil {
		return false
	}
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", u.Hostname())
	if err != nil || len(found) == 0 {
		return false
	}
	var named []netip.AddrPort
	for _, a := range found[:min(maxReached, len(found))] {
		if !a.IsLoopback() {
			named = append(named, netip.AddrPortFrom(a.Unmap(), uint16(port)))
		}
	}
	slices.SortFunc(named, netip.AddrPort.Compare)
	r.mu.Lock()
	defer r.mu.Unlock()
	if slices.Equal(named, r.named) {
		return false
	}
	r.named = named
	return true
}

func (r *reached) dial(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := (&net.Dialer{Timeout: dialTime, KeepAlive: dialTime}).DialContext(ctx, network, address)
	if err == nil {
		r.note(c.LocalAddr(), c.RemoteAddr())
	}
	return c, err
}

// note remembers an end of a connection that leaves the machine; of one to an
// address of this machine, that the control plane is here, on that port. What
// goes over the loopback's own addresses may be a tunnel to anywhere.
func (r *reached) note(from, to net.Addr) {
	local, remote := addrPort(from), addrPort(to)
	if !remote.IsValid() || remote.Addr().IsLoopback() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if local.Addr() == remote.Addr() {
		if !slices.Contains(r.here, remote.Port()) {
			r.here = append(r.here, remote.Port())
		}
		return
	}
	r.list = slices.DeleteFunc(r.list, func(a netip.AddrPort) bool { return a == remote })
	r.list = append(r.list, remote)
	r.list = r.list[max(0, len(r.list)-maxReached):]
}

func addrPort(a net.Addr) netip.AddrPort {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	at := t.AddrPort()
	return netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
}

// get returns what was reached, in one order, and the ports on which the control
// plane is on this machine.
func (r *reached) get() (list []netip.AddrPort, here []uint16) {
	r.mu.Lock()
	defer r.mu.Unlock()
	list, here = slices.Concat(r.list, r.named), slices.Clone(r.here)
	slices.SortFunc(list, netip.AddrPort.Compare)
	slices.Sort(here)
	return slices.Compact(list), here
}
