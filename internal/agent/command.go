package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/utils/clock"

	"ringfence.dev/ringfence/internal/nft/apply"
	"ringfence.dev/ringfence/internal/statedir"
	"ringfence.dev/ringfence/internal/upstream"
	"ringfence.dev/ringfence/profiles"
)

// The exit codes of every command.
const (
	exitOK     = 0
	exitFailed = 1 // could not apply or verify; what was enforced still is
	exitInput  = 2 // bad input or usage; the kernel was not touched
)

// Main runs one command line, without the program's name, and returns its exit
// code. The context's end lets a running agent stop; what it enforces stays.
func Main(ctx context.Context, args []string, out, errs io.Writer) int {
	beFrugal()
	root := newRoot() //nolint:contextcheck // its commands get the context below
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(errs)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	_, _ = fmt.Fprintf(errs, "ringfence-agent: %s\n", strings.ReplaceAll(err.Error(), "\n", "\n  ")) // it has nowhere else to go
	if isInput(err) {
		return exitInput
	}
	return exitFailed
}

// memoryLimit is from how many bytes on the collector works harder instead of
// letting the agent grow: it is a guest on the host, and what it holds for
// 65,000 members is a third of this. Only while it reads manifests of as many
// hosts does it come near. Beyond, it costs up to half the agent's processor
// time, never more.
const memoryLimit = 64 << 20

func beFrugal() {
	if _, set := os.LookupEnv("GOMEMLIMIT"); !set { // whoever says so knows better
		debug.SetMemoryLimit(memoryLimit)
	}
}

// DefaultTrial is how long a change may go unconfirmed.
const DefaultTrial = time.Minute

// A command is what the flags fill in.
type command struct {
	Config
	confirm      string
	once, dryRun bool
	level        slog.Level
}

const longHelp = `ringfence-agent enforces the groups that this host wears, merged, as nftables in
a table of its own (inet ringfence). What they are it learns from the control
plane that the host has joined (ringfence-agent join), or, with --manifests,
from a folder of files and from nobody else.

With --once it applies, verifies, and leaves the table in force. Without, it
follows what it is told, repairs what others change in the table, and goes on
until it is stopped; the table stays in force then too.

Exit codes: 0 all is well; 1 it could not be applied or verified, and what was
enforced before still is; 2 bad input or usage, and the kernel was not touched.`

func newRoot() *cobra.Command {
	c := &command{level: slog.LevelInfo}
	root := &cobra.Command{
		Use:           "ringfence-agent [--manifests DIR --host NAME] --state-dir DIR",
		Short:         "Enforce security groups on this host with nftables",
		Long:          longHelp,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return c.run(cmd) },
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return inputError{err} })
	root.CompletionOptions.HiddenDefaultCmd = true
	f := root.Flags()
	f.StringVar(&c.Manifests, "manifests", "", "folder with all manifests: VPCs, SecurityGroups, PrefixLists, Clusters, NodePools, all Hosts")
	f.StringVar(&c.Host, "host", "", "name of this host's Host")
	f.StringSliceVar(&c.Uplinks, "uplink", nil, "interface to judge, beside those that hold one of the host's addresses or carry a default route; may be repeated")
	f.BoolVar(&c.once, "once", false, "apply, verify, and end")
	f.BoolVar(&c.dryRun, "dry-run", false, "print what would change and the table that would be loaded, and change nothing")
	f.StringVar(&c.confirm, "confirm", string(ConfirmProbe), "what a change of rules needs to stay: never (nothing), probe (what was reached before is reached again), manual (ringfence-agent confirm)")
	f.DurationVar(&c.Policy.Trial, "confirm-timeout", DefaultTrial, "how long a change may go unconfirmed before the kernel takes it back by itself")
	f.StringSliceVar(&c.Policy.Force, "force", nil, "row of a flow to keep, such as AO-L3, that may be cut; may be repeated")
	f.StringVar(&c.Metrics, "metrics-listen", "", "ADDRESS:PORT for Prometheus to scrape at /metrics, as plain HTTP for whoever reaches it, such as 127.0.0.1:9187; what is beyond this machine the host's groups must let in (default: none)")
	root.PersistentFlags().StringVar(&c.StateDir, "state-dir", "/var/lib/ringfence-agent", "folder for what is enforced, to be enforced again at boot")
	root.PersistentFlags().TextVar(&c.level, "log-level", c.level, "debug, info, warn or error")
	root.AddCommand(c.newJoin(), c.newStatus(), c.newConfirm(), c.newOpen(), c.newResume(), c.newRestore(), c.newUninstall(), c.newFlows(), newSelftest())
	return root
}

