package convert

import (
	"path"
	"regexp"
	"strconv"
)

type csNodePools struct {
	NodePools []struct {
		Info struct {
			ID   fuzzyText `json:"nodepool_id"`
			Name fuzzyText `json:"name"`
		} `json:"nodepool_info"`
		ScalingGroup struct {
			SecurityGroupIDs []string  `json:"security_group_ids"`
			SecurityGroupID  fuzzyText `json:"security_group_id"`
			VSwitchIDs       []string  `json:"vswitch_ids"`
		} `json:"scaling_group"`
	} `json:"nodepools"`
	NextToken fuzzyText `json:"next_token"`
}

// nodePools reads CS DescribeClusterNodePools. The answer does not name the
// cluster that was asked for: the file's name may, and otherwise
// [builder.finish] gives the pools to the only cluster.
func (b *builder) nodePools(d *document) error {
	var in csNodePools
	if err := d.decode(&in); err != nil {
		return err
	}
	piece := cluster{Cluster: Cluster{ID: clusterInName(d.base.File), Origin: Cloud, Place: d.at("")}}
	var mistakes []error
	for i, p := range in.NodePools {
		pointer := "/nodepools/" + strconv.Itoa(i)
		if p.Info.ID == "" {
			mistakes = append(mistakes, d.bad(pointer+"/nodepool_info/nodepool_id", "no nodepool_id: want one such as np613a9ad3b2f34b5e9cb4ff1a9e3f1234"))
			continue
		}
		groups := mergeIDs(p.ScalingGroup.SecurityGroupIDs)
		if len(groups) == 0 {
			groups = mergeIDs([]string{string(p.ScalingGroup.SecurityGroupID)})
		}
		piece.Pools = append(piece.Pools, NodePool{
			ID: string(p.Info.ID), Title: string(p.Info.Name), Groups: groups, Place: d.at(pointer),
		})
		piece.subnetIDs = mergeIDs(piece.subnetIDs, p.ScalingGroup.VSwitchIDs)
	}
	b.clusters = append(b.clusters, piece)
	b.addPage(page{kind: "DescribeClusterNodePools", count: len(in.NodePools), place: d.at("")}, ecsPaging{NextToken: in.NextToken})
	return join(mistakes)
}

// clusterInName returns the ACK cluster id that stands in a file's name, if
// there is exactly one.
func clusterInName(file string) string {
	ids := regexp.MustCompile(`\bc[0-9a-f]{32}\b`).FindAllString(path.Base(file), 2)
	if len(ids) != 1 {
		return ""
	}
	return ids[0]
}
