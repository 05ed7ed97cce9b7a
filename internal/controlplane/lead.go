package controlplane

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

const (
	leaseName = "ringfence-controllers"
	// The three are Kubernetes' own: a leader that hangs is replaced after 15 s,
	// and stops itself after 10, so there are never two.
	leaseDuration = 15 * time.Second
	renewDeadline = 10 * time.Second
	retryPeriod   = 2 * time.Second
)

// errLost ends the server: a controller that another replica has taken over
// must not write once more, and a new start is the sure way to that.
var errLost = errors.New("cannot renew the lease of the controllers: another server may run them now")

// lead runs the controllers on one replica at a time. With the embedded etcd
// there is only one, and it does not wait for its own last lease to end.
func (s *Server) lead(ctx context.Context, loopback *rest.Config, store *etcd) error {
	if store.embedded != nil {
		return s.controllers(ctx, loopback)
	}
	lock, err := newLease(loopback)
	if err != nil {
		return err
	}
	return elect(ctx, lock, func(ctx context.Context) error { return s.controllers(ctx, loopback) })
}

func newLease(loopback *rest.Config) (resourcelock.Interface, error) {
	client, err := kubernetes.NewForConfig(loopback)
	if err != nil {
		return nil, err
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("cannot name this replica: %w", err)
	}
	return &resourcelock.LeaseLock{
		LeaseMeta:  metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: leaseName},
		Client:     client.CoordinationV1(),
		LockConfig: resourcelock.ResourceLockConfig{Identity: host + "_" + string(uuid.NewUUID())},
	}, nil
}

// elect waits for the lease, does the work while it holds it, and gives it back.
func elect(ctx context.Context, lock resourcelock.Interface, work func(context.Context) error) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	done := make(chan error, 1)
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: lock, Name: leaseName, ReleaseOnCancel: true,
		LeaseDuration: leaseDuration, RenewDeadline: renewDeadline, RetryPeriod: retryPeriod,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(ctx context.Context) {
				err := work(ctx)
				done <- err
				stop(err)
			},
			OnStoppedLeading: func() {},
		},
	})
	if err != nil {
		return fmt.Errorf("cannot set up the election of a leader: %w", err)
	}
	elector.Run(ctx)
	if ctx.Err() == nil {
		return errLost
	}
	select {
	case err := <-done:
		return err
	default:
		return nil // never led, or stopped while leading
	}
}

// controllers runs Kubernetes' housekeeping and ours until the context ends.
func (s *Server) controllers(ctx context.Context, loopback *rest.Config) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return housekeeping(ctx, loopback, s.certs) })
	group.Go(func() error { return runAll(ctx, s.cfg.Controllers, s.ControllersClient()) })
	return group.Wait()
}

// runAll runs controllers until the context ends or one of them fails.
func runAll(ctx context.Context, controllers []Controller, config *rest.Config) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, run := range controllers {
		group.Go(func() error { return run(ctx, config) })
	}
	return group.Wait()
}
