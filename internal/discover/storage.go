package discover

import (
	"fmt"
	"net"
	"strings"

	"ringfence.dev/ringfence/rules"
)

// A volume is what we read of a PersistentVolume: whom nodes ask for it.
type volume struct {
	object

	mounts []mount
}

// A mount is a host outside that a node asks for a volume.
type mount struct {
	kind  storageKind
	host  string
	port  uint16
	field string // JSON pointer of the host
	// old is NFS 3, which asks the portmapper; mountd is its port, 0 if it is not
	// said.
	old    bool
	mountd uint16
}

type storageKind uint8

const (
	nfs storageKind = iota
	smb
	iscsi
	ceph
)

// Ports of storage, as registered.
const (
	nfsPort        = 2049
	portmapperPort = 111
	smbPort        = 445
	iscsiPort      = 3260
	cephPort       = 6789
)

func (r *reader) persistentVolume() {
	var o struct {
		Spec struct {
			MountOptions []string `json:"mountOptions"`
			NFS          struct {
				Server string `json:"server"`
			} `json:"nfs"`
			ISCSI struct {
				TargetPortal string   `json:"targetPortal"`
				Portals      []string `json:"portals"`
			} `json:"iscsi"`
			RBD struct {
				Monitors []string `json:"monitors"`
			} `json:"rbd"`
			CephFS struct {
				Monitors []string `json:"monitors"`
			} `json:"cephfs"`
			CSI struct {
				Driver     string            `json:"driver"`
				Attributes map[string]string `json:"volumeAttributes"`
			} `json:"csi"`
		} `json:"spec"`
	}
	if !r.decode(&o) {
		return
	}
	v := &volume{object: r.object}
	add := func(kind storageKind, port uint16, field string, hosts ...string) {
		for _, text := range hosts {
			if text != "" {
				v.mounts = append(v.mounts, r.mount(kind, port, field, text))
			}
		}
	}
	s := &o.Spec
	add(nfs, nfsPort, "/spec/nfs/server", s.NFS.Server)
	add(iscsi, iscsiPort, "/spec/iscsi/targetPortal", s.ISCSI.TargetPortal)
	add(iscsi, iscsiPort, "/spec/iscsi/portals", s.ISCSI.Portals...)
	add(ceph, cephPort, "/spec/rbd/monitors", s.RBD.Monitors...)
	add(ceph, cephPort, "/spec/cephfs/monitors", s.CephFS.Monitors...)
	switch s.CSI.Driver {
	case "nfs.csi.k8s.io", "nasplugin.csi.alibabacloud.com":
		add(nfs, nfsPort, "/spec/csi/volumeAttributes/server", s.CSI.Attributes["server"])
	case "smb.csi.k8s.io":
		host, _, _ := strings.Cut(strings.TrimPrefix(s.CSI.Attributes["source"], "//"), "/")
		add(smb, smbPort, "/spec/csi/volumeAttributes/source", host)
	}
	for i := range v.mounts {
		r.mountOptions(&v.mounts[i], s.MountOptions)
	}
	if !r.bad && len(v.mounts) > 0 {
		r.keep(v)
	}
}

// mount reads HOST or HOST:PORT. Of NFS and SMB it is the host alone.
func (r *reader) mount(kind storageKind, port uint16, field, text string) mount {
	m := mount{kind: kind, host: strings.Trim(text, "[]"), port: port, field: field}
	host, portText, err := net.SplitHostPort(text)
	if err != nil || kind == nfs || kind == smb {
		return m
	}
	if m.port, err = parsePort(portText); err != nil {
		r.wrongf(field, "%v", err)
	}
	m.host = host
	return m
}

// mountOptions reads the options that say how NFS is spoken.
func (r *reader) mountOptions(m *mount, options []string) {
	if m.kind != nfs {
		return
	}
	for i, list := range options {
		for _, option := range splitList(list) {
			name, value, _ := strings.Cut(option, "=")
			switch name {
			case "vers", "nfsvers":
				m.old = value == "3"
			case "port":
				m.port = r.portText(fmt.Sprintf("/spec/mountOptions/%d", i), value)
			case "mountport":
				m.mountd = r.portText(fmt.Sprintf("/spec/mountOptions/%d", i), value)
			}
		}
	}
}

func (r *reader) portText(pointer, text string) uint16 {
	port, err := parsePort(text)
	if err != nil {
		r.wrongf(pointer, "%v", err)
	}
	return port
}

// derive adds what nodes must reach to mount a volume.
func (v *volume) derive(d *derivation) {
	for i := range v.mounts {
		d.mount(&v.mounts[i], v.at("%s", v.mounts[i].field))
	}
}

func (d *derivation) mount(m *mount, because Evidence) {
	to := d.outside(m.host)
	reach := func(protocol rules.Protocol, port uint16) {
		d.need(&Need{From: Party{Kind: Nodes}, To: to, Protocol: protocol, Ports: one(port), Class: Expected, Wire: Host, Why: "volumes on " + m.host + " cannot be mounted, and pods that use them do not start"}, because)
	}
	reach(rules.TCP, m.port)
	if m.kind == ceph {
		d.dontKnow(&Unknown{About: "the OSDs behind " + m.host, Why: "Ceph's monitors tell of them, and nothing else", Tell: "ceph osd dump; each listens on ports from 6800 on"}, because)
	}
	if m.kind != nfs || !m.old {
		return
	}
	for _, protocol := range []rules.Protocol{rules.TCP, rules.UDP} {
		reach(protocol, portmapperPort)
		if m.mountd != 0 {
			reach(protocol, m.mountd)
		}
	}
	if m.mountd == 0 {
		d.dontKnow(&Unknown{About: "the port of mountd on " + m.host, Why: "NFS 3 asks the portmapper for it", Tell: "mountport in mountOptions; or NFS 4, which does without"}, because)
	}
}
