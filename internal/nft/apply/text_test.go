package apply_test

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ringfence.dev/ringfence/internal/nft"
)

// TestTextIsWhatTheKernelGets compares, as nft lists them, a table made by
// netlink and one that nft itself makes from the printed form; and wants nft
// to read the listing again.
func TestTextIsWhatTheKernelGets(t *testing.T) {
	program, err := exec.LookPath("nft")
	if err != nil {
		t.Skipf("needs the nft program: %v", err)
	}
	st := newOpenStand(t)
	run := func(input string, args ...string) string {
		cmd := exec.CommandContext(t.Context(), program, args...)
		cmd.Stdin = strings.NewReader(input)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("nft %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	list := func() string { return run("", "list", "table", "inet", nft.TableName) }
	for seed := range uint64(10) {
		s := newMaker(seed).scene(t)
		c, err := nft.New(nft.Input{Ruleset: s.merged, Exempt: s.world.Exempt, Observe: seed%3 == 0})
		st.check(err)
		v, err := c.Version(&s.world.Members)
		st.check(err)
		st.check(st.kernel.Build(v, []string{uplink}))
		st.check(st.kernel.Confirm(v.Name))
		made := list()
		run(made, "--check", "--file", "-")
		st.check(st.kernel.Uninstall())
		run(v.Text([]string{uplink}), "--file", "-")
		if diff := cmp.Diff(list(), made); diff != "" {
			t.Fatalf("seed %d: from the text (-), by netlink (+):\n%s", seed, diff)
		}
		st.check(st.kernel.Uninstall())
	}
}
