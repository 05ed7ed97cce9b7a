package agent

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/google/nftables"

	"ringfence.dev/ringfence/internal/nft"
)

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
