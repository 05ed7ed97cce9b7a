package apply

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"github.com/mdlayher/netlink"

	"ringfence.dev/ringfence/internal/nft"
)

const (
	// maxElements and maxBytes bound one message: beyond 64 KiB, some 800 elements
	// with long addresses and names, the library loses the rest silently.
	maxElements = 1_000
	maxBytes    = 60_000
	// maxMessages and maxBatch bound one transaction: every message is answered
	// by up to 2 KiB in the receive buffer, and all are sent at once.
	maxMessages = 4_000
	maxBatch    = 200_000 // elements
	// maxFill is how many elements a new map gets in one transaction: the kernel
	// makes room between transactions, and in a map that is too small for them
	// each takes half as long again.
	maxFill = 16_000
	// buffer is the size of the socket's buffers, in bytes: for maxBatch
	// elements of some 100 bytes each.
	buffer = 32 << 20
)

// A Kernel is the connection to the nftables of one network namespace: one
// lasting socket. It is not safe for concurrent use.
type Kernel struct {
	conn *nftables.Conn
	// socket is what conn speaks through, for what the library cannot.
	socket *netlink.Conn
	table  *nftables.Table
	// known are our chains as last seen, or made since; nil if never seen.
	known    map[string]bool
	nextID   uint32
	messages int
	elements int
}

// Open connects to the nftables of the calling thread's network namespace. It
// needs CAP_NET_ADMIN.
func Open() (*Kernel, error) {
	k := &Kernel{table: &nftables.Table{Name: nft.TableName, Family: nftables.TableFamilyINet}}
	return k, k.dial()
}

func (k *Kernel) dial() error {
	conn, err := nftables.New(nftables.AsLasting(), nftables.WithSockOptions(func(c *netlink.Conn) error {
		k.socket = c
		return enlarge(c)
	}))
	if err != nil {
		return fmt.Errorf("cannot open a netlink socket to nftables: %w", err)
	}
	k.conn = conn
	return nil
}

// Close closes the socket. What is enforced stays.
func (k *Kernel) Close() error { return k.conn.CloseLasting() }

// commit sends what was collected as one transaction.
func (k *Kernel) commit(what string) error {
	k.messages, k.elements = 0, 0
	if err := k.conn.Flush(); err != nil {
		k.known = nil
		// Answers that nobody has read would be taken for those to what comes next.
		if err := k.conn.CloseLasting(); err != nil {
			return fmt.Errorf("cannot close a netlink socket: %w", err)
		}
		if err := k.dial(); err != nil {
			return err
		}
		return fmt.Errorf("cannot %s: the kernel refuses: %w", what, err)
	}
	return nil
}

// commitLarge commits when the transaction has grown large.
func (k *Kernel) commitLarge(what string) error {
	if k.messages < maxMessages && k.elements < maxBatch {
		return nil
	}
	return k.commit(what)
}

func (k *Kernel) chain(name string) *nftables.Chain {
	return &nftables.Chain{Name: name, Table: k.table}
}

func (k *Kernel) set(m *nft.Map) *nftables.Set {
	k.nextID++
	s := &nftables.Set{
		Table: k.table, ID: k.nextID, Name: m.Name, Interval: m.Interval, HasTimeout: m.Timeout,
		KeyType: fieldOf(m.Key).datatype, KeyByteOrder: binaryutil.BigEndian,
	}
	if !m.Set {
		s.IsMap, s.DataType = true, nftables.TypeVerdict
	}
	return s
}

func (k *Kernel) uplinkSet() *nftables.Set {
	return &nftables.Set{Table: k.table, ID: 1 << 30, Name: nft.UplinkSet, KeyType: nftables.TypeIFName, KeyByteOrder: binaryutil.NativeEndian}
}

// makeNode collects the messages that make a node, and commits some of them if
// they are many. The chain comes last: where it is, all of the node is.
func (k *Kernel) makeNode(n *nft.Node) error {
	if n.Counted {
		k.conn.AddObj(&nftables.NamedObj{Table: k.table, Name: n.Name, Type: nftables.ObjTypeCounter, Obj: &expr.Counter{}})
	}
	for i := range n.Maps {
		s := k.set(&n.Maps[i])
		if err := k.conn.AddSet(s, nil); err != nil {
			return fmt.Errorf("cannot make map %s: %w", s.Name, err)
		}
		if err := k.fill(s, &n.Maps[i]); err != nil {
			return err
		}
	}
	c := k.chain(n.Name)
	if n.Hook != nil {
		hook(c, n.Hook)
	}
	k.conn.AddChain(c)
	k.addRules(c, n)
	k.messages += 2 + len(n.Maps)
	return nil
}

func hook(c *nftables.Chain, h *nft.Hook) {
	c.Type = nftables.ChainTypeFilter
	c.Hooknum = nftables.ChainHookPrerouting
	if h.Name == "postrouting" {
		c.Hooknum = nftables.ChainHookPostrouting
	}
	c.Priority = new(nftables.ChainPriority(h.Priority))
	policy := nftables.ChainPolicyAccept
	c.Policy = &policy
}

func (k *Kernel) addRules(c *nftables.Chain, n *nft.Node) {
	var comment []byte
	if n.Comment != "" {
		comment = userdata.AppendString(nil, userdata.TypeComment, n.Comment)
	}
	for _, r := range n.Rules {
		k.conn.AddRule(&nftables.Rule{Table: k.table, Chain: c, Exprs: expressions(r), UserData: comment})
		comment = nil
		k.messages++
	}
}

// present lists our chains and our sets by name.
func (k *Kernel) present() (chains, sets map[string]bool, err error) {
	chains, sets = map[string]bool{}, map[string]bool{}
	all, err := k.conn.ListChainsOfTableFamily(nftables.TableFamilyINet)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot list the chains: %w", err)
	}
	for _, c := range all {
		if c.Table.Name == nft.TableName {
			chains[c.Name] = true
		}
	}
	if len(chains) == 0 {
		if _, err := k.conn.ListTableOfFamily(nft.TableName, nftables.TableFamilyINet); err != nil {
			k.known = map[string]bool{}
			return chains, sets, nil //nolint:nilerr // there is no table yet
		}
	}
	k.known = maps.Clone(chains)
	list, err := k.conn.GetSets(k.table)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot list the sets of table %s: %w", nft.TableName, err)
	}
	for _, s := range list {
		sets[s.Name] = true
	}
	return chains, sets, nil
}

// kinds are the kinds of nodes, by how their names begin, but for leaves: what
// comes first may refer to what comes later, never the other way round.
var kinds = []string{"base", "related", "v", "proto", "port", "type", "member", "sport"} //nolint:gochecknoglobals // a constant

func order(name string) int {
	kind, _, _ := strings.Cut(name, "_")
	if i := slices.Index(kinds, kind); i >= 0 {
		return i
	}
	return len(kinds)
}