func noArgs(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return inputError{fmt.Errorf("unknown command or argument %q: see ringfence-agent --help", args[0])}
	}
	return nil
}

func (c *command) log(cmd *cobra.Command) *slog.Logger {
	return slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: c.level}))
}

// usage checks the flags.
func (c *command) usage() error {
	switch {
	case c.StateDir == "":
		return inputError{errors.New("--state-dir is missing: see ringfence-agent --help")}
	case c.Manifests != "" && c.Host == "":
		return inputError{errors.New("--host is missing: it says which Host of the manifests this is")}
	case c.Manifests == "" && c.Host != "":
		return inputError{errors.New("--host goes with --manifests: a host that has joined a control plane has its name from there")}
	}
	c.Policy.Confirm = Confirm(c.confirm)
	if !slices.Contains([]Confirm{ConfirmNever, ConfirmProbe, ConfirmManual}, c.Policy.Confirm) {
		return inputError{fmt.Errorf("--confirm %s: want never, probe or manual", c.confirm)}
	}
	if c.Policy.Trial < time.Second {
		return inputError{fmt.Errorf("--confirm-timeout %s: want at least 1s", c.Policy.Trial)}
	}
	return nil
}

func (c *command) run(cmd *cobra.Command) error {
	if err := c.usage(); err != nil {
		return err
	}
	if c.dryRun {
		return c.rehearse(cmd)
	}
	log := c.log(cmd)
	from, tables, err := c.source(cmd.Context(), log)
	if err != nil && tables != nil && !c.once {
		from, err = c.orAlone(err)
	}
	if err != nil {
		return err
	}
	var in *intent
	if c.once { // read first: bad input must not touch the kernel
		if in, err = c.first(cmd.Context(), from); err != nil {
			return err
		}
	}
	a, done, err := newAgent(&c.Config, tables, log)
	if err != nil {
		return err
	}
	defer done()
	if c.once {
		return a.once(cmd.Context(), in, from)
	}
	return a.loop(cmd.Context(), from)
}

// source returns what the flags name: the manifests, or the control plane that
// the host has joined. The latter ends with the context.
func (c *command) source(ctx context.Context, log *slog.Logger) (source, *profiles.Tables, error) {
	tables, err := profiles.Load()
	if err != nil {
		return nil, nil, err
	}
	if c.Manifests != "" {
		return &folder{dir: c.Manifests, host: c.Host, tables: tables}, tables, nil
	}
	s, err := follow(ctx, statedir.Dir(c.StateDir), log)
	return s, tables, err
}

// firstTime is how long a command waits for the control plane's first word.
const firstTime = 30 * time.Second

// first reads what is wanted, once. From a source that tells, it waits for it.
func (c *command) first(ctx context.Context, from source) (*intent, error) {
	ctx, cancel := context.WithTimeout(ctx, firstTime)
	defer cancel()
	for {
		in, err := c.aim(from)
		if err == nil || from.told() == nil {
			return in, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-from.told():
		}
	}
}

// once brings the host to an intent, verifies, and leaves it there.
func (a *agent) once(ctx context.Context, in *intent, from source) error {
	if err := a.host.recover(); err != nil { // what is wanted may cure it
		a.host.log.Error("cannot recover what was enforced", "problem", err)
	}
	if err := a.host.reach(ctx, in); err != nil {
		if a.host.trial == nil {
			return err
		}
		if err := a.await(ctx); err != nil {
			return err
		}
	}
	_, err := a.host.check()
	if err != nil {
		return err
	}
	return a.host.disk.write(statusFile, &report{PID: a.pid, From: from.String()})
}

// await waits for a person, or for the end of the trial.
func (a *agent) await(ctx context.Context) error {
	ticker := a.host.clock.NewTicker(beat)
	defer ticker.Stop()
	for {
		if err := a.host.awaited(); !errors.Is(err, errWaiting) {
			return err
		}
		select {
		case <-ctx.Done():
			return a.host.back(fmt.Errorf("stopped while waiting for a person: %w", ctx.Err()))
		case <-ticker.C():
		}
	}
}

