package controlplane

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

const (
	// A lone member only ever elects itself, so it need not wait a second for
	// others to object. etcd wants five ticks or more in an election.
	tickMs     = 20
	electionMs = 5 * tickMs
	// etcdStart is far beyond a start on a slow disk; replaying a full log of
	// 10,000 entries takes about a second.
	etcdStart = time.Minute
	// quota is what etcd holds before it refuses writes: its authors test up to
	// 8 GiB, and its default of 2 is a third of what 10,000 hosts may need.
	quota = 8 << 30
)

// etcd is where the API server keeps its objects.
type etcd struct {
	servers                   []string
	caFile, certFile, keyFile string
	// embedded is nil for an external one.
	embedded *embed.Etcd
}

// startEtcd starts the embedded etcd, or names the external one.
func startEtcd(ctx context.Context, cfg *Config, certs *pki) (*etcd, error) {
	if len(cfg.EtcdServers) > 0 {
		return &etcd{servers: cfg.EtcdServers, caFile: cfg.EtcdCAFile, certFile: cfg.EtcdCertFile, keyFile: cfg.EtcdKeyFile}, nil
	}
	member, err := embed.StartEtcd(embeddedConfig(filepath.Join(cfg.DataDir, "etcd"), certs))
	if err != nil {
		return nil, fmt.Errorf("cannot start the embedded etcd: %w", err)
	}
	e := &etcd{
		servers:  []string{"https://" + member.Clients[0].Addr().String()},
		caFile:   certs.etcdCA.certFile,
		certFile: certs.etcdClient.certFile,
		keyFile:  certs.etcdClient.keyFile,
		embedded: member,
	}
	ctx, cancel := context.WithTimeout(ctx, etcdStart)
	defer cancel()
	select {
	case <-member.Server.ReadyNotify():
		return e, nil
	case err = <-member.Err():
	case <-ctx.Done():
		err = ctx.Err()
	}
	e.close()
	return nil, fmt.Errorf("cannot start the embedded etcd: %w", err)
}

// embeddedConfig is one member that listens for clients with a certificate on
// loopback, on a port of the kernel's choice, and for no peers.
func embeddedConfig(dir string, certs *pki) *embed.Config {
	local := url.URL{Scheme: "https", Host: "127.0.0.1:0"}
	c := embed.NewConfig()
	c.Name, c.Dir = "ringfence", dir
	c.InitialCluster = c.InitialClusterFromName(c.Name)
	c.ListenPeerUrls = nil
	c.ListenClientUrls, c.AdvertiseClientUrls = []url.URL{local}, []url.URL{local}
	c.ClientTLSInfo = transport.TLSInfo{
		CertFile: certs.etcdServer.certFile, KeyFile: certs.etcdServer.keyFile,
		TrustedCAFile: certs.etcdCA.certFile, ClientCertAuth: true,
	}
	c.TickMs, c.ElectionMs = tickMs, electionMs
	c.QuotaBackendBytes = quota
	// The gateway speaks HTTP to the address above, whose port is not known yet.
	c.EnableGRPCGateway = false
	// It calls a first start and its own closed listener errors. What ends it, a
	// full disk for one, it says above that level; what does not, the API server
	// says.
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.New(zapcore.NewCore(
		zapcore.NewConsoleEncoder(zap.NewProductionEncoderConfig()), zapcore.Lock(os.Stderr), zap.DPanicLevel),
		zap.WithFatalHook(lastWords{dir, os.Stderr})))
	return c
}

// lastWords is what is said when etcd cannot go on, such as on a full disk: it
// ends the process then, since it must not acknowledge what it cannot keep.
type lastWords struct {
	dir string
	to  io.Writer
}

// OnWrite implements zapcore.CheckWriteHook.
func (l lastWords) OnWrite(entry *zapcore.CheckedEntry, fields []zapcore.Field) {
	_, _ = fmt.Fprintln(l.to, "ringfence-server:", l.say(entry.Message, fields))
	os.Exit(1) //nolint:revive // deep-exit: zap calls this instead of exiting itself
}

func (l lastWords) say(message string, fields []zapcore.Field) string {
	words := []string{"the embedded etcd in " + l.dir + " cannot go on", message}
	for _, f := range fields {
		err, ok := f.Interface.(error)
		if !ok {
			continue
		}
		words = append(words, err.Error())
		if errors.Is(err, syscall.ENOSPC) {
			words = append(words, "the disk is full; make room and start the server again, nothing that it has acknowledged is lost")
		}
	}
	return strings.Join(words, ": ")
}

// wait returns when the embedded etcd has failed or the context has ended.
func (e *etcd) wait(ctx context.Context) error {
	if e.embedded == nil {
		<-ctx.Done()
		return nil
	}
	select {
	case err := <-e.embedded.Err():
		return fmt.Errorf("the embedded etcd failed: %w", err)
	case <-e.embedded.Server.StopNotify():
		return errors.New("the embedded etcd stopped by itself")
	case <-ctx.Done():
		return nil
	}
}

func (e *etcd) close() {
	if e.embedded != nil {
		e.embedded.Close()
	}
}
