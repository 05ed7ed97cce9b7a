// Package house_test keeps the rules of the house that no linter can see,
// because they need the whole graph of imports or the whole tree of files.
package house_test

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "ringfence.dev/ringfence"

// A floor is a room with everything under it. Imports only ever point down the stairs.
type floor struct {
	room string
	// alone says that the packages under the room have floors of their own.
	alone bool
	// only lists what the room may link beyond the standard library; its tests
	// may add go-cmp, and what stands in tests. Nil leaves it to never.
	only, tests []string
	// never is what the room must not link, directly or not.
	never []ban
	// direct is what the room must not import itself. It is for the standard
	// library, where fmt alone links os and time.
	direct []ban
}

// A ban says why: one without a reason is soon lifted.
type ban struct {
	reason string
	paths  []string
}

var (
	pure = []ban{
		{"the engine does no I/O, and net/netip has the addresses", []string{"net", "os"}},
		{"the engine has no clock and no dice", []string{"time", "math/rand"}},
	}
	light = []ban{
		{"the built-in kinds weigh more than the whole command; client-go's rest, clientcmd and dynamic do without", []string{"k8s.io/client-go/kubernetes", "k8s.io/client-go/informers", "k8s.io/client-go/applyconfigurations", "k8s.io/api"}},
		{"only cmd/ringfence-server carries an API server", []string{"k8s.io/apiserver", "k8s.io/kubernetes", "go.etcd.io/etcd"}},
		{"only programs that run controllers carry their machinery", []string{"sigs.k8s.io/controller-runtime"}},
		{"only internal/provider/alibaba speaks to the cloud", []string{"github.com/aliyun", "github.com/alibabacloud-go"}},
	}
	// cloudless is what the rooms around the API server must not link. That they
	// link the API server itself is what they are for.
	cloudless = []ban{
		{"only internal/provider/alibaba speaks to the cloud", []string{"github.com/aliyun", "github.com/alibabacloud-go"}},
	}
	serverless = []ban{
		{"a controller speaks to an API server, whoever runs it", []string{"k8s.io/apiserver", "k8s.io/kubernetes", "go.etcd.io/etcd", module + "/internal/controlplane"}},
	}
	plain = []ban{
		{"the API server knows no rules: controllers are passed in", []string{module + "/rules", module + "/profiles", module + "/internal/convert", module + "/internal/judge", module + "/internal/cli"}},
	}
	bare = ban{"types carry no behaviour, nor pass ours on", []string{module + "/rules", module + "/profiles", module + "/internal"}}
)

