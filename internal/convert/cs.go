package convert

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"ringfence.dev/ringfence/profiles"
	"ringfence.dev/ringfence/rules"
)

type csCluster struct {
	ClusterID       fuzzyText                 `json:"cluster_id"`
	Name            fuzzyText                 `json:"name"`
	VPCID           fuzzyText                 `json:"vpc_id"`
	SecurityGroupID fuzzyText                 `json:"security_group_id"`
	Enterprise      fuzzyText                 `json:"is_enterprise_security_group"`
	ContainerCIDR   fuzzyText                 `json:"container_cidr"`
	SubnetCIDR      fuzzyText                 `json:"subnet_cidr"`
	VSwitchIDs      []string                  `json:"vswitch_ids"`
	VSwitchID       fuzzyText                 `json:"vswitch_id"`
	MasterURL       fuzzyText                 `json:"master_url"`
	MetaData        fuzzyText                 `json:"meta_data"`
	Parameters      map[string]jsontext.Value `json:"parameters"`
}

// clusterDetail reads CS DescribeClusterDetail.
//
// Its network_mode says vpc or classic and nothing about the network plugin,
// which only the list of addons in meta_data tells for certain.
func (b *builder) clusterDetail(d *document) error {
	var in csCluster
	if err := d.decode(&in); err != nil {
		return err
	}
	if in.ClusterID == "" {
		return d.bad("/cluster_id", "no cluster_id: want one such as c82e6987e2961451182edacd74faf1234")
	}
	c := cluster{Cluster: Cluster{
		ID:     string(in.ClusterID),
		Title:  string(in.Name),
		VPC:    string(in.VPCID),
		Group:  string(in.SecurityGroupID),
		Origin: Cloud,
		Place:  d.at(""),
	}}
	if isTrue(in.Enterprise) || isTrue(in.parameter("IsEnterpriseSecurityGroup")) {
		c.GroupType = rules.Advanced
	}
	c.Facts.Cluster = cmp.Or(c.Title, c.ID)
	c.InnerAccess = c.GroupType == rules.Basic // what ACK makes
	c.subnetIDs = mergeIDs(in.VSwitchIDs, commaList(string(in.VSwitchID)))
	if err := in.apiServer(d, &c); err != nil {
		return err
	}
	meta, err := in.metaData(d)
	if err != nil {
		return err
	}
	n := clusterNetwork{
		addons:   meta.Addons,
		hints:    []string{string(in.parameter("Network")), string(meta.Capabilities.Network)},
		podCIDR:  term{"container_cidr", string(in.ContainerCIDR)},
		podCIDR2: term{"subnet_cidr", string(in.SubnetCIDR)},
	}
	if in.SubnetCIDR == "" {
		n.podCIDR2 = term{"parameters/ContainerCIDR", string(in.parameter("ContainerCIDR"))}
	}
	n.podSubnets, err = in.podSubnets(d, meta)
	if err != nil {
		return err
	}
	if err := n.apply(&c, d.bad); err != nil {
		return err
	}
	b.clusters = append(b.clusters, c)
	return nil
}

func isTrue(t fuzzyText) bool { return strings.EqualFold(string(t), "true") }

// parameter returns one of the many settings that only the answer's untyped
// map has, as text; empty if it is absent or no scalar.
func (in *csCluster) parameter(name string) fuzzyText {
	var t fuzzyText
	if v := in.Parameters[name]; len(v) == 0 || json.Unmarshal(v, &t) != nil {
		return ""
	}
	return t
}

type csMetaData struct {
	Addons       []csAddon      `json:"Addons"`
	PodVSwitchID jsontext.Value `json:"PodVswitchId"`
	Capabilities struct {
		Network fuzzyText `json:"Network"`
	} `json:"Capabilities"`
}

// A csAddon is a component of a cluster; its Config is JSON in a string.
type csAddon struct {
	Name     fuzzyText `json:"name"`
	Config   fuzzyText `json:"config"`
	Disabled fuzzyText `json:"disabled"`
}

