package convert

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"ringfence.dev/ringfence/rules"
)

type ecsPrefixList struct {
	ecsPaging
	PrefixListID  fuzzyText `json:"PrefixListId"`
	AddressFamily fuzzyText `json:"AddressFamily"`
	MaxEntries    fuzzyText `json:"MaxEntries"`
	Entries       struct {
		Entry []struct {
			CIDR fuzzyText `json:"Cidr"`
		} `json:"Entry"`
	} `json:"Entries"`
}

// prefixListAttributes reads DescribePrefixListAttributes.
func (b *builder) prefixListAttributes(d *document) error {
	var in ecsPrefixList
	if err := d.decode(&in); err != nil {
		return err
	}
	if in.PrefixListID == "" {
		return d.bad("/PrefixListId", "no PrefixListId: want one such as pl-x1j1k5ykzqlixdcy5u7k")
	}
	list := prefixList{place: d.at("")}
	list.Name, list.MaxEntries = string(in.PrefixListID), in.MaxEntries.count()
	want := string(in.AddressFamily)
	var mistakes []error
	for i, e := range in.Entries.Entry {
		c, err := cidrOf(string(e.CIDR), want)
		if want == "" {
			c, err = rules.ParseCIDR(string(e.CIDR))
		}
		if err != nil {
			mistakes = append(mistakes, d.bad("/Entries/Entry/"+strconv.Itoa(i)+"/Cidr", "%w", err))
			continue
		}
		want = string(familyOf(c))
		list.Entries = append(list.Entries, c)
	}
	if in.NextToken != "" {
		b.addPage(page{kind: "DescribePrefixListAttributes", of: list.Name, count: len(in.Entries.Entry), place: list.place}, in.ecsPaging)
	}
	b.lists = append(b.lists, list)
	return join(mistakes)
}

type ecsGroupIDs struct {
	SecurityGroupID []string `json:"SecurityGroupId"`
}

// An ecsAddresses holds the addresses of one network interface. Public ones
// are no members of a group: the cloud translates them before it asks.
type ecsAddresses struct {
	PrivateIPAddress fuzzyText `json:"PrivateIpAddress"`
	PrimaryIPAddress fuzzyText `json:"PrimaryIpAddress"`
	PrivateIPSets    struct {
		PrivateIPSet []struct {
			PrivateIPAddress fuzzyText `json:"PrivateIpAddress"`
		} `json:"PrivateIpSet"`
	} `json:"PrivateIpSets"`
	IPv6Sets struct {
		IPv6Set []struct {
			IPv6Address fuzzyText `json:"Ipv6Address"`
		} `json:"Ipv6Set"`
	} `json:"Ipv6Sets"`
	IPv4PrefixSets struct {
		IPv4PrefixSet []struct {
			IPv4Prefix fuzzyText `json:"Ipv4Prefix"`
		} `json:"Ipv4PrefixSet"`
	} `json:"Ipv4PrefixSets"`
	IPv6PrefixSets struct {
		IPv6PrefixSet []struct {
			IPv6Prefix fuzzyText `json:"Ipv6Prefix"`
		} `json:"Ipv6PrefixSet"`
	} `json:"Ipv6PrefixSets"`
}

// fields lists the addresses with their pointers below the interface.
func (a *ecsAddresses) fields() []term {
	list := []term{{"PrivateIpAddress", string(a.PrivateIPAddress)}, {"PrimaryIpAddress", string(a.PrimaryIPAddress)}}
	for i, s := range a.PrivateIPSets.PrivateIPSet {
		list = append(list, term{"PrivateIpSets/PrivateIpSet/" + strconv.Itoa(i) + "/PrivateIpAddress", string(s.PrivateIPAddress)})
	}
	for i, s := range a.IPv6Sets.IPv6Set {
		list = append(list, term{"Ipv6Sets/Ipv6Set/" + strconv.Itoa(i) + "/Ipv6Address", string(s.IPv6Address)})
	}
	for i, s := range a.IPv4PrefixSets.IPv4PrefixSet {
		list = append(list, term{"Ipv4PrefixSets/Ipv4PrefixSet/" + strconv.Itoa(i) + "/Ipv4Prefix", string(s.IPv4Prefix)})
	}
	for i, s := range a.IPv6PrefixSets.IPv6PrefixSet {
		list = append(list, term{"Ipv6PrefixSets/Ipv6PrefixSet/" + strconv.Itoa(i) + "/Ipv6Prefix", string(s.IPv6Prefix)})
	}
	return list
}

