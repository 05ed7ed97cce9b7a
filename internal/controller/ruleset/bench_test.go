package ruleset

import (
	"fmt"
	"testing"
)

// BenchmarkDecide works through a namespace in which nothing changed, with 50
// hosts a group.
func BenchmarkDecide(b *testing.B) {
	for _, hosts := range []int{100, 1_000, 10_000} {
		b.Run(fmt.Sprintf("hosts=%d", hosts), func(b *testing.B) {
			w := scene(b)
			group, host := w.objects.SecurityGroups[0], w.objects.Hosts[0]
			for n := range hosts / 50 {
				g := group.DeepCopy()
				g.Name = fmt.Sprintf("group-%d", n)
				for len(g.Spec.Ingress) < 20 {
					g.Spec.Ingress = append(g.Spec.Ingress, g.Spec.Ingress[0])
				}
				w.objects.SecurityGroups = append(w.objects.SecurityGroups, g)
			}
			for n := range hosts {
				h := host.DeepCopy()
				h.Name, h.Spec.Addresses = fmt.Sprintf("node-%d", n), []string{fmt.Sprintf("10.%d.%d.%d", n>>16, n>>8&255, n&255)}
				h.Spec.SecurityGroupNames = []string{"web", fmt.Sprintf("group-%d", n%(hosts/50))}
				w.objects.Hosts = append(w.objects.Hosts, h)
			}
			written(w, decide(w))
			b.ReportAllocs()
			for b.Loop() {
				if p := decide(w); len(p.rollouts) > 0 {
					b.Fatal("something changed")
				}
			}
		})
	}
}