func (in *csCluster) metaData(d *document) (*csMetaData, error) {
	var meta csMetaData
	if in.MetaData == "" {
		return &meta, nil
	}
	if err := json.Unmarshal([]byte(in.MetaData), &meta); err != nil {
		return nil, d.bad("/meta_data", "not the JSON that is expected in this string, as the API answers it: %w", plain(err))
	}
	return &meta, nil
}

// podSubnets lists the vSwitches of pod interfaces: from the addon's
// configuration, else from the older places.
func (in *csCluster) podSubnets(d *document, meta *csMetaData) ([]string, error) {
	ids, err := addonSubnets(meta.Addons)
	if err != nil {
		return nil, d.bad("/meta_data", "%w", err)
	}
	if len(ids) == 0 {
		ids, err = subnetIDs(meta.PodVSwitchID)
	}
	if err != nil {
		return nil, d.bad("/meta_data", "PodVswitchId: %w", plain(err))
	}
	if text := in.parameter("PodVswitchIds"); len(ids) == 0 && text != "" {
		// Some releases print this list in a form of their own. It is the last
		// hint, and not to know the pod subnets will be said.
		quoted, _ := json.Marshal(string(text))
		ids, _ = subnetIDs(quoted)
	}
	return ids, nil
}

// apiServer reads master_url. Nodes talk to the address inside the VPC; the
// public one counts only where there is no other. Host names give nothing.
func (in *csCluster) apiServer(d *document, c *cluster) error {
	var urls struct {
		Intranet fuzzyText `json:"intranet_api_server_endpoint"`
		Public   fuzzyText `json:"api_server_endpoint"`
	}
	if in.MasterURL != "" {
		if err := json.Unmarshal([]byte(in.MasterURL), &urls); err != nil {
			return d.bad("/master_url", "not the JSON that is expected in this string, as the API answers it: %w", plain(err))
		}
	}
	c.setAPIServer(string(urls.Intranet), string(urls.Public))
	return nil
}

// setAPIServer takes the first endpoint that names an address.
func (c *cluster) setAPIServer(endpoints ...string) {
	for _, text := range endpoints {
		if addr, port, ok := endpointAddress(text); ok {
			prefix := netip.PrefixFrom(addr, addr.BitLen())
			c.Facts.APIServer = []rules.CIDR{{Prefix: prefix, Text: prefix.String()}}
			c.Facts.APIServerPort = port
			return
		}
	}
}

// endpointAddress reads https://ADDRESS:PORT or a bare address; port is 0
// where none is written or implied.
func endpointAddress(text string) (addr netip.Addr, port uint16, ok bool) {
	host := text
	if strings.Contains(text, "://") {
		u, err := url.Parse(text)
		if err != nil {
			return netip.Addr{}, 0, false
		}
		host = u.Hostname()
		if n, err := strconv.ParseUint(u.Port(), 10, 16); err == nil {
			port = uint16(n)
		} else if u.Scheme == "https" {
			port = 443
		}
	}
	addr, err := netip.ParseAddr(host)
	return addr.Unmap().WithZone(""), port, err == nil
}

// A clusterNetwork is what an export says about a cluster's network plugin.
type clusterNetwork struct {
	addons     []csAddon
	hints      []string // names of the plugin in other places
	podSubnets []string
	podCIDR    term
	podCIDR2   term // where podCIDR is missing
}

// apply sets the cluster's mode and pod ranges as far as they are told.
func (n *clusterNetwork) apply(c *cluster, bad func(pointer, format string, args ...any) error) error {
	pods, err := n.podCIDRs(bad)
	if err != nil {
		return err
	}
	c.Facts.Mode = n.mode(len(pods))
	if c.Facts.Mode == profiles.Terway {
		c.podSubnetIDs = n.podSubnets
		return nil
	}
	c.Facts.PodCIDRs = pods
	return nil
}

