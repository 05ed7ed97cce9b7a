package agent

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"ringfence.dev/ringfence/internal/nft"
)

// watch tells of changes: a channel that has something when the kernel changed
// what one of the groups of a netlink family is about, as far as it matters.
// Many changes may be told as one. It ends with the context.
func watch(ctx context.Context, family int, groups []uint32, matters func([]netlink.Message) bool) (<-chan struct{}, error) {
	conn, err := netlink.Dial(family, nil)
	if err != nil {
		return nil, fmt.Errorf("cannot watch the kernel: %w", err)
	}
	for _, g := range groups {
		if err := conn.JoinGroup(g); err != nil {
			_ = conn.Close()
			return nil, fmt.Errorf("cannot watch the kernel: %w", err)
		}
	}
	out := make(chan struct{}, 1)
	context.AfterFunc(ctx, func() { _ = conn.Close() })
	go func() {
		for {
			messages, err := conn.Receive()
			if ctx.Err() != nil {
				return
			}
			// An error means that some messages were lost: they may have mattered.
			if err == nil && !matters(messages) {
				continue
			}
			select {
			case out <- struct{}{}:
			default: // one is waiting to be taken
			}
		}
	}()
	return out, nil
}

// watchLinks tells when interfaces, addresses or routes change.
func watchLinks(ctx context.Context) (<-chan struct{}, error) {
	return watch(ctx, unix.NETLINK_ROUTE,
		[]uint32{unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE},
		func([]netlink.Message) bool { return true })
}

// nftFrame is the header of nftables messages, in bytes.
const nftFrame = 4

// watchTable tells when somebody else changes our table.
func watchTable(ctx context.Context) (<-chan struct{}, error) {
	touched := false // by the transaction that is being told
	return watch(ctx, unix.NETLINK_NETFILTER, []uint32{unix.NFNLGRP_NFTABLES}, func(messages []netlink.Message) bool {
		matters := false
		for _, m := range messages {
			if len(m.Data) < nftFrame {
				continue
			}
			attributes, err := netlink.UnmarshalAttributes(m.Data[nftFrame:])
			if err != nil {
				matters = true
				continue
			}
			if m.Header.Type&0xff != unix.NFT_MSG_NEWGEN {
				touched = touched || ofOurTable(attributes)
				continue
			}
			// The end of a transaction.
			matters = matters || touched && !byUs(attributes)
			touched = false
		}
		return matters
	})
}

// ofOurTable looks at the attribute that all objects but generations begin
// with: the name of their table.
func ofOurTable(attributes []netlink.Attribute) bool {
	for _, a := range attributes {
		if a.Type == unix.NFTA_TABLE_NAME && string(trimZero(a.Data)) == nft.TableName {
			return true
		}
	}
	return false
}

func trimZero(b []byte) []byte {
	for len(b) > 0 && b[len(b)-1] == 0 {
		b = b[:len(b)-1]
	}
	return b
}

// byUs reports whether a transaction was ours. In a process namespace of our
// own the kernel gives another number than ours; then we look once too often.
func byUs(attributes []netlink.Attribute) bool {
	const processID = 2 // NFTA_GEN_PROC_PID
	for _, a := range attributes {
		if a.Type == processID && len(a.Data) == 4 {
			return int(binary.BigEndian.Uint32(a.Data)) == os.Getpid()
		}
	}
	return false
}
