package convert

import (
	"cmp"
	"strconv"
	"strings"

	"ringfence.dev/ringfence/rules"
)

// The forms below are what the aliyun command prints: the API's answers with
// their wrapper objects. Members that nobody needs here are left out.

// An ecsPaging holds the members that tell where a paged answer ends.
type ecsPaging struct {
	TotalCount fuzzyText `json:"TotalCount"`
	NextToken  fuzzyText `json:"NextToken"`
}

// addPage remembers a page of an export. What `aliyun --pager` has put together
// carries no count at all.
func (b *builder) addPage(one page, p ecsPaging) {
	one.total, one.more = p.TotalCount.count(), p.NextToken != ""
	b.pages = append(b.pages, one)
}

// addGroup adds what one document says about a group, for [builder.finish] to
// join: an export tells a group piece by piece. TypeUnknown and RulesUnknown
// say what the piece leaves open; whoever does not tell the rules does not tell
// inner access either.
//
// Inner access and rules that name a group settle the type: only basic groups
// have them. The rules are held against the type as far as the piece tells it;
// a piece that says otherwise does not fit and is refused by finish.
func (b *builder) addGroup(piece Group) error {
	if piece.TypeUnknown && (piece.InnerAccess || piece.GroupPeers() > 0) {
		piece.Type, piece.TypeUnknown = rules.Basic, false
	}
	var mistakes []error
	for _, d := range []rules.Direction{rules.Ingress, rules.Egress} {
		list, places := piece.Rules(d), piece.Places(d)
		for i := range list {
			if err := piece.ValidateRule(&list[i]); err != nil {
				mistakes = append(mistakes, badInput(places[i], "%w", err))
			}
		}
	}
	b.groups = append(b.groups, piece)
	return join(mistakes)
}

// apiError refuses the answer to a call that failed, which a shell has put
// into a file as if it were an export. ECS writes capitals, CS small letters.
func (*builder) apiError(d *document) error {
	var in struct {
		Code         fuzzyText `json:"Code"`
		Message      fuzzyText `json:"Message"`
		SmallCode    fuzzyText `json:"code"`
		SmallMessage fuzzyText `json:"message"`
	}
	if err := d.decode(&in); err != nil {
		return err
	}
	return d.bad("", "this is no export but the API's error %s: %s", cmp.Or(in.Code, in.SmallCode), cmp.Or(in.Message, in.SmallMessage))
}

type ecsGroupAttribute struct {
	ecsPaging
	RegionID          fuzzyText `json:"RegionId"`
	SecurityGroupID   fuzzyText `json:"SecurityGroupId"`
	SecurityGroupName fuzzyText `json:"SecurityGroupName"`
	VPCID             fuzzyText `json:"VpcId"`
	InnerAccessPolicy fuzzyText `json:"InnerAccessPolicy"`
	Permissions       *struct {
		Permission []ecsPermission `json:"Permission"`
	} `json:"Permissions"`
}

type ecsPermission struct {
	Direction          fuzzyText `json:"Direction"`
	Policy             fuzzyText `json:"Policy"`
	Priority           fuzzyText `json:"Priority"`
	IPProtocol         fuzzyText `json:"IpProtocol"`
	PortRange          fuzzyText `json:"PortRange"`
	PortRangeListID    fuzzyText `json:"PortRangeListId"`
	SourcePortRange    fuzzyText `json:"SourcePortRange"`
	SourceCIDRIP       fuzzyText `json:"SourceCidrIp"`
	IPv6SourceCIDRIP   fuzzyText `json:"Ipv6SourceCidrIp"`
	SourceGroupID      fuzzyText `json:"SourceGroupId"`
	SourcePrefixListID fuzzyText `json:"SourcePrefixListId"`
	DestCIDRIP         fuzzyText `json:"DestCidrIp"`
	IPv6DestCIDRIP     fuzzyText `json:"Ipv6DestCidrIp"`
	DestGroupID        fuzzyText `json:"DestGroupId"`
	DestPrefixListID   fuzzyText `json:"DestPrefixListId"`
	NICType            fuzzyText `json:"NicType"`
	Description        fuzzyText `json:"Description"`
}

// securityGroupAttribute reads DescribeSecurityGroupAttribute: one group with
// its rules. It does not tell the group's type.
func (b *builder) securityGroupAttribute(d *document) error {
	var in ecsGroupAttribute
	if err := d.decode(&in); err != nil {
		return err
	}
	id := string(in.SecurityGroupID)
	if id == "" {
		return d.bad("/SecurityGroupId", "no SecurityGroupId, so nothing says whose rules these are: "+
			"want the answer as it came (`aliyun --pager` leaves the id out)")
	}
	if in.Permissions == nil {
		return d.bad("/Permissions", "found null, want an object with the group's rules: unknown rules are not none")
	}
	g := Group{
		Group:       rules.Group{Name: id, VPC: string(in.VPCID)},
		Title:       string(in.SecurityGroupName),
		Origin:      Cloud,
		Region:      string(in.RegionID),
		Place:       d.at(""),
		TypeUnknown: true,
	}
	switch strings.ToLower(string(in.InnerAccessPolicy)) {
	case "accept":
		g.InnerAccess = true
	case "drop":
	case "":
		g.InnerUnknown = true
		b.noInnerAccess = append(b.noInnerAccess, groupPlace{id, d.at("/InnerAccessPolicy")})
	default:
		return d.bad("/InnerAccessPolicy", "inner access policy %q: want Accept or Drop", in.InnerAccessPolicy)
	}
	if err := in.addRules(d, &g); err != nil {
		return err
	}
	b.addPage(page{kind: "DescribeSecurityGroupAttribute", of: id, count: len(in.Permissions.Permission), place: d.at("")}, in.ecsPaging)
	return b.addGroup(g)
}

