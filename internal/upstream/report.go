package upstream

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"ringfence.dev/ringfence/api/v1alpha1"
)

// manager owns what a host says in the managed fields of its objects.
const manager = "ringfence-agent"

// A Reporter tells the control plane what this host does: the newest word of
// each kind, tried again until it is taken. It is safe for concurrent use.
type Reporter struct {
	client *Client
	// newStatus and newFlows have something when there is something to tell.
	newStatus, newFlows chan struct{}

	mu     sync.Mutex
	status *v1alpha1.HostStatus
	flows  *v1alpha1.FlowReport
	// told is the status that was taken last, stands what the control plane knows
	// of it: one that is older than this agent leaves fields out.
	told, stands *v1alpha1.HostStatus
}

// Report begins to tell, and ends with the context.
func (c *Client) Report(ctx context.Context) *Reporter {
	r := &Reporter{client: c, newStatus: make(chan struct{}, 1), newFlows: make(chan struct{}, 1)}
	ctx = quiet(ctx, c.log)
	go r.run(ctx, r.newStatus, r.tellStatus)
	go r.run(ctx, r.newFlows, r.tellFlows)
	return r
}

// Status is told if it differs from what was told last. It must not be changed
// afterwards.
func (r *Reporter) Status(s *v1alpha1.HostStatus) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.status == nil || !reflect.DeepEqual(r.status, s) {
		r.status = s
		poke(r.newStatus)
	}
}

// Seen is what the control plane has. The status is told once more if that is not
// what was told: somebody else wrote, or the plane is back from a backup.
func (r *Reporter) Seen(s *v1alpha1.HostStatus) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.told != nil && !saysAll(s, r.stands) {
		r.told = nil
		poke(r.newStatus)
	}
}

// saysAll reports whether a status is what was told, but for conditions of others.
func saysAll(has, told *v1alpha1.HostStatus) bool {
	ours := *has
	ours.Conditions = slices.DeleteFunc(slices.Clone(has.Conditions), func(c metav1.Condition) bool {
		return meta.FindStatusCondition(told.Conditions, c.Type) == nil
	})
	return equality.Semantic.DeepEqual(&ours, told)
}

// Flows is told once. A newer one takes the place of one that was not taken yet.
func (r *Reporter) Flows(f *v1alpha1.FlowReport) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.flows = f
	poke(r.newFlows)
}

// spread is how long a report may be held back, so that the hosts of one step do
// not all speak at once.
const spread = 500 * time.Millisecond

// run tells what is new. What fails is tried again later and later, and what is
// new meanwhile is told with it: a control plane that cannot take what a host says
// is not asked more often because there is more to say.
func (r *Reporter) run(ctx context.Context, news <-chan struct{}, tell func(context.Context) error) {
	backoff := firstRetry
	for {
		select {
		case <-ctx.Done():
			return
		case <-news:
		}
		r.pause(ctx, rand.N(spread)) //nolint:gosec // no secret
		for err := tell(ctx); err != nil && ctx.Err() == nil; err = tell(ctx) {
			r.client.log.Warn("cannot tell the control plane: tried again", "problem", err, "after", backoff)
			r.pause(ctx, backoff)
			backoff = min(2*backoff, lastRetry) //nolint:mnd // twice as long
		}
		backoff = firstRetry
	}
}

func (r *Reporter) pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-r.client.clock.After(d):
	}
}

func (r *Reporter) tellStatus(ctx context.Context) error {
	r.mu.Lock()
	status, told := r.status, r.told
	r.mu.Unlock()
	if status == nil || reflect.DeepEqual(status, told) {
		return nil
	}
	stands, err := r.client.putStatus(ctx, status)
	if err != nil {
		return err
	}
	r.mu.Lock()
	r.told, r.stands = status, stands
	r.mu.Unlock()
	return nil
}

func (r *Reporter) tellFlows(ctx context.Context) error {
	r.mu.Lock()
	flows := r.flows
	r.mu.Unlock()
	if flows == nil {
		return nil
	}
	if err := r.client.putFlows(ctx, flows); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.flows == flows {
		r.flows = nil
	}
	return nil
}

// putStatus applies what the host says of itself: conditions of others stay. It
// returns what the control plane has of it.
func (c *Client) putStatus(ctx context.Context, s *v1alpha1.HostStatus) (*v1alpha1.HostStatus, error) {
	taken, err := c.apply(ctx, "hosts", "status", map[string]any{
		"apiVersion": v1alpha1.APIVersion, "kind": "Host", "metadata": map[string]any{"name": c.Host.Name}, "status": s,
	})
	h := &v1alpha1.Host{}
	if err == nil {
		err = json.Unmarshal(taken, h)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot write the status of host %s: %w", c.Host, err)
	}
	return &h.Status, nil
}

func (c *Client) putFlows(ctx context.Context, f *v1alpha1.FlowReport) error {
	f = f.DeepCopy()
	f.APIVersion, f.Kind = v1alpha1.APIVersion, "FlowReport"
	f.Name, f.Namespace = c.Host.Name, c.Host.Namespace
	if _, err := c.apply(ctx, "flowreports", "", f); err != nil {
		return fmt.Errorf("cannot write the FlowReport of host %s: %w", c.Host, err)
	}
	return nil
}

const leasesPath = "/apis/coordination.k8s.io/v1/namespaces"

// A lease is a Lease, as far as a host writes it.
type lease struct {
	APIVersion string         `json:"apiVersion"`
	Kind       string         `json:"kind"`
	Metadata   map[string]any `json:"metadata"`
	Spec       leaseSpec      `json:"spec"`
}

type leaseSpec struct {
	HolderIdentity       string `json:"holderIdentity"`
	LeaseDurationSeconds int    `json:"leaseDurationSeconds"`
	RenewTime            string `json:"renewTime"`
}

// microTime is how Kubernetes writes the times of Leases.
const microTime = "2006-01-02T15:04:05.000000Z07:00"

// beat renews the host's Lease, or makes it.
func (c *Client) beat(ctx context.Context, seconds int) error {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(seconds)*time.Second/leaseTries)
	defer cancel()
	body, err := json.Marshal(&lease{
		APIVersion: "coordination.k8s.io/v1", Kind: "Lease", Metadata: map[string]any{"name": c.Host.Name},
		Spec: leaseSpec{c.Host.User(), seconds, c.clock.Now().UTC().Format(microTime)},
	})
	if err != nil {
		return err
	}
	err = c.rest.Patch(types.MergePatchType).AbsPath(leasesPath, c.Host.Namespace, "leases", c.Host.Name).Body(body).Do(ctx).Error()
	if apierrors.IsNotFound(err) {
		err = c.rest.Post().AbsPath(leasesPath, c.Host.Namespace, "leases").Body(body).Do(ctx).Error()
	}
	if err != nil {
		return fmt.Errorf("cannot renew the Lease of host %s: %w", c.Host, err)
	}
	return nil
}
