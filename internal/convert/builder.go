package convert

import (
	"errors"
	"slices"
	"strings"

	"ringfence.dev/ringfence/rules"
)

// A builder collects what single documents say; [builder.finish] joins it.
//
// Readers append and never look at what other documents said: the order of
// documents must not matter. What comes in pieces (a group listed by one
// export and its rules by another, the pages of a list, a cluster and its
// node pools) is appended piece by piece under one ID.
type builder struct {
	// groups are whole groups or pieces of them. A piece with RulesUnknown has
	// no rules; the pieces with rules are pages of one list, in order.
	groups []Group
	lists  []prefixList
	vpcs   []VPC
	// subnets are those of manifests and of exports.
	subnets []Subnet
	// clusters are whole clusters or pieces of them. A piece without ID holds
	// the node pools of a cluster that its document does not name.
	clusters   []cluster
	interfaces []Interface
	// noInnerAccess are groups whose export leaves inner access out: no matter
	// for an advanced group, which has none.
	noInnerAccess []groupPlace
	// pages counts what is still missing of exports that come in pages.
	pages []page
	// manifests has what only manifests have: names to be resolved.
	manifests manifests
	// items are pointers to the first items of lists; see [reader.item].
	items map[string]*[sharedItems]string
	// live is true for objects of the API, which are in no files.
	live bool
}

// A prefixList is a rules.PrefixList with its place.
type prefixList struct {
	rules.PrefixList
	place Place
}

// A cluster is a Cluster whose names have not been resolved yet.
type cluster struct {
	Cluster
	// subnetIDs and podSubnetIDs name subnets that other documents describe.
	subnetIDs, podSubnetIDs []string
}

// A groupPlace is a group's ID with the place of what was said about it.
type groupPlace struct {
	id    string
	place Place
}

// A page is one page of a paged export: what kind of export it is (and of
// which object), how many elements it lists, and how many there are.
type page struct {
	kind  string // for messages, such as `DescribeInstances`
	of    string // the object that the list belongs to, such as a group's ID; may be empty
	count int
	total int  // 0 if the export does not tell
	more  bool // whether another page follows
	place Place
}

// file reads all documents of one file. The mistakes of all its documents are
// returned together.
func (b *builder) file(f File) error {
	var mistakes []error
	for doc, err := range documents(f) {
		if err == nil {
			err = b.document(&doc)
		}
		if err != nil {
			mistakes = append(mistakes, err)
		}
		if len(mistakes) > maxMistakes {
			break // nobody will read on
		}
	}
	return join(mistakes)
}

// A format is a form of document: how to tell it and how to read it.
type format struct {
	// name is what people know it by; empty for one that nobody gives on purpose.
	name string
	// members must all stand at the top of the document.
	members []string
	read    func(*builder, *document) error
}

// formats are tried in order; the first whose members are all present reads
// the document.
var formats = []format{ //nolint:gochecknoglobals // a constant
	{"a Kubernetes-style object", []string{"apiVersion", "kind"}, (*builder).manifest},
	{"terraform show -json", []string{"format_version"}, (*builder).terraform},
	{"DescribeSecurityGroupAttribute", []string{"Permissions"}, (*builder).securityGroupAttribute},
	{"DescribeSecurityGroups", []string{"SecurityGroups"}, (*builder).securityGroups},
	{"DescribePrefixListAttributes", []string{"Entries", "PrefixListId"}, (*builder).prefixListAttributes},
	{"DescribeNetworkInterfaces", []string{"NetworkInterfaceSets"}, (*builder).networkInterfaces},
	{"DescribeInstances", []string{"Instances"}, (*builder).instances},
	{"DescribeVpcs", []string{"Vpcs"}, (*builder).describeVpcs},
	{"DescribeVSwitches", []string{"VSwitches"}, (*builder).describeVSwitches},
	{"DescribeClusterNodePools", []string{"nodepools"}, (*builder).nodePools},
	{"DescribeClusterDetail", []string{"cluster_id"}, (*builder).clusterDetail},
	{"", []string{"Code", "Message"}, (*builder).apiError},
	{"", []string{"code", "message"}, (*builder).apiError},
}

func (b *builder) document(d *document) error {
	for _, f := range formats {
		if !slices.ContainsFunc(f.members, func(m string) bool { return !d.members[m] }) {
			return f.read(b, d)
		}
	}
	names := make([]string, 0, len(formats))
	for _, f := range formats {
		if f.name != "" {
			names = append(names, f.name)
		}
	}
	return d.bad("", "cannot tell what this document is: want one of %s", strings.Join(names, ", "))
}

// join returns the mistakes as one error, or nil.
func join(mistakes []error) error { return errors.Join(mistakes...) }

// maxMistakes is how many mistakes one error lists: enough to mend a file in
// one go, few enough to read.
const maxMistakes = 20

// limited returns err with the first [maxMistakes] of the errors joined in it,
// at any depth, and says whether there are more.
func limited(err error) error {
	flat := flatten(nil, err)
	if len(flat) == 1 {
		return flat[0]
	}
	if len(flat) > maxMistakes {
		flat = append(flat[:maxMistakes], errors.New("and more mistakes"))
	}
	return errors.Join(flat...)
}

func flatten(to []error, err error) []error {
	if err == nil {
		return to
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return append(to, err)
	}
	for _, one := range joined.Unwrap() {
		to = flatten(to, one)
	}
	return to
}
