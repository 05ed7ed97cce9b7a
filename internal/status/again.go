package status

import (
	"context"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// again is how long to wait after somebody else was faster, until the cache has
// seen it too.
const again = 100 * time.Millisecond

// Result is what a reconciler returns for an error. That somebody else was
// faster, or that the controllers are stopping, is none: it comes again without
// a word.
func Result(ctx context.Context, err error) (reconcile.Result, error) {
	switch {
	case ctx.Err() != nil:
		err = nil
	case apierrors.IsConflict(err), apierrors.IsNotFound(err), apierrors.IsAlreadyExists(err):
		return reconcile.Result{RequeueAfter: again}, nil
	}
	return reconcile.Result{}, err
}
