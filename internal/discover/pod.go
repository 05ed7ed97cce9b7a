package discover

import (
	"fmt"
	"net/netip"
	"path"
	"strings"

	"ringfence.dev/ringfence/rules"
)

// A podLike is a pod, or the template that a workload makes pods from.
type podLike struct {
	object

	// root is the JSON pointer of the spec.
	root   string
	mounts []mount
	// configMaps are the names of those that are mounted.
	configMaps  []string
	hostNetwork bool
	containers  []container
	// addresses and node are those of a pod, once it runs.
	addresses []netip.Addr
	node      string
	isPod     bool
}

type container struct {
	// field is the JSON pointer within the spec, such as /containers/0.
	field   string
	image   string
	command []string // and arguments
	env     []envVar
	ports   []containerPort
}

type envVar struct {
	Name      string `json:"name"`
	Value     string `json:"value"`
	ValueFrom struct {
		ConfigMapKeyRef struct {
			Name string `json:"name"`
			Key  string `json:"key"`
		} `json:"configMapKeyRef"`
		FieldRef struct {
			FieldPath string `json:"fieldPath"`
		} `json:"fieldRef"`
	} `json:"valueFrom"`
}

type containerPort struct {
	name           string
	protocol       rules.Protocol
	port, hostPort uint16
	hostIP         netip.Addr // zero: all addresses
}

type rawPodSpec struct {
	HostNetwork    bool           `json:"hostNetwork"`
	NodeName       string         `json:"nodeName"`
	Containers     []rawContainer `json:"containers"`
	InitContainers []rawContainer `json:"initContainers"`
	Volumes        []struct {
		ConfigMap struct {
			Name string `json:"name"`
		} `json:"configMap"`
		NFS *struct {
			Server string `json:"server"`
		} `json:"nfs"`
	} `json:"volumes"`
}

type rawContainer struct {
	Image         string   `json:"image"`
	Command       []string `json:"command"`
	Args          []string `json:"args"`
	RestartPolicy string   `json:"restartPolicy"`
	Env           []envVar `json:"env"`
	Ports         []struct {
		Name          string `json:"name"`
		Protocol      string `json:"protocol"`
		ContainerPort int64  `json:"containerPort"`
		HostPort      int64  `json:"hostPort"`
		HostIP        string `json:"hostIP"`
	} `json:"ports"`
}

func (r *reader) pod() {
	var o struct {
		Spec   rawPodSpec `json:"spec"`
		Status struct {
			Phase  string `json:"phase"`
			PodIP  string `json:"podIP"`
			PodIPs []struct {
				IP string `json:"ip"`
			} `json:"podIPs"`
		} `json:"status"`
	}
	if !r.decode(&o) || o.Status.Phase == "Succeeded" || o.Status.Phase == "Failed" {
		return
	}
	p := &podLike{object: r.object, root: "/spec", node: o.Spec.NodeName, isPod: true}
	r.podSpec(p, &o.Spec)
	for i, ip := range o.Status.PodIPs {
		p.addresses = append(p.addresses, r.addr(fmt.Sprintf("/status/podIPs/%d/ip", i), ip.IP))
	}
	if len(p.addresses) == 0 && o.Status.PodIP != "" {
		p.addresses = append(p.addresses, r.addr("/status/podIP", o.Status.PodIP))
	}
	if !r.bad {
		r.keep(p)
	}
}

func (r *reader) workload() {
	var o struct {
		Spec struct {
			Replicas *int64 `json:"replicas"`
			Template struct {
				Metadata struct {
					Labels map[string]string `json:"labels"`
				} `json:"metadata"`
				Spec rawPodSpec `json:"spec"`
			} `json:"template"`
		} `json:"spec"`
	}
	if !r.decode(&o) {
		return
	}
	if r.owner.kind == "Deployment" && o.Spec.Replicas != nil && *o.Spec.Replicas == 0 {
		return // an old version of it
	}
	p := &podLike{object: r.object, root: "/spec/template/spec"}
	p.labels = o.Spec.Template.Metadata.Labels
	r.podSpec(p, &o.Spec.Template.Spec)
	if !r.bad {
		r.keep(p)
	}
}