func (n *clusterNetwork) podCIDRs(bad func(pointer, format string, args ...any) error) ([]rules.CIDR, error) {
	f := n.podCIDR
	if f.text == "" {
		f = n.podCIDR2
	}
	var list []rules.CIDR
	for _, text := range commaList(f.text) {
		c, err := rules.ParseCIDR(text)
		if err != nil {
			return nil, bad("/"+f.name, "%w", err)
		}
		list = append(list, c)
	}
	return list, nil
}

// mode tells the plugin by the installed addon, then by its name elsewhere,
// then by what only one of them has.
func (n *clusterNetwork) mode(podCIDRs int) profiles.NetworkMode {
	var installed []string
	for _, a := range n.addons {
		if !isTrue(a.Disabled) {
			installed = append(installed, string(a.Name))
		}
	}
	for _, list := range [][]string{installed, n.hints} {
		names := strings.ToLower(strings.Join(list, " "))
		switch {
		case strings.Contains(names, "terway"):
			return profiles.Terway
		case strings.Contains(names, "flannel"):
			return profiles.Flannel
		}
	}
	switch {
	case len(n.podSubnets) > 0:
		return profiles.Terway
	case podCIDRs > 0 && n.podCIDR.text != "":
		return profiles.Flannel
	}
	return ""
}

// addonSubnets lists the pod vSwitches that the Terway addon is configured with.
func addonSubnets(addons []csAddon) ([]string, error) {
	var ids []string
	for _, a := range addons {
		if !strings.HasPrefix(string(a.Name), "terway") || a.Config == "" || isTrue(a.Disabled) {
			continue
		}
		var config struct {
			PodVSwitchID jsontext.Value `json:"PodVswitchId"`
		}
		if err := json.Unmarshal([]byte(a.Config), &config); err != nil {
			return nil, badConfig(string(a.Name), err)
		}
		more, err := subnetIDs(config.PodVSwitchID)
		if err != nil {
			return nil, badConfig(string(a.Name), err)
		}
		ids = mergeIDs(ids, more)
	}
	return ids, nil
}

// badConfig says that an addon's configuration is not what it should be.
func badConfig(addon string, err error) error {
	return fmt.Errorf("configuration of addon %s: want JSON with PodVswitchId: {ZONE: [vsw-…]}: %w", addon, plain(err))
}

// subnetIDs reads vSwitch ids in any of the forms in which the API writes them:
// a map of lists by zone, a list, one id, or one of these as JSON in a string.
func subnetIDs(v jsontext.Value) ([]string, error) {
	if len(v) == 0 {
		return nil, nil
	}
	if v.Kind() == '{' {
		var zones map[string][]string
		if err := json.Unmarshal(v, &zones); err != nil {
			return nil, err
		}
		var ids []string
		for _, zone := range slices.Sorted(maps.Keys(zones)) {
			ids = mergeIDs(ids, zones[zone])
		}
		return ids, nil
	}
	if v.Kind() == '[' {
		var ids []string
		err := json.Unmarshal(v, &ids)
		return mergeIDs(ids), err
	}
	var text fuzzyText
	if err := json.Unmarshal(v, &text); err != nil {
		return nil, err
	}
	inner := strings.TrimSpace(string(text))
	if strings.HasPrefix(inner, "{") || strings.HasPrefix(inner, "[") {
		return subnetIDs(jsontext.Value(inner))
	}
	return commaList(inner), nil
}

// commaList splits a list such as vsw-1,vsw-2; an empty text is an empty list.
func commaList(text string) []string {
	var list []string
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part != "" {
			list = append(list, part)
		}
	}
	return list
}

// mergeIDs joins lists in order, without what is empty or there already.
func mergeIDs(lists ...[]string) []string {
	var all []string
	seen := map[string]bool{"": true}
	for _, id := range slices.Concat(lists...) {
		if !seen[id] {
			seen[id] = true
			all = append(all, id)
		}
	}
	return all
}
