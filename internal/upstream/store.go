package upstream

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"k8s.io/client-go/tools/cache"

	"ringfence.dev/ringfence/api/v1alpha1"
)

// A keeper keeps what is listed and watched of one kind. Its methods are called
// one at a time.
type keeper interface {
	put(object any) error
	drop(object any) error
	// replace says that the list is all there is.
	replace(list []any) error
}

// locked makes a keeper a store of client-go.
type locked struct {
	mu *sync.Mutex
	keeper
}

var _ cache.ReflectorStore = (*locked)(nil)

// Add implements cache.ReflectorStore.
func (l *locked) Add(object any) error { return l.do(func() error { return l.put(object) }) }

// Update implements cache.ReflectorStore.
func (l *locked) Update(object any) error { return l.do(func() error { return l.put(object) }) }

// Delete implements cache.ReflectorStore.
func (l *locked) Delete(object any) error { return l.do(func() error { return l.drop(object) }) }

// Replace implements cache.ReflectorStore.
func (l *locked) Replace(list []any, _ string) error {
	return l.do(func() error { return l.replace(list) })
}

// Resync implements cache.ReflectorStore: nothing is ever out of step.
func (*locked) Resync() error { return nil }

func (l *locked) do(f func() error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return f()
}

// errKind says that an object is of another kind than was asked for.
var errKind = errors.New("an object of another kind")

// one keeps a single object; nil if it is known that there is none.
type one[T any] struct {
	known   bool
	object  *T
	changed func()
}

func (o *one[T]) put(object any) error {
	got, ok := object.(*T)
	if !ok {
		return fmt.Errorf("%w: %T", errKind, object)
	}
	o.object = got
	o.changed()
	return nil
}

func (o *one[T]) drop(any) error {
	o.object = nil
	o.changed()
	return nil
}

func (o *one[T]) replace(list []any) error {
	o.known, o.object = true, nil
	o.changed()
	if len(list) == 0 {
		return nil
	}
	return o.put(list[0])
}

// A nameable is an object with a name.
type nameable interface{ GetName() string }

// many keeps objects by their names.
type many[T any] struct {
	known   bool
	objects map[string]*T
	changed func()
}

func (m *many[T]) put(object any) error {
	got, ok := object.(*T)
	if !ok {
		return fmt.Errorf("%w: %T", errKind, object)
	}
	n, ok := object.(nameable)
	if !ok {
		return fmt.Errorf("%w: %T", errKind, object)
	}
	if m.objects == nil {
		m.objects = map[string]*T{}
	}
	m.objects[n.GetName()] = got
	m.changed()
	return nil
}

func (m *many[T]) drop(object any) error {
	if n, ok := object.(nameable); ok {
		delete(m.objects, n.GetName())
	}
	m.changed()
	return nil
}

func (m *many[T]) replace(list []any) error {
	m.known, m.objects = true, map[string]*T{}
	m.changed()
	for _, o := range list {
		if err := m.put(o); err != nil {
			return err
		}
	}
	return nil
}

// A group keeps the addresses of a group's members, and nothing else of its
// slices: there may be 65,000.
type group struct {
	stop    context.CancelFunc
	known   bool
	slices  map[string]addresses
	changed func()
	// sorted is all of them; nil if that is not worked out.
	sorted []netip.Addr
}

// addresses are those of one slice, or why they cannot be read.
type addresses struct {
	list []netip.Addr
	err  error
}

func (g *group) put(object any) error {
	s, ok := object.(*v1alpha1.AddressSlice)
	if !ok {
		return fmt.Errorf("%w: %T", errKind, object)
	}
	if g.slices == nil {
		g.slices = map[string]addresses{}
	}
	g.slices[s.Name] = read(s)
	g.sorted = nil
	g.changed()
	return nil
}

func (g *group) drop(object any) error {
	if n, ok := object.(nameable); ok {
		delete(g.slices, n.GetName())
	}
	g.sorted = nil
	g.changed()
	return nil
}

func (g *group) replace(list []any) error {
	g.known, g.slices, g.sorted = true, map[string]addresses{}, nil
	g.changed()
	for _, o := range list {
		if err := g.put(o); err != nil {
			return err
		}
	}
	return nil
}

func read(s *v1alpha1.AddressSlice) addresses {
	out := make([]netip.Addr, 0, len(s.Spec.Members))
	for i := range s.Spec.Members {
		a, err := netip.ParseAddr(s.Spec.Members[i].Address)
		if err != nil {
			return addresses{err: fmt.Errorf("AddressSlice %s: member %d: %w", s.Name, i, err)}
		}
		out = append(out, a)
	}
	return addresses{list: out}
}

// errUnread says that nothing was heard of a group yet.
var errUnread = errors.New("not read yet")

// members returns the addresses, sorted. They must not be changed. One slice
// that cannot be read makes all of them unknown.
func (g *group) members() ([]netip.Addr, error) {
	if !g.known {
		return nil, errUnread
	}
	if g.sorted != nil {
		return g.sorted, nil
	}
	n := 0
	for _, s := range g.slices {
		if s.err != nil {
			return nil, s.err
		}
		n += len(s.list)
	}
	all := make([]netip.Addr, 0, n)
	for _, s := range g.slices {
		all = append(all, s.list...)
	}
	slices.SortFunc(all, netip.Addr.Compare)
	g.sorted = slices.Compact(all)
	return g.sorted, nil
}