func (r *reader) podSpec(p *podLike, spec *rawPodSpec) {
	p.hostNetwork = spec.HostNetwork
	for i, v := range spec.Volumes {
		if v.NFS != nil && v.NFS.Server != "" {
			p.mounts = append(p.mounts, mount{kind: nfs, host: v.NFS.Server, port: nfsPort, field: fmt.Sprintf("%s/volumes/%d/nfs/server", p.root, i)})
		}
		if v.ConfigMap.Name != "" {
			p.configMaps = append(p.configMaps, v.ConfigMap.Name)
		}
	}
	for i := range spec.Containers {
		r.container(p, fmt.Sprintf("/containers/%d", i), &spec.Containers[i])
	}
	for i := range spec.InitContainers {
		if spec.InitContainers[i].RestartPolicy == "Always" { // a sidecar
			r.container(p, fmt.Sprintf("/initContainers/%d", i), &spec.InitContainers[i])
		}
	}
}

func (r *reader) container(p *podLike, field string, raw *rawContainer) {
	c := container{field: field, image: raw.Image, command: append(raw.Command, raw.Args...), env: raw.Env}
	for i := range raw.Ports {
		rp, at := &raw.Ports[i], fmt.Sprintf("%s%s/ports/%d", p.root, field, i)
		port := containerPort{
			name: rp.Name, protocol: r.protocol(at+"/protocol", rp.Protocol),
			port: r.port(at+"/containerPort", rp.ContainerPort), hostPort: r.port(at+"/hostPort", rp.HostPort),
		}
		if rp.ContainerPort == 0 {
			r.wrongf(at+"/containerPort", "want a port from 1 to 65535")
		}
		if rp.HostIP != "" {
			port.hostIP = r.addr(at+"/hostIP", rp.HostIP)
		}
		c.ports = append(c.ports, port)
	}
	p.containers = append(p.containers, c)
}

// find looks up a port by its name; the evidence names where.
func (p *podLike) find(portName string, proto rules.Protocol) (uint16, Evidence, bool) {
	for i := range p.containers {
		c := &p.containers[i]
		for k := range c.ports {
			if c.ports[k].name == portName && c.ports[k].protocol == proto {
				return c.ports[k].port, p.at("%s%s/ports/%d/containerPort", p.root, c.field, k), true
			}
		}
	}
	return 0, Evidence{}, false
}

// program is the base name of what a container runs, empty if the image says.
func (c *container) program() string {
	if len(c.command) == 0 || strings.HasPrefix(c.command[0], "-") {
		return ""
	}
	return path.Base(c.command[0])
}

// imageName is the last part of the image's name, without tag and digest.
func (c *container) imageName() string {
	last := path.Base(strings.SplitN(c.image, "@", 2)[0])
	return strings.SplitN(last, ":", 2)[0]
}

// imagePath is the image without registry, tag and digest, such as metallb/speaker.
func (c *container) imagePath() string {
	return path.Join(path.Base(path.Dir(c.image)), c.imageName())
}

// flag returns the value of --name=VALUE or --name VALUE, the last of several.
func (c *container) flag(flagName string) (value string, ok bool) {
	for i, arg := range c.command {
		arg, dashes := strings.CutPrefix(arg, "-")
		if !dashes {
			continue
		}
		k, v, has := strings.Cut(strings.TrimPrefix(arg, "-"), "=")
		switch {
		case k != flagName:
		case has:
			value, ok = v, true
		case i+1 < len(c.command) && !strings.HasPrefix(c.command[i+1], "-"):
			value, ok = c.command[i+1], true
		}
	}
	return value, ok
}

// switched reports whether a flag that is on or off is on: --name, --name=true
// or --name=false, the last of several.
func (c *container) switched(flagName string, byDefault bool) bool {
	on := byDefault
	for _, arg := range c.command {
		name, value, has := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		if name == flagName && strings.HasPrefix(arg, "-") {
			on = !has || value == "true" || value == "1"
		}
	}
	return on
}