// addresses reads addresses and prefixes; empty fields are skipped.
func addresses(d *document, pointer string, fields []term) ([]netip.Prefix, error) {
	var list []netip.Prefix
	var mistakes []error
	for _, f := range fields {
		if f.text == "" {
			continue
		}
		c, err := rules.ParseCIDR(f.text)
		if err != nil {
			mistakes = append(mistakes, d.bad(member(pointer, f.name), "%w", err))
			continue
		}
		list = append(list, c.Prefix)
	}
	return sortedPrefixes(list), join(mistakes)
}

func sortedPrefixes(list []netip.Prefix) []netip.Prefix {
	slices.SortFunc(list, netip.Prefix.Compare)
	return slices.Compact(list)
}

func sortedNames(list []string) []string {
	list = slices.Clone(list)
	slices.Sort(list)
	return slices.Compact(list)
}

type ecsInterfaces struct {
	ecsPaging
	NetworkInterfaceSets struct {
		NetworkInterfaceSet []struct {
			ecsAddresses
			NetworkInterfaceID fuzzyText   `json:"NetworkInterfaceId"`
			VPCID              fuzzyText   `json:"VpcId"`
			SecurityGroupIDs   ecsGroupIDs `json:"SecurityGroupIds"`
		} `json:"NetworkInterfaceSet"`
	} `json:"NetworkInterfaceSets"`
}

// networkInterfaces reads DescribeNetworkInterfaces: the true members of groups.
func (b *builder) networkInterfaces(d *document) error {
	var in ecsInterfaces
	if err := d.decode(&in); err != nil {
		return err
	}
	list := in.NetworkInterfaceSets.NetworkInterfaceSet
	var mistakes []error
	for i := range list {
		pointer := "/NetworkInterfaceSets/NetworkInterfaceSet/" + strconv.Itoa(i)
		if list[i].NetworkInterfaceID == "" {
			mistakes = append(mistakes, d.bad(pointer+"/NetworkInterfaceId", "no NetworkInterfaceId: want one such as eni-bp125p95hhdhn3ot4abc"))
			continue
		}
		addrs, err := addresses(d, pointer, list[i].fields())
		if err != nil {
			mistakes = append(mistakes, err)
		}
		b.interfaces = append(b.interfaces, Interface{
			ID:        string(list[i].NetworkInterfaceID),
			Addresses: addrs,
			Groups:    sortedNames(list[i].SecurityGroupIDs.SecurityGroupID),
			VPC:       string(list[i].VPCID),
			Origin:    Cloud,
			Place:     d.at(pointer),
		})
	}
	b.addPage(page{kind: "DescribeNetworkInterfaces", count: len(list), place: d.at("")}, in.ecsPaging)
	return join(mistakes)
}

type ecsInstances struct {
	ecsPaging
	Instances struct {
		Instance []ecsInstance `json:"Instance"`
	} `json:"Instances"`
}

type ecsInstance struct {
	InstanceID       fuzzyText   `json:"InstanceId"`
	SecurityGroupIDs ecsGroupIDs `json:"SecurityGroupIds"`
	VPCAttributes    struct {
		VPCID            fuzzyText `json:"VpcId"`
		PrivateIPAddress struct {
			IPAddress []string `json:"IpAddress"`
		} `json:"PrivateIpAddress"`
	} `json:"VpcAttributes"`
	NetworkInterfaces struct {
		NetworkInterface []struct {
			ecsAddresses
			Type fuzzyText `json:"Type"`
		} `json:"NetworkInterface"`
	} `json:"NetworkInterfaces"`
}