func (in *ecsGroupAttribute) addRules(d *document, g *Group) error {
	var mistakes []error
	for i := range in.Permissions.Permission {
		p := &in.Permissions.Permission[i]
		pointer := "/Permissions/Permission/" + strconv.Itoa(i)
		r, err := p.rule(d, pointer)
		if err == nil && g.VPC == "" && strings.EqualFold(string(p.NICType), "internet") {
			err = d.bad(pointer+"/NicType", "a rule for the public interface of the retired classic network: want a group that belongs to a VPC")
		}
		if err != nil {
			mistakes = append(mistakes, err)
			continue
		}
		g.AppendAt(r, d.at(pointer))
	}
	return join(mistakes)
}

func (p *ecsPermission) rule(d *document, pointer string) (rules.Rule, error) {
	source := endpoint{
		cidr:  term{"SourceCidrIp", string(p.SourceCIDRIP)},
		cidr6: term{"Ipv6SourceCidrIp", string(p.IPv6SourceCIDRIP)},
		group: term{"SourceGroupId", string(p.SourceGroupID)},
		list:  term{"SourcePrefixListId", string(p.SourcePrefixListID)},
	}
	dest := endpoint{
		cidr:  term{"DestCidrIp", string(p.DestCIDRIP)},
		cidr6: term{"Ipv6DestCidrIp", string(p.IPv6DestCIDRIP)},
		group: term{"DestGroupId", string(p.DestGroupID)},
		list:  term{"DestPrefixListId", string(p.DestPrefixListID)},
	}
	w := draft{
		bad:         d.badBelow(pointer),
		policy:      term{"Policy", string(p.Policy)},
		priority:    term{"Priority", string(p.Priority)},
		protocol:    term{"IpProtocol", string(p.IPProtocol)},
		ports:       term{"PortRange", string(p.PortRange)},
		portList:    term{"PortRangeListId", string(p.PortRangeListID)},
		sourcePorts: term{"SourcePortRange", string(p.SourcePortRange)},
		description: string(p.Description),
	}
	switch strings.ToLower(string(p.Direction)) {
	case "ingress":
		w.direction, w.peer, w.member = rules.Ingress, source, dest
	case "egress":
		w.direction, w.peer, w.member = rules.Egress, dest, source
	default:
		return rules.Rule{}, w.bad("Direction", "direction %q: want ingress or egress", p.Direction)
	}
	return w.rule()
}

type ecsGroups struct {
	ecsPaging
	SecurityGroups struct {
		SecurityGroup []struct {
			SecurityGroupID   fuzzyText `json:"SecurityGroupId"`
			SecurityGroupName fuzzyText `json:"SecurityGroupName"`
			SecurityGroupType fuzzyText `json:"SecurityGroupType"`
			VPCID             fuzzyText `json:"VpcId"`
		} `json:"SecurityGroup"`
	} `json:"SecurityGroups"`
}

// securityGroups reads DescribeSecurityGroups: groups with their type, without
// their rules and inner access.
func (b *builder) securityGroups(d *document) error {
	var in ecsGroups
	if err := d.decode(&in); err != nil {
		return err
	}
	list := in.SecurityGroups.SecurityGroup
	var mistakes []error
	for i := range list {
		pointer := "/SecurityGroups/SecurityGroup/" + strconv.Itoa(i)
		kind, ok := groupType(string(list[i].SecurityGroupType))
		switch {
		case list[i].SecurityGroupID == "":
			mistakes = append(mistakes, d.bad(pointer+"/SecurityGroupId", "no SecurityGroupId: want one such as sg-bp1fgviwol82z8ap348n"))
		case !ok:
			mistakes = append(mistakes, d.bad(pointer+"/SecurityGroupType", "security group type %q: want normal or enterprise", list[i].SecurityGroupType))
		default:
			err := b.addGroup(Group{
				Group:        rules.Group{Name: string(list[i].SecurityGroupID), Type: kind, VPC: string(list[i].VPCID)},
				Title:        string(list[i].SecurityGroupName),
				Origin:       Cloud,
				Place:        d.at(pointer),
				RulesUnknown: true,
			})
			if err != nil {
				mistakes = append(mistakes, err)
			}
		}
	}
	b.addPage(page{kind: "DescribeSecurityGroups", count: len(list), place: d.at("")}, in.ecsPaging)
	return join(mistakes)
}

// groupType reads the API's words for the types of group.
func groupType(text string) (kind rules.GroupType, ok bool) {
	switch strings.ToLower(text) {
	case "normal":
		return rules.Basic, true
	case "enterprise":
		return rules.Advanced, true
	}
	return rules.Basic, false
}
