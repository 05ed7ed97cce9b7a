package apply_test

import (
	"bufio"
	"cmp"
	"context"
	"flag"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"ringfence.dev/ringfence/internal/nft"
	"ringfence.dev/ringfence/internal/nft/apply"
	"ringfence.dev/ringfence/rules"
)

var kills = flag.Int("kill.times", 25, "how often TestKilled kills who swaps")

// swapper tells this program, started by TestKilled, to swap versions until it
// is killed.
const swapper = "RINGFENCE_TEST_SWAPPER"

// TestSwapper is the child of TestKilled.
func TestSwapper(t *testing.T) {
	if os.Getenv(swapper) == "" {
		t.Skip("only TestKilled runs it, as a process of its own")
	}
	k, err := apply.Open()
	if err != nil {
		t.Fatal(err)
	}
	st := &stand{bench: &bench{t: t}, kernel: k}
	ready()
	for i := 0; ; i++ {
		v := st.version(group(ofVersion(i)...))
		st.check(k.Build(v, []string{uplink}))
		st.check(k.Trial(v.Name, time.Hour))
		st.check(k.ConfirmTrial(v.Name))
		st.check(k.Delete(v))
	}
}

// ofVersion are the ports of one of three versions that share rules.
func ofVersion(i int) []uint16 {
	out := []uint16{22}
	for port := range uint16(100) {
		out = append(out, 1000+100*uint16(i%3)+port)
	}
	return out
}

// TestKilled kills a process that swaps versions at random points. Whatever
// moment that was, one whole version is in force, by packets and by listing, and
// so is the one that the kernel goes back to; and the next swap must leave
// exactly what was laid out.
func TestKilled(t *testing.T) {
	st := newStand(t)
	seed := uint64(7)
	random := rand.New(rand.NewPCG(seed, 7))
	last := st.version(group(ofVersion(0)...))
	st.check(st.kernel.Build(last, []string{uplink}))
	st.check(st.kernel.Confirm(last.Name))
	unfinished := 0
	for n := range *kills {
		killed(t, "^TestSwapper$", swapper, time.Duration(random.IntN(60_000))*time.Microsecond)
		state, err := st.kernel.State()
		st.check(err)
		inForce := cmp.Or(state.Trial, state.Confirmed)
		whole := false
		for i := range 3 {
			v := st.version(group(ofVersion(i)...))
			if v.Name == state.Confirmed || v.Name == state.Trial {
				if drift := st.broken(v); len(drift) > 0 {
					t.Errorf("kill %d (seed %d), %+v: version %d is not whole: %q", n, seed, state, i, drift)
				}
			}
			if v.Name != inForce {
				continue
			}
			whole = true
			first, other := 1000+100*uint16(i), 1000+100*uint16((i+1)%3)
			if got := st.passes(22, first, first+99, other); !got[0] || !got[1] || !got[2] || got[3] {
				t.Errorf("kill %d (seed %d), version %d in force: ports pass %v, want all but the last", n, seed, i, got)
			}
			if drift, err := st.kernel.Drift(v); err != nil || len(drift) > 0 {
				unfinished++
			}
		}
		if !whole {
			t.Errorf("kill %d (seed %d): %+v is none of the versions", n, seed, state)
		}
		next := st.version(group(ofVersion(n)...))
		st.check(st.kernel.Build(next, nil))
		st.check(st.kernel.Confirm(next.Name))
		st.check(st.kernel.Delete(next))
		st.wantNoDrift(next)
	}
	t.Logf("killed %d times, %d of them in the middle of a swap", *kills, unfinished)
	if unfinished == 0 {
		t.Error("no kill hit the middle of a swap: the test tries nothing")
	}
}

// broken is what a version in the kernel has other than it should, wherever
// packets are led to now.
func (st *stand) broken(v *nft.Version) []apply.Difference {
	st.t.Helper()
	return slices.DeleteFunc(st.strays(v), func(found apply.Difference) bool {
		return slices.ContainsFunc([]rules.Direction{rules.Ingress, rules.Egress}, func(d rules.Direction) bool {
			return found.Name == nft.Policy(d) || found.Name == nft.TrialMap(d)
		})
	})
}

// ready tells who waits in killed that the work begins.
func ready() { _, _ = os.Stdout.WriteString("ready\n") }

// killed runs a test of this program as a process of its own, and kills it a
// while after it was ready.
func killed(t *testing.T, test, env string, after time.Duration) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	child := exec.CommandContext(ctx, os.Args[0], "-test.run", test)
	child.Env = append(os.Environ(), env+"=1")
	out, err := child.StdoutPipe()
	if err == nil {
		err = child.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	said := bufio.NewScanner(out)
	if !said.Scan() || said.Text() != "ready" {
		t.Fatalf("%s does not come up: %s", test, said.Text())
	}
	delay := time.NewTimer(after)
	<-delay.C
	cancel()
	rest, _ := io.ReadAll(out)
	if err := child.Wait(); ctx.Err() == nil || len(rest) > 0 {
		t.Fatalf("%s ended by itself: %v\n%s", test, err, rest)
	}
}