// instances reads DescribeInstances.
func (b *builder) instances(d *document) error {
	var in ecsInstances
	if err := d.decode(&in); err != nil {
		return err
	}
	list := in.Instances.Instance
	var mistakes []error
	for i := range list {
		one, err := list[i].primary(d, "/Instances/Instance/"+strconv.Itoa(i))
		if err != nil {
			mistakes = append(mistakes, err)
		}
		b.interfaces = append(b.interfaces, one)
	}
	b.addPage(page{kind: "DescribeInstances", count: len(list), place: d.at("")}, in.ecsPaging)
	return join(mistakes)
}

// primary returns the instance's primary interface. The instance's groups are
// those of that interface; of the others the answer does not tell the groups
// (they may differ), so DescribeNetworkInterfaces has to.
func (in *ecsInstance) primary(d *document, pointer string) (Interface, error) {
	one := Interface{
		ID:     string(in.InstanceID),
		Groups: sortedNames(in.SecurityGroupIDs.SecurityGroupID),
		VPC:    string(in.VPCAttributes.VPCID),
		Origin: Cloud,
		Place:  d.at(pointer),
	}
	if one.ID == "" {
		return one, d.bad(pointer+"/InstanceId", "no InstanceId: want one such as i-bp67acfmxazb4p30abcd")
	}
	var fields []term
	for i, a := range in.VPCAttributes.PrivateIPAddress.IPAddress {
		fields = append(fields, term{"VpcAttributes/PrivateIpAddress/IpAddress/" + strconv.Itoa(i), a})
	}
	for i := range in.NetworkInterfaces.NetworkInterface {
		eni := &in.NetworkInterfaces.NetworkInterface[i]
		if eni.Type != "" && !strings.EqualFold(string(eni.Type), "Primary") {
			continue
		}
		for _, f := range eni.fields() {
			fields = append(fields, term{"NetworkInterfaces/NetworkInterface/" + strconv.Itoa(i) + "/" + f.name, f.text})
		}
	}
	var err error
	one.Addresses, err = addresses(d, pointer, fields)
	return one, err
}

type vpcVPCs struct {
	ecsPaging
	VPCs struct {
		VPC []vpcVPC `json:"Vpc"`
	} `json:"Vpcs"`
}

type vpcVPC struct {
	VPCID               fuzzyText `json:"VpcId"`
	CIDRBlock           fuzzyText `json:"CidrBlock"`
	IPv6CIDRBlock       fuzzyText `json:"Ipv6CidrBlock"`
	SecondaryCIDRBlocks struct {
		SecondaryCIDRBlock []string `json:"SecondaryCidrBlock"`
	} `json:"SecondaryCidrBlocks"`
	IPv6CIDRBlocks struct {
		IPv6CIDRBlock []struct {
			IPv6CIDRBlock fuzzyText `json:"Ipv6CidrBlock"`
		} `json:"Ipv6CidrBlock"`
	} `json:"Ipv6CidrBlocks"`
}

// describeVpcs reads DescribeVpcs.
func (b *builder) describeVpcs(d *document) error {
	var in vpcVPCs
	if err := d.decode(&in); err != nil {
		return err
	}
	var mistakes []error
	for i := range in.VPCs.VPC {
		v, err := in.VPCs.VPC[i].convert(d, "/Vpcs/Vpc/"+strconv.Itoa(i))
		if err != nil {
			mistakes = append(mistakes, err)
		}
		b.vpcs = append(b.vpcs, v)
	}
	b.addPage(page{kind: "DescribeVpcs", count: len(in.VPCs.VPC), place: d.at("")}, in.ecsPaging)
	return join(mistakes)
}

