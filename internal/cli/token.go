package cli

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/clock"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/identity"
	"ringfence.dev/ringfence/internal/kubeapi"
)

//nolint:gosec // G101: a text about tokens is none
const tokenHelp = `A join token lets one host, or the hosts of one node pool, ask the control plane
for a certificate. It ends by itself, and is of no other use: who has it can ask,
and the control plane gives a certificate only for a name that the token is
bound to and that no running host has.`

// maxTTL is how long a join token may live at most: a day covers a change of
// shift, and one that is lost does no harm for longer.
const maxTTL = 24 * time.Hour

func newToken(s Streams) *cobra.Command {
	c := &cobra.Command{Use: "token", Short: "Make, list and delete the tokens with which hosts join", Long: tokenHelp}
	c.AddCommand(newTokenCreate(s), newTokenList(s), newTokenDelete(s))
	return c
}

// The resources that the commands ask for.
func secrets() schema.GroupVersionResource {
	return schema.GroupVersionResource{Version: "v1", Resource: "secrets"}
}

func kind(resource string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: v1alpha1.GroupName, Version: v1alpha1.Version, Resource: resource}
}

type tokenCreate struct {
	live
	streams    Streams
	clock      clock.PassiveClock
	host, pool string
	server     string
	ttl        time.Duration
}

func newTokenCreate(s Streams) *cobra.Command {
	cmd := &tokenCreate{streams: s, clock: clock.RealClock{}}
	c := &cobra.Command{
		Use:     "create (--host NAME | --pool NAME)",
		Short:   "Make a token, and print the command with which a host joins",
		Long:    tokenHelp + "\n\nPrints the command to type on the host. The token in it is shown only once.",
		Example: "  ringfence token create --host node-1 -n prod\n  ringfence token create --pool workers --ttl 8h",
		Args:    cobra.NoArgs,
		RunE:    func(c *cobra.Command, _ []string) error { return cmd.run(c) },
	}
	cmd.register(c)
	f := c.Flags()
	f.StringVar(&cmd.host, "host", "", "Host that may join; it must exist")
	f.StringVar(&cmd.pool, "pool", "", "node pool whose hosts may join; Hosts that do not exist yet are made")
	f.DurationVar(&cmd.ttl, "ttl", time.Hour, "how long the token lives, at most 24h")
	f.StringVar(&cmd.server, "server", "", "URL at which hosts reach the API server (default: that of the kubeconfig)")
	return c
}

func (cmd *tokenCreate) run(c *cobra.Command) error {
	switch {
	case (cmd.host == "") == (cmd.pool == ""):
		return usageError(c, "want --host or --pool: a token is bound to one of them")
	case cmd.ttl < time.Minute || cmd.ttl > maxTTL:
		return usageError(c, "--ttl %s: want 1m to 24h", cmd.ttl)
	}
	server, err := kubeapi.Open(cmd.options)
	if err != nil {
		return err
	}
	if cmd.server == "" {
		cmd.server = server.URL
	}
	hashes, err := hashes(server)
	if err != nil {
		return err
	}
	if err := cmd.exists(c.Context(), server); err != nil {
		return err
	}
	token := identity.NewToken()
	token.Namespace, token.HostName, token.PoolName = server.Namespace, cmd.host, cmd.pool
	token.Expires = cmd.clock.Now().Add(cmd.ttl)
	if err := store(c.Context(), server, token); err != nil {
		return err
	}
	return cmd.tell(token, hashes)
}

// hashes name the server's authority in the join command, so that a host that
// has never seen the server cannot be sent to another one.
func hashes(server *kubeapi.Server) ([]string, error) {
	authorities, err := server.Authorities()
	if err != nil {
		return nil, err
	}
	if len(authorities) == 0 {
		return nil, errors.New("cannot name the server's certificate authority: the kubeconfig has none (certificate-authority-data)")
	}
	var hashes []string
	for _, a := range authorities {
		hashes = append(hashes, identity.PublicKeyHash(a))
	}
	return hashes, nil
}

// exists sees to it that what the token is for is there: a typing error would
// show only on the host, as a refusal.
func (cmd *tokenCreate) exists(ctx context.Context, server *kubeapi.Server) error {
	resource, kindName, name := "hosts", "Host", cmd.host
	if cmd.pool != "" {
		resource, kindName, name = "nodepools", "NodePool", cmd.pool
	}
	_, err := server.Objects(kind(resource)).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return fmt.Errorf("there is no %s %s in namespace %s: create it first, or name another with --%s or --namespace",
			kindName, name, server.Namespace, map[string]string{"hosts": "host", "nodepools": "pool"}[resource])
	}
	if err != nil {
		return fmt.Errorf("cannot look for %s %s: %w", kindName, name, server.Explain(err))
	}
	return nil
}

func store(ctx context.Context, server *kubeapi.Server, token identity.Token) error {
	data := map[string]any{}
	for k, v := range token.Data() {
		data[k] = v
	}
	secret := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Secret", "type": identity.TokenSecretType, "stringData": data}}
	secret.SetName(token.SecretName())
	if _, err := server.In(secrets(), identity.TokenNamespace).Create(ctx, secret, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("cannot store the token: %w", server.Explain(err))
	}
	return nil
}

