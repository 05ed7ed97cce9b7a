// Command ringfence-server is the control plane: a Kubernetes-style API for
// security groups, with its storage inside.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"ringfence.dev/ringfence/api/crds"
	"ringfence.dev/ringfence/internal/controller"
	"ringfence.dev/ringfence/internal/controlplane"
	"ringfence.dev/ringfence/internal/settings"
)

// gcPercent is less than Go's default: with all controllers and 100 groups 256 MB
// are resident instead of 292 with 50 (measured), for a start that is no slower.
// GOGC overrides it.
const gcPercent = 30

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := command().ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "ringfence-server:", err)
		os.Exit(1)
	}
}

// A program is what the flags fill in: a control plane of our own, or with a
// kubeconfig the controllers alone.
type program struct {
	own   controlplane.Config
	guest controlplane.GuestConfig
	file  string
	level slog.Level
}

// ownFlags are those that make no sense with --kubeconfig.
func ownFlags() []string {
	return []string{"data-dir", "listen", "names", "etcd-servers", "etcd-ca-file", "etcd-cert-file", "etcd-key-file", "audit-log"}
}

func command() *cobra.Command {
	p := &program{
		own:   controlplane.Config{CRDs: crds.Files},
		guest: controlplane.GuestConfig{CRDs: crds.Files, Metrics: metrics.Registry},
		level: slog.LevelInfo,
	}
	p.own.Defaults()
	cmd := &cobra.Command{
		Use:   "ringfence-server (--data-dir DIR | --kubeconfig FILE)",
		Short: "The control plane of Ringfence",
		Long: "The control plane of Ringfence: an API server with its store inside, and the controllers. Or, with\n--kubeconfig, only the controllers, on an API server that is there already.\n\n" +
			"Each flag may also be a variable (--data-dir: RINGFENCE_DATA_DIR) or a line of the file given by\n--config (data-dir: ...). The flag wins, then the variable.",
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE:          func(cmd *cobra.Command, _ []string) error { return p.run(cmd) },
	}
	p.register(cmd.Flags())
	cmd.AddCommand(&cobra.Command{
		Use:   "manifests",
		Short: "Print the definitions, roles and policies that the server installs, for kubectl",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return controlplane.Manifests(crds.Files, cmd.OutOrStdout())
		},
	})
	cmd.AddCommand(userCommand())
	return cmd
}

func userCommand() *cobra.Command {
	var dir string
	var person controlplane.Person
	cmd := &cobra.Command{
		Use:   "user NAME --data-dir DIR",
		Short: "Print a kubeconfig for a person, made with the keys in the data folder",
		Long: "Prints a kubeconfig for a person, made with the keys in the data folder. It may do nothing until a role\n" +
			"is bound to its name or one of its groups, and it cannot be revoked: take the bindings away instead.",
		Example: "  ringfence-server user anna --group devs --data-dir /var/lib/ringfence >anna.kubeconfig\n" +
			"  kubectl create rolebinding devs -n shop --clusterrole ringfence-editor --group devs",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := settings.Environment(cmd.Flags(), os.LookupEnv); err != nil {
				return err
			}
			person.Name = args[0]
			text, err := controlplane.UserKubeconfig(dir, person, clock.RealClock{}.Now())
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(text)
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&dir, "data-dir", "", "data folder of the server")
	f.StringSliceVar(&person.Groups, "group", nil, "group of the person; may be repeated (ringfence:admins: administrators)")
	f.DurationVar(&person.Life, "ttl", 90*24*time.Hour, "how long the certificate is good for, at most a year")
	f.StringVar(&person.Server, "server", "", "URL of the API (default: that of admin.kubeconfig)")
	return cmd
}

func (p *program) register(f *pflag.FlagSet) {
	cfg := &p.own
	f.StringVar(&cfg.DataDir, "data-dir", cfg.DataDir, "folder for certificates, objects and admin.kubeconfig; made when absent")
	f.StringVar(&cfg.Listen, "listen", cfg.Listen, "address and port of the API; port 0 takes a free one")
	f.StringSliceVar(&cfg.Names, "names", cfg.Names, "more DNS names and addresses for the serving certificate")
	f.StringSliceVar(&cfg.EtcdServers, "etcd-servers", cfg.EtcdServers, "URLs of an external etcd; empty runs one inside")
	f.StringVar(&cfg.EtcdCAFile, "etcd-ca-file", cfg.EtcdCAFile, "certificate authority of the external etcd")
	f.StringVar(&cfg.EtcdCertFile, "etcd-cert-file", cfg.EtcdCertFile, "client certificate for the external etcd")
	f.StringVar(&cfg.EtcdKeyFile, "etcd-key-file", cfg.EtcdKeyFile, "its key")
	f.StringVar(&cfg.AuditLog, "audit-log", cfg.AuditLog, "file to log every write to; - for standard output, empty for none")
	f.StringVar(&p.guest.Kubeconfig, "kubeconfig", "", "run only the controllers, on the API server of this kubeconfig")
	f.StringVar(&p.guest.HealthListen, "health-listen", "", "with --kubeconfig: address and port of /readyz, /livez and /metrics, plain HTTP (default 127.0.0.1:8081)")
	f.StringVar(&p.file, "config", "", "YAML file with any of these settings")
	f.TextVar(&p.level, "log-level", p.level, "debug, info, warn or error; debug includes what Kubernetes says")
}

func (p *program) run(cmd *cobra.Command) error {
	f := cmd.Flags()
	if err := settings.Environment(f, os.LookupEnv); err != nil {
		return err
	}
	if err := readFile(cmd, p.file); err != nil {
		return err
	}
	log := logging(p.level)
	controllers := []controlplane.Controller{func(ctx context.Context, config *rest.Config) error {
		return controller.Run(ctx, config, log.WithName("controllers"))
	}}
	p.own.Log, p.guest.Log = log, log
	p.own.Controllers, p.guest.Controllers = controllers, controllers
	if p.guest.Kubeconfig == "" {
		if f.Changed("health-listen") {
			return errors.New("health-listen goes with kubeconfig: a server with its own API has /readyz, /livez and /metrics there")
		}
		server, err := controlplane.New(p.own)
		if err != nil {
			return err
		}
		return server.Run(cmd.Context())
	}
	for _, name := range ownFlags() {
		if f.Changed(name) {
			return fmt.Errorf("%s and kubeconfig exclude each other: with kubeconfig the API server is somebody else's, and its store too", name)
		}
	}
	guest, err := controlplane.NewGuest(p.guest)
	if err != nil {
		return err
	}
	return guest.Run(cmd.Context())
}

func readFile(cmd *cobra.Command, file string) error {
	if file == "" {
		return nil
	}
	text, err := os.ReadFile(file) //nolint:gosec // G304: the user names it
	if err != nil {
		return fmt.Errorf("cannot read the settings: %w", err)
	}
	if err := settings.File(cmd.Flags(), text); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}

// logging sends our lines to standard error, and those of Kubernetes too, but
// of these only errors unless everything is asked for: they are very many.
func logging(level slog.Level) logr.Logger {
	theirs := slog.LevelError
	if level <= slog.LevelDebug {
		theirs = level
	}
	rest.SetDefaultWarningHandler(rest.NoWarnings{})
	klog.SetLogger(logr.FromSlogHandler(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: theirs})))
	return logr.FromSlogHandler(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
}