// floors has every room of the house. A room that is not here is refused, and
// so is a line here without a room.
var floors = []floor{
	{room: "/rules/flowset", only: []string{module + "/rules/flowset"}, direct: pure},
	{room: "/rules", only: []string{module + "/rules"}, direct: pure},
	{room: "/profiles", only: []string{module + "/rules", module + "/profiles", "sigs.k8s.io/yaml", "go.yaml.in/yaml"}},
	{room: "/api/v1alpha1", never: append(slices.Clone(light), bare)},
	// Its tests ask the API server's own libraries, which no program gets from here.
	{room: "/api/crds", only: []string{module + "/api/crds"}, tests: []string{module + "/api/v1alpha1", "k8s.io", "sigs.k8s.io/yaml"}},
	{room: "/internal/convert", never: light},
	{room: "/internal/judge", never: light, direct: []ban{{"who decides does no I/O", []string{"os", "net", "io", "time"}}}},
	{room: "/internal/assign", never: light, direct: []ban{{"who decides does no I/O", []string{"os", "net", "io", "time"}}}},
	{room: "/internal/discover", alone: true, never: light, direct: []ban{{"objects in, needs out: it does no I/O", []string{"os", "io", "time", "net/http"}}, {"needs are no verdicts", []string{module + "/profiles", module + "/internal/judge"}}}},
	{room: "/internal/discover/live", never: light},
	{room: "/internal/cli", never: light},
	{room: "/internal/files", never: light},
	{room: "/internal/agent", never: light, direct: []ban{{"one room speaks to the control plane", []string{"k8s.io/client-go"}}}},
	// Its tests need no API server: those of test/fleet have a real one.
	{room: "/internal/upstream", never: light},
	// Its tests take the exempt flows from the tables that have them.
	{room: "/internal/nft", alone: true, only: []string{module + "/rules", module + "/internal/nft"}, tests: []string{module + "/profiles"}, direct: pure},
	// One outside world, the kernel's. The last two of only are what the library needs.
	{room: "/internal/nft/apply", only: []string{module + "/rules", module + "/internal/nft", "github.com/google/nftables", "github.com/mdlayher", "golang.org/x"}, tests: []string{module + "/profiles", "github.com/vishvananda"}},
	// The kernel's too; the last two of only are the library, as above.
	{room: "/internal/nft/seen", only: []string{module + "/rules", module + "/internal/nft", "github.com/mdlayher", "golang.org/x"}},
	// One outside world, the kernel's table of connections.
	{room: "/internal/conntrack", only: []string{module + "/internal/conntrack", "github.com/vishvananda", "golang.org/x"}},
	// Its tests need nothing but go-cmp: who may come in is decided without Kubernetes.
	{room: "/internal/identity", only: []string{module + "/internal/identity"}},
	{room: "/internal/kubeapi", never: slices.Concat(light, []ban{{"it brings objects; what they mean is decided elsewhere", []string{module + "/rules", module + "/profiles", module + "/internal/convert", module + "/internal/judge"}}})},
	{room: "/internal/statedir", only: []string{module + "/internal/statedir", "golang.org/x/sys"}},
	{room: "/internal/settings", only: []string{"github.com/spf13/pflag", "go.yaml.in/yaml"}},
	{room: "/internal/gather", never: slices.Concat(cloudless, serverless)},
	{room: "/internal/status", never: slices.Concat(cloudless, serverless)},
	{room: "/internal/controller", never: slices.Concat(cloudless, serverless)},
	{room: "/internal/controlplane", never: slices.Concat(cloudless, plain)},
	{room: "/internal/testenv", never: slices.Concat(cloudless, plain)},
	{room: "/hack/demo", never: slices.Concat(cloudless, serverless)},
	{room: "/test/netns", only: []string{module + "/test/netns", "github.com/vishvananda", "github.com/google/nftables", "github.com/mdlayher", "golang.org/x"}},
	{room: "/test/scale", only: []string{}, tests: []string{"golang.org/x/sync", "k8s.io", "sigs.k8s.io/controller-runtime", module + "/api", module + "/internal/convert"}},
	{room: "/test/bench", only: []string{module + "/test/bench"}, tests: []string{"github.com/google/nftables", "github.com/mdlayher", "github.com/vishvananda", "golang.org/x/sys", module + "/rules", module + "/profiles", module + "/internal/nft", module + "/test/netns"}},
	{room: "/test/truth", never: light},
	// For tests only: beside internal/controlplane nobody else has an API server.
	{room: "/test/apiserver", never: slices.Concat(cloudless, plain)},
	{room: "/test/fleet", only: []string{module + "/test/fleet"}, tests: []string{"github.com/go-logr", "k8s.io", "sigs.k8s.io/controller-runtime", "github.com/vishvananda", "golang.org/x/sys", module + "/api", module + "/internal", module + "/test/netns", module + "/test/apiserver"}},
	{room: "/cmd/ringfence", never: light},
	{room: "/cmd/ringfence-server", never: append(slices.Clone(cloudless), ban{"programs do not link what tests stand on", []string{module + "/test", module + "/internal/testenv"}})},
	{room: "/cmd/ringfence-agent", never: light},
}

var drawer = regexp.MustCompile(`/(utils?|common|helpers|misc|types|base|shared|consts)(/|$)`)

func TestFloors(t *testing.T) {
	pkgs := packages(t)
	for _, f := range floors {
		room := slices.DeleteFunc(slices.Clone(pkgs), func(p pkg) bool { return !within(p.room(), f.room) || f.alone && p.room() != f.room })
		if len(room) == 0 {
			t.Errorf("%s: a floor without a package: build the room or take the line out", f.room)
		}
		for _, p := range room {
			f.check(t, p)
		}
	}
}

func (f floor) check(t *testing.T, p pkg) {
	t.Helper()
	forTests := func(d string) bool { return within(d, "github.com/google/go-cmp") || within(d, f.tests...) }
	for _, d := range slices.Concat(p.Deps, slices.DeleteFunc(slices.Concat(p.TestImports, p.XTestImports), forTests)) {
		if beyond := strings.Contains(strings.Split(d, "/")[0], "."); beyond && f.only != nil && !within(d, f.only...) {
			t.Errorf("%s or its tests link %s: beyond the standard library it may link %v only", p.room(), d, f.only)
		}
	}
	refuse(t, p.room()+" links", p.Deps, f.never)
	refuse(t, p.room()+" imports", p.Imports, f.direct)
}

