package apply

import (
	"errors"
	"fmt"

	"github.com/google/nftables"

	"ringfence.dev/ringfence/internal/nft"
	"ringfence.dev/ringfence/rules/flowset"
)

// probeTable is made and deleted by Probe, and no packet is judged by it.
const probeTable = nft.TableName + "-probe"

// Probe asks the kernel for each thing that we need of it, in a table of its
// own that is gone afterwards. An error says what is missing.
func (k *Kernel) Probe() error {
	p := &Kernel{conn: k.conn, socket: k.socket, table: &nftables.Table{Name: probeTable, Family: nftables.TableFamilyINet}}
	p.conn.AddTable(p.table)
	err := p.commit("make a table of family inet (the kernel needs CONFIG_NF_TABLES_INET, this process CAP_NET_ADMIN)")
	if err == nil {
		err = p.probeParts()
		p.conn.DelTable(p.table)
		err = errors.Join(err, p.commit("delete table "+probeTable))
	}
	k.conn, k.socket = p.conn, p.socket // another one if something was refused
	return err
}

func (k *Kernel) probeParts() error {
	one := flowset.Addr{Lo: 1}
	elements := []nft.Element{{Range: flowset.AddrRange{First: one, Last: flowset.Addr{Lo: 9}}, Goto: "leaf"}}
	leaf := nft.Node{Name: "leaf", Counted: true, Rules: []nft.Rule{nft.Count{Counter: "leaf"}, nft.Drop{}}}
	for _, part := range []struct {
		what string
		node nft.Node
	}{
		{"count by name (CONFIG_NFT_OBJREF)", leaf},
		{"keep verdicts in an interval map", nft.Node{Name: "interval", Maps: []nft.Map{{Name: "interval", Key: nft.DestinationPort, Interval: true, Elements: elements}}, Rules: []nft.Rule{nft.Lookup{Key: nft.DestinationPort, Map: "interval"}}}},
		{"end elements by a timeout", nft.Node{Name: "timeout", Maps: []nft.Map{{Name: "timeout", Key: nft.Family, Timeout: true}}, Rules: []nft.Rule{nft.Lookup{Key: nft.Family, Map: "timeout"}}}},
		{"track connections (CONFIG_NFT_CT, CONFIG_NF_CONNTRACK)", nft.Node{Name: "track", Rules: []nft.Rule{nft.AcceptEstablished{}}}},
		{"hook into prerouting", nft.Node{Name: "hook", Hook: &nft.Hook{Name: "prerouting", Priority: -160}}},
	} {
		if err := k.makeNode(&part.node); err != nil {
			return err
		}
		if err := k.commit(part.what); err != nil {
			return err
		}
	}
	if err := k.probeRevoked(); err != nil {
		return err
	}
	return k.probeLog()
}

func (k *Kernel) probeRevoked() error {
	if err := k.makeRevoked(nil); err != nil {
		return err
	}
	n := nft.Node{Name: "revoked"}
	for _, s := range nft.Spaces {
		n.Rules = append(n.Rules, nft.GotoRevoked{Space: s, Chain: "leaf"}, nft.RenewRevoked{Space: s})
	}
	if err := k.makeNode(&n); err != nil {
		return err
	}
	return k.commit("remember flows for a time that begins again with each packet")
}

func (k *Kernel) probeLog() error {
	k.logLimit()
	if err := k.makeNode(&nft.Node{Name: "log", Rules: []nft.Rule{nft.Log{Prefix: "probe"}}}); err != nil {
		return fmt.Errorf("cannot probe logging: %w", err)
	}
	return k.commit("log within a limit (CONFIG_NFT_LIMIT, CONFIG_NFT_LOG, CONFIG_NETFILTER_NETLINK_LOG)")
}
