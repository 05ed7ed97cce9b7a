package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"ringfence.dev/ringfence/internal/identity"
	"ringfence.dev/ringfence/internal/statedir"
	"ringfence.dev/ringfence/internal/upstream"
)

const joinHelp = `Join a control plane: prove with a token that this host may have its name there,
and get a certificate. Type on the host what this printed for whoever runs the
control plane:

  ringfence token create --host NAME      (or --pool NAME)

Nothing is enforced by joining: start the agent for that, without --manifests.
A host that joins again keeps what it enforces meanwhile.`

func (c *command) newJoin() *cobra.Command {
	j := &upstream.Join{}
	var file string
	var patience time.Duration
	cmd := &cobra.Command{
		Use:   "join --server URL --token TOKEN --ca-cert-hash HASH --name NAME",
		Short: "Join a control plane with a token", Long: joinHelp, Args: noArgs,
		Example: "  ringfence-agent join --server https://192.168.0.10:6443 --token abcdef.0123456789abcdef --ca-cert-hash sha256:... --namespace prod --name node-1",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := joinUsage(j); err != nil {
				return inputError{err}
			}
			if file != "" {
				var err error
				if j.Authority, err = os.ReadFile(file); err != nil { //nolint:gosec // G304: the user names it
					return inputError{fmt.Errorf("--ca-file: %w", err)}
				}
			}
			return c.join(cmd, j, patience)
		},
	}
	f := cmd.Flags()
	f.StringVar(&j.Server, "server", "", "URL of the control plane, such as https://192.168.0.10:6443")
	f.StringVar(&j.Token, "token", "", "join token")
	f.StringSliceVar(&j.Hashes, "ca-cert-hash", nil, "sha256:HASH of the key of the authority that the server's certificate is from; may be repeated")
	f.StringVar(&file, "ca-file", "", "certificate of that authority, instead of its hash")
	f.StringVar(&j.Host.Namespace, "namespace", "default", "namespace of this host's Host")
	f.StringVar(&j.Host.Name, "name", "", "name of this host's Host")
	f.DurationVar(&patience, "timeout", time.Minute, "how long to wait for the certificate")
	return cmd
}

func joinUsage(j *upstream.Join) error {
	for _, f := range []struct{ name, value string }{{"server", j.Server}, {"token", j.Token}, {"name", j.Host.Name}} {
		if f.value == "" {
			return fmt.Errorf("--%s is missing: see ringfence-agent join --help", f.name)
		}
	}
	if _, ok := identity.HostOf(j.Host.User()); !ok {
		return fmt.Errorf("--namespace %s --name %s: want names as Kubernetes has them", j.Host.Namespace, j.Host.Name)
	}
	return nil
}

func (c *command) join(cmd *cobra.Command, j *upstream.Join, patience time.Duration) error {
	d := statedir.Dir(c.StateDir)
	if err := d.Make(); err != nil {
		return err
	}
	unlock, err := d.Lock()
	if err != nil {
		return fmt.Errorf("cannot join while the agent runs: stop it first (systemctl stop ringfence-agent): %w", err)
	}
	defer unlock()
	ctx, cancel := context.WithTimeout(cmd.Context(), patience)
	defer cancel()
	err = j.Do(ctx, d)
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("not joined within %s: %w", patience, err)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "joined %s as host %s\nnext: systemctl enable --now ringfence-agent ringfence-agent-restore\n  or: ringfence-agent --state-dir %s\n", j.Server, j.Host, c.StateDir)
	return err
}
