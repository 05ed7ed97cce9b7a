package apply_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"ringfence.dev/ringfence/internal/nft/apply"
)

// loadSwapper tells this program, started by TestKilledUnderLoad, to swap and to
// change members until it is killed.
const loadSwapper = "RINGFENCE_TEST_LOAD_SWAPPER"

// TestLoadSwapper is the child of TestKilledUnderLoad.
func TestLoadSwapper(t *testing.T) {
	if os.Getenv(loadSwapper) == "" {
		t.Skip("only TestKilledUnderLoad runs it, as a process of its own")
	}
	k, err := apply.Open()
	if err != nil {
		t.Fatal(err)
	}
	l := &load{traffic: &traffic{st: &stand{bench: &bench{t: t}, kernel: k}}, members: loadMembers()}
	l.compile(0)
	// The one before may have been killed with whichever members.
	for _, c := range l.versions {
		v, err := c.Version(l.members.membership())
		l.st.check(err)
		l.swap(v)
	}
	l.now = 1
	ready()
	for {
		l.change(1, l.swap)
	}
}

// TestKilledUnderLoad kills, at random points, a process that swaps and changes
// members while new flows come, thousands a second. Those that both versions
// accept must all pass, those that both drop must all be dropped, before the
// kill and after.
func TestKilledUnderLoad(t *testing.T) {
	l := newLoad(t, 0)
	const seed = 5
	random := rand.New(rand.NewPCG(seed, 7))
	l.start()
	for range *kills {
		killed(t, "^TestLoadSwapper$", loadSwapper, time.Duration(random.IntN(60_000))*time.Microsecond)
	}
	l.wantNoneWrong(fmt.Sprintf("killed %d times (seed %d)", *kills, seed))
}