func refuse(t *testing.T, what string, deps []string, bans []ban) {
	t.Helper()
	for _, d := range deps {
		for _, b := range bans {
			if within(d, b.paths...) && d != "net/netip" {
				t.Errorf("%s %s: %s", what, d, b.reason)
			}
		}
	}
}

func TestRooms(t *testing.T) {
	for _, p := range packages(t) {
		onFloor := slices.ContainsFunc(floors, func(f floor) bool { return within(p.room(), f.room) })
		if p.room() != "" && (p.Doc == "" || !onFloor) { // "" is this file
			t.Errorf("%s: wants a package comment (has %q) and a line in floors (has one: %t)", p.room(), p.Doc, onFloor)
		}
		if drawer.MatchString(p.room()) {
			t.Errorf("%s: the name does not say what is inside", p.room())
		}
	}
}

// TestGoldens checks that the tests of a package name each folder right under
// its testdata, or read them all: a golden that no test reads proves nothing.
// What a fuzzer found counts one level down, by the name of the fuzz target.
func TestGoldens(t *testing.T) {
	texts := files(t)
	names := slices.Sorted(maps.Keys(texts))
	for _, file := range names {
		room, golden, ok := strings.Cut(file, "/testdata/")
		name, _, nested := strings.Cut(strings.TrimPrefix(golden, "fuzz/"), "/")
		if !nested {
			name = "testdata"
		}
		reads := func(test string) bool {
			isTest := path.Dir(test) == room && strings.HasSuffix(test, "_test.go")
			return isTest && (strings.Contains(texts[test], name) || strings.Contains(texts[test], "testdata/*"))
		}
		if ok && !slices.ContainsFunc(names, reads) {
			t.Errorf("%s: no test in %s names %q", file, room, name)
		}
	}
}

// TestPlaces checks that nothing here works on one machine, or through one
// package registry, only.
func TestPlaces(t *testing.T) {
	place := regexp.MustCompile(`(?m)(^|[^\w./-])/(work|root|home/\w+|Users/\w+)/|(proxy|sum)\.golang\.org|goproxy\.(cn|io)|` +
		`registry\.(npmjs\.org|npmmirror\.com|yarnpkg\.com)|pypi\.org|crates\.io|rubygems\.org`)
	for file, text := range files(t) {
		if strings.Contains(text, "\x00") {
			t.Errorf("%s is no text: what is built does not belong in the tree", file)
			continue
		}
		if m := place.FindString(text); m != "" {
			t.Errorf("%s names a place of its own: %q", file, strings.TrimSpace(m))
		}
	}
}

type pkg struct {
	ImportPath, Doc                          string
	Imports, Deps, TestImports, XTestImports []string
}

func (p pkg) room() string { return strings.TrimPrefix(p.ImportPath, module) }

func packages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json", "./...")
	cmd.Stderr = t.Output()
	out, err := cmd.Output()
	var pkgs []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); err == nil && dec.More(); {
		pkgs = append(pkgs, pkg{})
		err = dec.Decode(&pkgs[len(pkgs)-1])
	}
	if err != nil {
		t.Fatalf("cannot list the packages: %v", err)
	}
	return pkgs
}

// files returns the text of every file that we write ourselves. Reading them
// in this process also tells the test cache when to run us again.
func files(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{}
	err := filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		if d != nil && d.IsDir() && slices.Contains([]string{".git", "bin", "dist", "node_modules"}, d.Name()) {
			return filepath.SkipDir
		}
		if err != nil || !d.Type().IsRegular() || d.Name() == ".git" { // a file in a linked work tree
			return err
		}
		text, err := os.ReadFile(file)
		if !slices.Contains([]string{".test", ".out", ".prof"}, filepath.Ext(file)) { // never committed
			texts[filepath.ToSlash(file)] = string(text)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return texts
}

// within reports whether p is one of the roots, or below one.
func within(p string, roots ...string) bool {
	return slices.ContainsFunc(roots, func(r string) bool { return p == r || strings.HasPrefix(p, r+"/") })
}
