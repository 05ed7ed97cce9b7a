package discover

import (
	"cmp"

	"go.yaml.in/yaml/v3"

	"ringfence.dev/ringfence/rules"
)

// kubeProxy finds where kube-proxy says that it is well, by its
// ConfigMap as kubeadm lays it down, or else by its flags.
func (d *derivation) kubeProxy(p *podLike) {
	for _, f := range p.running("kube-proxy") {
		var config struct {
			HealthzBindAddress string `yaml:"healthzBindAddress"`
			MetricsBindAddress string `yaml:"metricsBindAddress"`
		}
		at := f.pod.at("%s%s", f.pod.root, f.container.field)
		if _, ok := f.container.flag("config"); ok {
			m := d.configMap(f.pod.Namespace, "kube-proxy")
			if m == nil {
				d.dontKnow(&Unknown{About: "the ports of kube-proxy", Why: "it reads them from a file", Tell: "ConfigMap " + f.pod.Namespace + "/kube-proxy"}, at)
				continue
			}
			at = m.at("/data/config.conf")
			if err := yaml.Unmarshal([]byte(m.data["config.conf"]), &config); err != nil {
				d.senselessf(&m.object, at.Field, "bad YAML: %v", err)
				continue
			}
		} else {
			config.HealthzBindAddress, _ = f.container.flag("healthz-bind-address")
			config.MetricsBindAddress, _ = f.container.flag("metrics-bind-address")
		}
		d.proxyPort(&f, cmp.Or(config.HealthzBindAddress, "0.0.0.0:10256"), "load balancers that ask take the node for dead", at)
		d.proxyPort(&f, cmp.Or(config.MetricsBindAddress, "127.0.0.1:10249"), "kube-proxy is not monitored", at)
	}
}

func (d *derivation) proxyPort(f *found, address, why string, because Evidence) {
	listens, err := parseListens(address)
	if err != nil {
		d.senselessf(&object{Ref: because.Object, place: because.Place}, because.Field, "address %v", err)
		return
	}
	to := Party{Hosts, "kube-proxy"}
	d.hostsOf(to, f.pod)
	for _, l := range listens {
		if l.port == 0 || isLoopback(l.host) {
			continue
		}
		d.claimed[claim{rules.TCP, l.port}] = true
		d.need(&Need{From: Party{Kind: Anywhere}, To: to, Protocol: rules.TCP, Ports: one(l.port), Class: Optional, Wire: Host, Why: why}, because)
	}
}
