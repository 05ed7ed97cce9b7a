package nft_test

import (
	"flag"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ringfence.dev/ringfence/internal/nft"
	"ringfence.dev/ringfence/profiles"
	"ringfence.dev/ringfence/rules"
)

var update = flag.Bool("update", false, "rewrite the goldens")

func accept(priority uint8, p rules.Protocol, ports, peer string) rules.Rule {
	return rule(rules.Accept, priority, p, ports, rules.MustCIDR(peer))
}

func drop(priority uint8, p rules.Protocol, ports, peer string) rules.Rule {
	return rule(rules.Drop, priority, p, ports, rules.MustCIDR(peer))
}

func rule(a rules.Action, priority uint8, p rules.Protocol, ports string, peer rules.Peer) rules.Rule {
	r, err := rules.ParsePortRange(ports)
	if err != nil {
		panic(err)
	}
	return rules.Rule{Action: a, Priority: priority, Protocol: p, Ports: r, Peer: peer}
}

func fromGroup(priority uint8, p rules.Protocol, ports, group string) rules.Rule {
	return rule(rules.Accept, priority, p, ports, rules.GroupPeer{Name: group})
}

// A scenario is a host's groups, and who is in the groups that they name.
type scenario struct {
	groups  []*rules.Group
	members map[string][]string
	observe bool
	exempt  bool
}

func (s *scenario) input(t *testing.T) (nft.Input, *rules.Membership) {
	t.Helper()
	in := nft.Input{Observe: s.observe}
	for _, g := range s.groups {
		for i := range g.Egress {
			g.Egress[i].Direction = rules.Egress
		}
		if err := g.Validate(); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	if in.Ruleset, err = rules.Merge(s.groups, nil); err != nil {
		t.Fatal(err)
	}
	if s.exempt {
		tables, err := profiles.Load()
		if err != nil {
			t.Fatal(err)
		}
		in.Exempt = tables.Exempt()
	}
	members := &rules.Membership{}
	for g, list := range s.members {
		var prefixes []netip.Prefix
		for _, a := range list {
			prefixes = append(prefixes, rules.MustCIDR(a).Prefix)
		}
		members.Set(g, prefixes)
	}
	return in, members
}

func (s *scenario) version(t *testing.T) *nft.Version {
	t.Helper()
	in, members := s.input(t)
	c, err := nft.New(in)
	if err != nil {
		t.Fatal(err)
	}
	v, err := c.Version(members)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func scenarios() map[string]*scenario {
	return map[string]*scenario{
		"drop-all": {groups: []*rules.Group{{Name: "closed", Type: rules.Advanced}}},
		"members": {
			groups: []*rules.Group{{
				Name: "web", InnerAccess: true,
				Ingress: []rules.Rule{fromGroup(1, rules.TCP, "5432/5432", "db"), accept(1, rules.TCP, "443/443", "0.0.0.0/0"), accept(2, rules.ICMP, "-1/-1", "10.0.0.0/8"), accept(2, rules.GRE, "-1/-1", "10.1.0.0/16")},
				Egress:  []rules.Rule{drop(100, rules.AllProtocols, "-1/-1", "203.0.113.0/24"), drop(100, rules.AllProtocols, "-1/-1", "2001:db8::/32")},
			}},
			members: map[string][]string{"web": {"10.0.0.1", "10.0.0.2", "2001:db8::1"}, "db": {"10.0.0.2", "10.0.0.3", "192.0.2.9"}},
			exempt:  true,
		},
		"five-tuple": {
			groups: []*rules.Group{{
				Name: "narrow", Type: rules.Advanced,
				Ingress: []rules.Rule{func() rules.Rule {
					r := accept(1, rules.TCP, "80/89", "10.0.0.0/8")
					r.Member, r.SourcePorts = netip.MustParsePrefix("10.9.0.0/16"), rules.PortRange{First: 1024, Last: 65535}
					return r
				}()},
			}},
		},
		"observe": {
			groups:  []*rules.Group{{Name: "seen", Type: rules.Advanced, Ingress: []rules.Rule{drop(1, rules.UDP, "53/53", "::/0"), accept(2, rules.UDP, "1/65535", "::/0")}}},
			observe: true,
		},
	}
}

func TestGoldens(t *testing.T) {
	for name, s := range scenarios() {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join("testdata", name+".nft")
			got := s.version(t).Text([]string{"eth0", "eth1"})
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("the table changed (-want +got); if it should, run with -update:\n%s", diff)
			}
			again := s.version(t).Text([]string{"eth0", "eth1"})
			if got != again {
				t.Error("the same input gave another table: the order is not stable")
			}
		})
	}
}

// TestGoldensAreNft checks that the nft program reads the goldens.
func TestGoldensAreNft(t *testing.T) {
	program, err := exec.LookPath("nft")
	if err != nil || os.Getuid() != 0 {
		t.Skipf("needs root and the nft program (user %d, %v)", os.Getuid(), err)
	}
	files, _ := filepath.Glob("testdata/*.nft")
	if len(files) == 0 {
		t.Fatal("no goldens")
	}
	for _, file := range files {
		out, err := exec.CommandContext(t.Context(), program, "--check", "--file", file).CombinedOutput()
		if err != nil {
			t.Errorf("nft refuses %s: %v\n%s", file, err, out[:min(len(out), 2000)])
		}
	}
	bad := filepath.Join(t.TempDir(), "bad.nft")
	text, _ := os.ReadFile(files[0])
	if err := os.WriteFile(bad, []byte(strings.Replace(string(text), "meta nfproto", "meta nfprotos", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if exec.CommandContext(t.Context(), program, "--check", "--file", bad).Run() == nil {
		t.Error("nft --check accepts nonsense: the check above proves nothing")
	}
}