// rehearse prints what a run would do.
func (c *command) rehearse(cmd *cobra.Command) error {
	from, tables, err := c.source(cmd.Context(), c.log(cmd))
	if err != nil {
		return err
	}
	in, err := c.first(cmd.Context(), from)
	if err != nil {
		return err
	}
	next, err := lay(&in.order, tables.Exempt())
	if err != nil {
		return err
	}
	saved, err := disk{statedir.Dir(c.StateDir)}.read(enforcedFile)
	if err != nil {
		return err
	}
	var w strings.Builder
	for _, l := range append(differences(saved, next), casualties(saved, next, tables, in.uplinks)...) {
		fmt.Fprintf(&w, "# %s\n", l)
	}
	w.WriteString(next.version.Text(in.uplinks))
	if _, err := io.WriteString(cmd.OutOrStdout(), w.String()); err != nil {
		return err
	}
	return next.cuts(c.Policy.Force)
}

// casualties says which flows a layout would cut.
func casualties(saved *record, next *layout, tables *profiles.Tables, uplinks []string) []string {
	var old *layout
	var err error
	if saved != nil {
		old, err = lay(&saved.Order, tables.Exempt())
	}
	var o omen
	if err == nil {
		o, err = foresee(old, next, uplinks)
	}
	if err != nil {
		return []string{fmt.Sprintf("which established flows would be cut cannot be told: %v", err)}
	}
	out := []string{fmt.Sprintf("%d established flows would be cut", o.flows)}
	for _, f := range o.first {
		out = append(out, "  "+f)
	}
	if more := o.flows - len(o.first); more > 0 {
		out = append(out, fmt.Sprintf("  and %d more", more))
	}
	return out
}

// differences says what a layout changes.
func differences(saved *record, next *layout) []string {
	if saved == nil {
		return []string{fmt.Sprintf("nothing is enforced by this state folder; version %s would be, with %d rules", next.version.Name, len(ruleLines(next.order)))}
	}
	changed := changes(&saved.Order, next.order)
	if saved.Version == next.version.Name {
		return []string{fmt.Sprintf("version %s is in force, and stays; %d addresses would change their groups", saved.Version, len(changed))}
	}
	out := []string{fmt.Sprintf("version %s is in force; %s would take its place; %d addresses are in other groups that matter", saved.Version, next.version.Name, len(changed))}
	had, has := ruleLines(&saved.Order), ruleLines(next.order)
	for _, r := range had {
		if !slices.Contains(has, r) {
			out = append(out, "- "+r)
		}
	}
	for _, r := range has {
		if !slices.Contains(had, r) {
			out = append(out, "+ "+r)
		}
	}
	return out
}

func ruleLines(o *Order) []string {
	var out []string
	for i := range o.Ruleset.Ingress {
		r := &o.Ruleset.Ingress[i]
		out = append(out, fmt.Sprintf("ingress %s %d %s %s %s%s", r.Policy, r.Priority, &r.Protocol, r.Ports, r.GroupName, strings.Join(r.CIDRs, ",")))
	}
	for i := range o.Ruleset.Egress {
		r := &o.Ruleset.Egress[i]
		out = append(out, fmt.Sprintf("egress %s %d %s %s %s%s", r.Policy, r.Priority, &r.Protocol, r.Ports, r.GroupName, strings.Join(r.CIDRs, ",")))
	}
	return out
}

func (c *command) newStatus() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use: "status", Short: "Say what is enforced, since when and why, and what is wrong", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := gatherStatus(disk{statedir.Dir(c.StateDir)})
			if err != nil {
				return err
			}
			switch format {
			case "json":
				return printJSON(cmd.OutOrStdout(), s)
			case "text":
				return s.write(cmd.OutOrStdout())
			}
			return inputError{fmt.Errorf("-o %s: want text or json", format)}
		},
	}
	cmd.Flags().StringVarP(&format, "output", "o", "text", "text or json")
	return cmd
}

// withKernel runs f with a connection to the kernel.
func withKernel(f func(k *apply.Kernel, s apply.State) error) error {
	k, err := apply.Open()
	if err != nil {
		return err
	}
	s, err := k.State()
	if err == nil {
		err = f(k, s)
	}
	return errors.Join(err, k.Close())
}