func (cmd *tokenCreate) tell(token identity.Token, hashes []string) error {
	p := &printer{w: cmd.streams.Out}
	name := token.HostName
	if name == "" {
		name = `"$(hostname)"`
	}
	p.printf("ringfence-agent join --server %s --token %s", cmd.server, token)
	for _, hash := range hashes {
		p.printf(" --ca-cert-hash %s", hash)
	}
	p.printf(" --namespace %s --name %s\n", token.Namespace, name)
	note := &printer{w: cmd.streams.Err}
	note.printf("good for %s, until %s\n", token.BoundTo(), token.Expires.Local().Format(time.DateTime))
	if u, err := url.Parse(cmd.server); err == nil && loopback(u.Hostname()) {
		note.printf("other machines do not reach %s: say with --server under which URL they do\n", cmd.server)
	}
	return errors.Join(p.err, note.err)
}

func loopback(host string) bool {
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}

// A listedToken is a token as it is shown: without its secret.
type listedToken struct {
	ID        string    `json:"id"`
	Namespace string    `json:"namespace"`
	Host      string    `json:"host,omitempty"`
	Pool      string    `json:"pool,omitempty"`
	Expires   time.Time `json:"expires"`
}

type tokenList struct {
	live
	output
	streams Streams
}

func newTokenList(s Streams) *cobra.Command {
	cmd := &tokenList{output: newOutput("table", "json", "yaml"), streams: s}
	c := &cobra.Command{
		Use:   "list",
		Short: "List the join tokens of all namespaces, without their secrets",
		Args:  cobra.NoArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return cmd.run(c) },
	}
	cmd.live.register(c)
	cmd.output.register(c)
	return c
}

func (cmd *tokenList) run(c *cobra.Command) error {
	if err := cmd.checkFormat(c); err != nil {
		return err
	}
	server, err := kubeapi.Open(cmd.options)
	if err != nil {
		return err
	}
	found, err := server.In(secrets(), identity.TokenNamespace).List(c.Context(), metav1.ListOptions{FieldSelector: "type=" + identity.TokenSecretType})
	if err != nil {
		return fmt.Errorf("cannot list the tokens: %w", server.Explain(err))
	}
	tokens := []listedToken{}
	for i := range found.Items {
		if t, err := readToken(&found.Items[i]); err == nil { // others' bootstrap tokens are not for joining
			tokens = append(tokens, listedToken{t.ID, t.Namespace, t.HostName, t.PoolName, t.Expires})
		}
	}
	slices.SortFunc(tokens, func(a, b listedToken) int { return strings.Compare(a.ID, b.ID) })
	if done, err := cmd.structured(cmd.streams.Out, tokens); done {
		return err
	}
	p := cmd.printer(cmd.streams.Out)
	rows := make([][]string, 0, len(tokens))
	for _, t := range tokens {
		rows = append(rows, []string{t.ID, t.Namespace, t.Host, t.Pool, t.Expires.Local().Format(time.DateTime)})
	}
	table(p, []string{"ID", "NAMESPACE", "HOST", "POOL", "EXPIRES"}, rows)
	return p.err
}

// readToken reads a Secret, whose values the API has in base64.
func readToken(secret *unstructured.Unstructured) (identity.Token, error) {
	text, _, err := unstructured.NestedStringMap(secret.Object, "data")
	if err != nil {
		return identity.Token{}, err
	}
	data := map[string]string{}
	for k, v := range text {
		value, err := base64.StdEncoding.DecodeString(v)
		if err != nil {
			return identity.Token{}, err
		}
		data[k] = string(value)
	}
	return identity.ReadToken(data)
}

func newTokenDelete(s Streams) *cobra.Command {
	l := &live{}
	c := &cobra.Command{
		Use:   "delete ID...",
		Short: "Delete join tokens: nobody joins with them any more",
		Long:  "Deletes join tokens by their IDs, which are the parts before the dot.\nHosts that have joined already keep their certificates; delete their Host objects to take their rights away.",
		Args:  cobra.MinimumNArgs(1),
		RunE:  func(c *cobra.Command, ids []string) error { return deleteTokens(c.Context(), l, s, ids) },
	}
	l.register(c)
	return c
}

func deleteTokens(ctx context.Context, l *live, s Streams, ids []string) error {
	server, err := kubeapi.Open(l.options)
	if err != nil {
		return err
	}
	p, all := &printer{w: s.Out}, server.In(secrets(), identity.TokenNamespace)
	for _, id := range ids {
		id, _, _ = strings.Cut(id, ".") // who pastes a whole token means it
		secret, err := all.Get(ctx, identity.TokenSecretPrefix+id, metav1.GetOptions{})
		if err == nil {
			if _, bad := readToken(secret); bad != nil {
				return fmt.Errorf("cannot delete token %s: it is none of ours", id)
			}
			err = all.Delete(ctx, secret.GetName(), metav1.DeleteOptions{})
		}
		if err != nil {
			return fmt.Errorf("cannot delete token %s: %w", id, server.Explain(err))
		}
		p.printf("token %s is deleted\n", id)
	}
	return p.err
}
