package upstream

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
)

// listed notes how the control plane answers. After it was away it is listed
// anew, not watched from where the last watch ended: it may have come back from
// a backup, with versions that are older, and would not tell of what is between.
func (f *Feed) listed(lw *cache.ListWatch) *cache.ListWatch {
	list, watched := lw.ListWithContextFunc, lw.WatchFuncWithContext
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			out, err := list(ctx, o)
			f.answered(ctx, err)
			return out, err
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			out, err := watched(ctx, o)
			f.answered(ctx, err)
			if net.IsConnectionRefused(err) {
				// Otherwise the reflector would go on watching.
				err = fmt.Errorf("%s is away: %s", f.client.Server, err.Error())
			}
			return out, err
		},
		DisableChunking: lw.DisableChunking,
	}
}

// answered notes how a question went. That versions are too old is an answer.
func (f *Feed) answered(ctx context.Context, err error) {
	if ctx.Err() != nil || apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	before := f.failed
	f.failed = f.meaning(err)
	if text(before) != text(f.failed) {
		f.event()
	}
}

// meaning is what an error says to people.
func (f *Feed) meaning(err error) error {
	switch {
	case err == nil:
		return nil
	case apierrors.IsForbidden(err):
		return fmt.Errorf("%s lets host %s read nothing: is there a Host of that name (it joins again after that)? %w", f.client.Server, f.client.Host, err)
	case apierrors.IsUnauthorized(err):
		return fmt.Errorf("%s does not know this host's certificate: join again: %w", f.client.Server, err)
	}
	return fmt.Errorf("%s does not answer: %w", f.client.Server, err)
}

// quiet sends what Kubernetes' libraries say to a log, for who looks for it only:
// what matters of it the agent says itself, once.
func quiet(ctx context.Context, log *slog.Logger) context.Context {
	return logr.NewContext(ctx, logr.FromSlogHandler(whisper{log.Handler()}))
}

// whisper is a handler to which everything is of the level debug.
type whisper struct{ slog.Handler }

// Enabled implements slog.Handler.
func (w whisper) Enabled(ctx context.Context, _ slog.Level) bool {
	return w.Handler.Enabled(ctx, slog.LevelDebug)
}

// Handle implements slog.Handler.
func (w whisper) Handle(ctx context.Context, r slog.Record) error {
	if !w.Enabled(ctx, r.Level) { // errors come without being asked
		return nil
	}
	r.Level = min(r.Level, slog.LevelDebug)
	return w.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (w whisper) WithAttrs(a []slog.Attr) slog.Handler { return whisper{w.Handler.WithAttrs(a)} }

// WithGroup implements slog.Handler.
func (w whisper) WithGroup(name string) slog.Handler { return whisper{w.Handler.WithGroup(name)} }