func (in *vpcVPC) convert(d *document, pointer string) (VPC, error) {
	v := VPC{ID: string(in.VPCID), Place: d.at(pointer)}
	if v.ID == "" {
		return v, d.bad(pointer+"/VpcId", "no VpcId: want one such as vpc-bp15zckdt37pq72zvabcd")
	}
	cidrs := cidrReader{bad: d.badBelow(pointer)}
	v.CIDRs = cidrs.blocks(string(in.CIDRBlock), string(in.IPv6CIDRBlock))
	for i, text := range in.SecondaryCIDRBlocks.SecondaryCIDRBlock {
		if c, ok := cidrs.read(term{"SecondaryCidrBlocks/SecondaryCidrBlock/" + strconv.Itoa(i), text}, "IPv4"); ok {
			v.Secondary = append(v.Secondary, c)
		}
	}
	// The first IPv6 block stands here once more.
	for i, block := range in.IPv6CIDRBlocks.IPv6CIDRBlock {
		f := term{"Ipv6CidrBlocks/Ipv6CidrBlock/" + strconv.Itoa(i) + "/Ipv6CidrBlock", string(block.IPv6CIDRBlock)}
		if c, ok := cidrs.read(f, "IPv6"); ok && !holds(v.CIDRs, c) {
			v.Secondary = append(v.Secondary, c)
		}
	}
	return v, join(cidrs.mistakes)
}

func holds(list []rules.CIDR, c rules.CIDR) bool {
	return slices.ContainsFunc(list, func(other rules.CIDR) bool { return other.Prefix == c.Prefix })
}

// A cidrReader reads CIDRs and collects what is wrong with them.
type cidrReader struct {
	bad      func(name, format string, args ...any) error
	mistakes []error
}

// read reads one CIDR of a family; ok is false if there is none or it is bad.
func (r *cidrReader) read(f term, want string) (c rules.CIDR, ok bool) {
	if f.text == "" {
		return rules.CIDR{}, false
	}
	c, err := cidrOf(f.text, want)
	if err != nil {
		r.mistakes = append(r.mistakes, r.bad(f.name, "%w", err))
		return rules.CIDR{}, false
	}
	return c, true
}

// blocks reads the members CidrBlock, which is mandatory, and Ipv6CidrBlock.
func (r *cidrReader) blocks(v4, v6 string) []rules.CIDR {
	var list []rules.CIDR
	if v4 == "" {
		r.mistakes = append(r.mistakes, r.bad("CidrBlock", "no CidrBlock: want one such as 192.168.0.0/16"))
	}
	if c, ok := r.read(term{"CidrBlock", v4}, "IPv4"); ok {
		list = append(list, c)
	}
	if c, ok := r.read(term{"Ipv6CidrBlock", v6}, "IPv6"); ok {
		list = append(list, c)
	}
	return list
}

type vpcVSwitches struct {
	ecsPaging
	VSwitches struct {
		VSwitch []struct {
			VSwitchID     fuzzyText `json:"VSwitchId"`
			VPCID         fuzzyText `json:"VpcId"`
			CIDRBlock     fuzzyText `json:"CidrBlock"`
			IPv6CIDRBlock fuzzyText `json:"Ipv6CidrBlock"`
		} `json:"VSwitch"`
	} `json:"VSwitches"`
}

// describeVSwitches reads DescribeVSwitches.
func (b *builder) describeVSwitches(d *document) error {
	var in vpcVSwitches
	if err := d.decode(&in); err != nil {
		return err
	}
	var mistakes []error
	for i, v := range in.VSwitches.VSwitch {
		pointer := "/VSwitches/VSwitch/" + strconv.Itoa(i)
		if v.VSwitchID == "" {
			mistakes = append(mistakes, d.bad(pointer+"/VSwitchId", "no VSwitchId: want one such as vsw-bp1ddbrxdlrcbim46abcd"))
			continue
		}
		cidrs := cidrReader{bad: d.badBelow(pointer)}
		blocks := cidrs.blocks(string(v.CIDRBlock), string(v.IPv6CIDRBlock))
		mistakes = append(mistakes, cidrs.mistakes...)
		b.subnets = append(b.subnets, Subnet{ID: string(v.VSwitchID), VPC: string(v.VPCID), CIDRs: blocks, Place: d.at(pointer)})
	}
	b.addPage(page{kind: "DescribeVSwitches", count: len(in.VSwitches.VSwitch), place: d.at("")}, in.ecsPaging)
	return join(mistakes)
}
