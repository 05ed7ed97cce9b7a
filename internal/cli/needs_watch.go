package cli

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/go-json-experiment/json"

	"ringfence.dev/ringfence/internal/discover"
	source "ringfence.dev/ringfence/internal/discover/live"
	"ringfence.dev/ringfence/internal/kubeapi"
)

// open prepares to read from the cluster of the kubeconfig.
func (cmd *needsCommand) open() (*kubeapi.Server, *source.Source, error) {
	server, err := kubeapi.Open(cmd.live.options)
	if err != nil {
		return nil, nil, fmt.Errorf("%w; or name files of cluster objects with -f", err)
	}
	from, err := source.Open(server.Config())
	return server, from, err
}

// follow prints what the cluster needs, and then what changes, until it is
// interrupted.
func (cmd *needsCommand) follow(ctx context.Context) error {
	server, from, err := cmd.open()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	first := true
	var printing error
	err = from.Follow(ctx, func(r *discover.Report) {
		switch {
		case printing != nil:
		case cmd.format == "table" && first:
			printing = cmd.tell(r)
		default:
			printing = cmd.tellLines(&r.Changes)
		}
		if first = false; printing != nil {
			cancel()
		}
	})
	if err != nil && ctx.Err() == nil {
		return server.Explain(err)
	}
	return printing
}

// A jsonChange is one line of --watch -o json. Its names are a contract.
type jsonChange struct {
	// Change is "came", "went" or "changed".
	Change string `json:"change"`
	// One of the three is set: what is so now, or was last if it went.
	Need    *jsonNeed        `json:"need,omitempty"`
	Unknown *jsonUnknown     `json:"unknown,omitempty"`
	Party   *jsonPartyPlaces `json:"party,omitempty"`
}

// changed returns what happened to a thing, and what it is, or was.
func changed[T any](c discover.Change[T]) (string, *T) {
	switch {
	case c.Before == nil:
		return "came", c.After
	case c.After == nil:
		return "went", c.Before
	}
	return "changed", c.After
}

// tellLines writes a line for each change.
func (cmd *needsCommand) tellLines(c *discover.Changes) error {
	if cmd.format == "json" {
		return cmd.jsonLines(c)
	}
	p := cmd.printer(cmd.streams.Out)
	for _, change := range c.Needs {
		what, n := changed(change)
		p.printf("%s %s > %s: %s, %s, %s; because of %s\n", p.verb(what), n.From, n.To, protocolPort(n.Protocol, n.Ports), n.Class, wireText(n), becauseText(&n.Because))
	}
	for _, change := range c.Unknown {
		what, u := changed(change)
		p.printf("%s unknown: %s: %s\n", p.verb(what), u.About, u.Why)
	}
	for _, change := range c.Parties {
		if text := moved(change); text != "" {
			_, l := changed(change)
			p.printf("%s addresses of %s: %s\n", p.verb("changed"), l.Party, text)
		}
	}
	return p.err
}

// moved says which addresses of a party came and went.
func moved(c discover.Change[discover.Located]) string {
	var before, after []netip.Prefix
	if c.Before != nil {
		before = c.Before.Prefixes
	}
	if c.After != nil {
		after = c.After.Prefixes
	}
	var words []string
	for _, p := range after {
		if !slices.Contains(before, p) {
			words = append(words, "+"+addressText(p))
		}
	}
	for _, p := range before {
		if !slices.Contains(after, p) {
			words = append(words, "-"+addressText(p))
		}
	}
	const most = 16
	if more := len(words) - most; more > 0 {
		words = append(words[:most], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(words, " ")
}

// addressText leaves out the length of a single address.
func addressText(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

// verb is what happened, in its colour and in one width.
func (p *printer) verb(what string) string {
	style := map[string]string{"came": styleGreen, "went": styleRed, "changed": styleYellow}[what]
	return p.paint(style, fmt.Sprintf("%-8s", what))
}

func (cmd *needsCommand) jsonLines(c *discover.Changes) error {
	var lines []jsonChange
	for _, change := range c.Needs {
		what, n := changed(change)
		need := needOf(n)
		lines = append(lines, jsonChange{Change: what, Need: &need})
	}
	for _, change := range c.Unknown {
		what, u := changed(change)
		unknown := unknownOf(u)
		lines = append(lines, jsonChange{Change: what, Unknown: &unknown})
	}
	for _, change := range c.Parties {
		what, l := changed(change)
		places := placesOf(l)
		lines = append(lines, jsonChange{Change: what, Party: &places})
	}
	for i := range lines {
		text, err := json.Marshal(&lines[i])
		if err != nil {
			return fmt.Errorf("cannot write JSON: %w", err)
		}
		if _, err := cmd.streams.Out.Write(append(text, '\n')); err != nil {
			return err
		}
	}
	return nil
}
