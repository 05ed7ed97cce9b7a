// Package controller runs the jobs that keep the API's objects true: each is a
// package of its own below this one, and this one lists them.
package controller

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	ctrlconfig "sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/controller/addresses"
	"ringfence.dev/ringfence/internal/controller/advice"
	"ringfence.dev/ringfence/internal/controller/cluster"
	"ringfence.dev/ringfence/internal/controller/discovery"
	"ringfence.dev/ringfence/internal/controller/group"
	"ringfence.dev/ringfence/internal/controller/join"
	"ringfence.dev/ringfence/internal/controller/ruleset"
	"ringfence.dev/ringfence/internal/gather"
)

// A job adds itself to a manager, whose cache the jobs share.
type job struct {
	name string
	add  func(manager.Manager) error
}

// jobs has them all.
func jobs() []job {
	return []job{
		{"cluster", cluster.Add},
		{"group", group.Add},
		{"advice", advice.Add},
		{"join", join.Add},
		{"addresses", addresses.Add},
		{"ruleset", ruleset.Add},
		{"discovery", discovery.Add},
	}
}

// patience is how long the API server may take to tell its kinds. One that has
// just started says now and then that it does not know.
const patience = 30 * time.Second

// discover waits until the API server tells our kinds, which the mapper then
// remembers.
func discover(ctx context.Context, mapper meta.RESTMapper) error {
	var last error
	err := wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, patience, true, func(context.Context) (bool, error) {
		for _, kind := range []string{
			v1alpha1.KindVPC, v1alpha1.KindPrefixList, v1alpha1.KindSecurityGroup, v1alpha1.KindCluster,
			v1alpha1.KindNodePool, v1alpha1.KindHost, v1alpha1.KindAddressSlice, v1alpha1.KindRuleset, v1alpha1.KindRollout, v1alpha1.KindClusterNeeds,
		} {
			if _, last = mapper.RESTMapping(v1alpha1.GroupVersion.WithKind(kind).GroupKind(), v1alpha1.Version); last != nil {
				return false, nil //nolint:nilerr // asked again
			}
		}
		return true, nil
	})
	if err != nil {
		return fmt.Errorf("cannot find the kinds of %s on the API server: %w", v1alpha1.GroupName, errors.Join(err, last))
	}
	return nil
}

// Run runs every job until the context ends. Only one replica may do so at a
// time: who calls it sees to that.
func Run(ctx context.Context, config *rest.Config, log logr.Logger) error {
	ctrl.SetLogger(log) // what the library says outside of every job
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return fmt.Errorf("cannot name the kinds: %w", err)
	}
	if err := coordinationv1.AddToScheme(scheme); err != nil {
		return fmt.Errorf("cannot name the kinds: %w", err)
	}
	if err := corev1.AddToScheme(scheme); err != nil {
		return fmt.Errorf("cannot name the kinds: %w", err)
	}
	// The server meters requests by itself; a second meter here would make a
	// rule that concerns 200 sets of groups take half a minute.
	config = rest.CopyConfig(config)
	config.QPS = -1
	twice := true // tests run several managers in one process
	m, err := ctrl.NewManager(config, manager.Options{
		Controller: ctrlconfig.Controller{SkipNameValidation: &twice},
		Scheme:     scheme,
		Cache:      cache.Options{DefaultTransform: cache.TransformStripManagedFields()},
		Logger:     log,
		Metrics:    server.Options{BindAddress: "0"}, // the API server has /metrics
	})
	if err != nil {
		return fmt.Errorf("cannot set up the controllers: %w", err)
	}
	if err := discover(ctx, m.GetRESTMapper()); err != nil {
		return err
	}
	if err := gather.Index(ctx, m.GetFieldIndexer()); err != nil {
		return err
	}
	for _, j := range jobs() {
		if err := j.add(m); err != nil {
			return fmt.Errorf("cannot set up the controller %s: %w", j.name, err)
		}
	}
	return m.Start(ctx)
}