func (*command) newConfirm() *cobra.Command {
	return &cobra.Command{
		Use: "confirm", Short: "Let the version that is on trial stay", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withKernel(func(k *apply.Kernel, s apply.State) error {
				if s.Trial == "" || s.Trial == openName {
					return errors.New("no version is on trial: there is nothing to confirm")
				}
				if err := k.ConfirmTrial(s.Trial); err != nil {
					return err
				}
				_, err := fmt.Fprintf(cmd.OutOrStdout(), "version %s stays\n", s.Trial)
				return err
			})
		},
	}
}

// How long a host may be open: who needs longer uninstalls.
const (
	minOpen = 2 * time.Second
	maxOpen = 24 * time.Hour
)

func (*command) newOpen() *cobra.Command {
	var span time.Duration
	cmd := &cobra.Command{
		Use: "open", Short: "Let everything pass for a time, then enforce again by itself", Args: noArgs,
		Long: "Let everything pass for a time. The kernel itself ends it, whatever becomes of the agent. Changes of\nrules wait until then; changes of members do not.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if span < minOpen || span > maxOpen {
				return inputError{fmt.Errorf("--for %s: want %s to %s", span, minOpen, maxOpen)}
			}
			return withKernel(func(k *apply.Kernel, s apply.State) error {
				if s.Confirmed == "" {
					return errors.New("nothing is enforced: everything passes already")
				}
				if err := open(k, span, clock.RealClock{}); err != nil {
					return err
				}
				_, err := fmt.Fprintf(cmd.OutOrStdout(), "OPEN: everything passes for %s; ringfence-agent resume ends it sooner\n", span)
				return err
			})
		},
	}
	cmd.Flags().DurationVar(&span, "for", 30*time.Minute, "how long") //nolint:mnd // the default of a flag
	return cmd
}

// open opens, and looks whether it stays open: an agent that was comparing the
// table just then may have taken it for drift.
func open(k *apply.Kernel, span time.Duration, c clock.WithTicker) error {
	for range 3 {
		if err := k.Build(openVersion(), nil); err != nil {
			return err
		}
		if err := k.Trial(openName, span); err != nil {
			return err
		}
		if err := k.PardonAll(); err != nil {
			return err
		}
		look := c.NewTimer(2 * beat) //nolint:mnd // the agent has looked, too
		<-look.C()
		if s, err := k.State(); err != nil || s.Trial == openName {
			return err
		}
	}
	return errors.New("it does not stay open: somebody else changes the table; stop the agent, then try again")
}

func (*command) newResume() *cobra.Command {
	return &cobra.Command{
		Use: "resume", Short: "Enforce again what `open` let pass", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withKernel(func(k *apply.Kernel, s apply.State) error {
				if s.Trial != openName {
					return errors.New("the host is not open: there is nothing to resume")
				}
				if err := k.EndTrial(); err != nil {
					return err
				}
				_, err := fmt.Fprintf(cmd.OutOrStdout(), "version %s is enforced again\n", s.Confirmed)
				return err
			})
		},
	}
}

func (c *command) newRestore() *cobra.Command {
	return &cobra.Command{
		Use: "restore", Short: "Enforce what was enforced last, without manifests: for the boot, before the network is up", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			tables, err := profiles.Load()
			if err != nil {
				return err
			}
			a, done, err := newAgent(&c.Config, tables, c.log(cmd))
			if err != nil {
				return err
			}
			defer done()
			if err := a.host.recover(); err != nil {
				return err
			}
			answer := "nothing was enforced: nothing to restore"
			if a.host.saved != nil {
				answer = "version " + a.host.saved.Version + " is enforced"
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), answer)
			return err
		},
	}
}

func (c *command) newUninstall() *cobra.Command {
	return &cobra.Command{
		Use: "uninstall", Short: "Enforce nothing any more: take away the table and the saved state", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d := disk{statedir.Dir(c.StateDir)}
			unlock, err := d.Lock()
			if errors.Is(err, fs.ErrNotExist) {
				unlock, err = func() {}, nil
			}
			if err != nil {
				return fmt.Errorf("cannot uninstall while the agent runs: stop it first (systemctl disable --now ringfence-agent): %w", err)
			}
			defer unlock()
			err = withKernel(func(k *apply.Kernel, _ apply.State) error { return k.Uninstall() })
			if err != nil {
				return err
			}
			if err := errors.Join(d.Remove(enforcedFile, candidateFile, statusFile, seenFile, flowsFile), upstream.Forget(d.Dir), d.Unlock()); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "table inet ringfence and the state in %s are gone: everything passes\n", filepath.Clean(c.StateDir))
			return err
		},
	}
}
