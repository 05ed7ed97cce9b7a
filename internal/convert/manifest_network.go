package convert

import (
	"fmt"
	"slices"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/rules"
)

func (r *reader) vpc(o *v1alpha1.VPC) {
	r.name(v1alpha1.KindVPC, &o.ObjectMeta)
	v := VPC{ID: o.Name, Place: r.document.at("")}
	if c := r.cidr("/spec/cidrBlock", o.Spec.CIDRBlock); c.Prefix.IsValid() {
		v.CIDRs = append(v.CIDRs, c)
	}
	v.CIDRs = r.cidr6(v.CIDRs, "/spec/ipv6CIDRBlock", o.Spec.IPv6CIDRBlock)
	v.Secondary = r.cidrs("/spec/secondaryCIDRBlocks", o.Spec.SecondaryCIDRBlocks)
	r.builder.vpcs = append(r.builder.vpcs, v)
	known := len(r.mistakes) == 0
	outer := newRangeSet(v.CIDRs, v.Secondary)

	names := map[string]bool{}
	var ranges []placedRange
	for i := range o.Spec.Subnets {
		in := &o.Spec.Subnets[i]
		at := fmt.Sprintf("/spec/subnets/%d", i)
		switch {
		case in.Name == "":
			r.badf(at+"/name", "the subnet has no name")
		case names[in.Name]:
			r.badf(at+"/name", "subnet %s stands here twice", in.Name)
		}
		names[in.Name] = true
		s := r.subnet(at, o.Name, in)
		r.builder.subnets = append(r.builder.subnets, s)
		for _, c := range s.CIDRs {
			if known && !outer.contains(c.Prefix) {
				r.badf(at+"/cidrBlock", "%s lies outside the VPC: want a part of one of its CIDRs", c)
			}
			ranges = append(ranges, placedRange{c, s.ID, at + "/cidrBlock"})
		}
	}
	r.disjoint(ranges)
}

func (r *reader) subnet(pointer, vpc string, in *v1alpha1.Subnet) Subnet {
	s := Subnet{ID: in.Name, VPC: vpc, Place: r.document.at(pointer)}
	if c := r.cidr(pointer+"/cidrBlock", in.CIDRBlock); c.Prefix.IsValid() {
		s.CIDRs = append(s.CIDRs, c)
	}
	s.CIDRs = r.cidr6(s.CIDRs, pointer+"/ipv6CIDRBlock", in.IPv6CIDRBlock)
	return s
}

// A placedRange is a CIDR of a subnet with its pointer.
type placedRange struct {
	cidr    rules.CIDR
	subnet  string
	pointer string
}

// disjoint checks that no two ranges overlap. Of prefixes sorted by address,
// then length, any two that overlap have an overlapping pair between
// neighbours.
func (r *reader) disjoint(ranges []placedRange) {
	slices.SortStableFunc(ranges, func(a, b placedRange) int { return a.cidr.Prefix.Compare(b.cidr.Prefix) })
	for i := 1; i < len(ranges); i++ {
		a, b := ranges[i-1], ranges[i]
		if a.cidr.Prefix.Overlaps(b.cidr.Prefix) {
			r.badf(b.pointer, "%s overlaps %s of subnet %s: subnets are disjoint", b.cidr, a.cidr, a.subnet)
		}
	}
}

func (r *reader) prefixList(o *v1alpha1.PrefixList) {
	r.name(v1alpha1.KindPrefixList, &o.ObjectMeta)
	oneOf(r, "/spec/addressFamily", o.Spec.AddressFamily, v1alpha1.IPv4, v1alpha1.IPv6, "")
	l := prefixList{place: r.document.at("")}
	l.Name = o.Name
	family := o.Spec.AddressFamily
	for i, e := range o.Spec.Entries {
		at := fmt.Sprintf("/spec/entries/%d/cidr", i)
		c := r.cidr(at, e.CIDR)
		if !c.Prefix.IsValid() {
			continue
		}
		if family == "" {
			family = familyOf(c)
		}
		if familyOf(c) != family {
			r.badf(at, "%s is %s in a list of %s: a prefix list has one address family", c, familyOf(c), family)
		}
		l.Entries = append(l.Entries, c)
	}
	l.MaxEntries = int(o.Spec.MaxEntries)
	if n := o.Spec.MaxEntries; n < 0 || n > 200 || n > 0 && int(n) < len(o.Spec.Entries) {
		r.badf("/spec/maxEntries", "%d: want 1 to 200, and not below the %d entries", n, len(o.Spec.Entries))
	}
	r.builder.lists = append(r.builder.lists, l)
}

func familyOf(c rules.CIDR) v1alpha1.AddressFamily {
	if c.Prefix.Addr().Is4() {
		return v1alpha1.IPv4
	}
	return v1alpha1.IPv6
}
