package agent

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/google/nftables"

	"ringfence.dev/ringfence/internal/nft"
)

// The set of uplinks is the one thing in the table that belongs to no version.

func uplinkSet() *nftables.Set {
	return &nftables.Set{
		Table: &nftables.Table{Name: nft.TableName, Family: nftables.TableFamilyINet},
		Name:  nft.UplinkSet, KeyType: nftables.TypeIFName,
	}
}

// readUplinks returns the uplinks that are judged, sorted.
func readUplinks() ([]string, error) {
	conn, err := nftables.New()
	if err != nil {
		return nil, fmt.Errorf("cannot open a netlink socket to nftables: %w", err)
	}
	list, err := conn.GetSetElements(uplinkSet())
	if err != nil {
		return nil, fmt.Errorf("cannot read set %s: %w", nft.UplinkSet, err)
	}
	var out []string
	for _, e := range list {
		out = append(out, string(bytes.TrimRight(e.Key, "\x00")))
	}
	slices.Sort(out)
	return out, nil
}

// writeUplinks changes what is judged in one transaction, without a moment
// in which nothing is. The set must be there, and uplinks not empty.
func writeUplinks(uplinks []string) error {
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("cannot open a netlink socket to nftables: %w", err)
	}
	var list []nftables.SetElement
	for _, u := range uplinks {
		key := make([]byte, 16) //nolint:mnd // IFNAMSIZ
		copy(key[:15], u)
		list = append(list, nftables.SetElement{Key: key})
	}
	conn.FlushSet(uplinkSet())
	if err := conn.SetAddElements(uplinkSet(), list); err != nil {
		return fmt.Errorf("cannot change set %s: %w", nft.UplinkSet, err)
	}
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("cannot change set %s: the kernel refuses: %w", nft.UplinkSet, err)
	}
	return nil
}
