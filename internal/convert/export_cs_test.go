package convert_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ringfence.dev/ringfence/internal/convert"
	"ringfence.dev/ringfence/profiles"
	"ringfence.dev/ringfence/rules"
)

func TestTerwayCluster(t *testing.T) {
	v := mustParse(t, exports(t, "cs", "cluster-terway.json", "nodepools.json", "vswitches.json", "vpcs.json"))
	if len(v.Clusters) != 1 {
		t.Fatalf("%d clusters, want 1", len(v.Clusters))
	}
	c := v.Clusters[0]
	if diff := cmp.Diff([]string{
		"c7bb68aecc47b4ac38f7c0c690d5f0001 shop vpc-bp1a2b3c4d5e6f7g8h9i0 sg-bp1adv00000000000003",
		"Terway", "[192.168.0.0/16]",
		"[192.168.0.0/20 192.168.16.0/20 192.168.96.0/20]", // the last one is a node pool's
		"[192.168.32.0/19 192.168.64.0/19]",
		"[192.168.0.200/32] 6443", "[]", "[]",
	}, []string{
		fmt.Sprint(c.ID, " ", c.Title, " ", c.VPC, " ", c.Group),
		string(c.Facts.Mode), fmt.Sprint(c.Facts.VPC),
		fmt.Sprint(c.Facts.NodeSubnets),
		fmt.Sprint(c.Facts.PodSubnets),
		fmt.Sprint(c.Facts.APIServer, c.Facts.APIServerPort), fmt.Sprint(c.Facts.PodCIDRs), fmt.Sprint(c.Unknown),
	}); diff != "" {
		t.Errorf("cluster (-want +got):\n%s", diff)
	}
	var pools []string
	for _, p := range c.Pools {
		pools = append(pools, fmt.Sprint(p.Title, p.Groups, p.Place.Path))
	}
	if diff := cmp.Diff([]string{
		"default-nodepool[sg-bp1adv00000000000003]/nodepools/0",
		"gpu[sg-bp1web00000000000001]/nodepools/1",
		"edge[sg-bp1adv00000000000003]/nodepools/2", // names none: the cluster's
	}, pools); diff != "" {
		t.Errorf("node pools (-want +got):\n%s", diff)
	}
}

func TestFlannelCluster(t *testing.T) {
	v := mustParse(t, exports(t, "cs", "cluster-flannel.json"))
	c := v.Clusters[0]
	if c.Facts.Mode != profiles.Flannel || fmt.Sprint(c.Facts.PodCIDRs) != "[172.20.0.0/16]" {
		t.Errorf("mode %s, pod CIDRs %s", c.Facts.Mode, c.Facts.PodCIDRs)
	}
	if diff := cmp.Diff([]convert.Fact{convert.FactVPC, convert.FactNodeSubnets}, c.Unknown); diff != "" {
		t.Errorf("what the cluster's own export leaves open (-want +got):\n%s", diff)
	}
}

func TestPoolsByFileName(t *testing.T) {
	files := exports(t, "cs")
	for i := range files {
		if files[i].Name == "nodepools.json" {
			files[i].Name = "nodepools-c7bb68aecc47b4ac38f7c0c690d5f0002.json"
		}
	}
	for _, c := range mustParse(t, files).Clusters {
		if want := map[string]int{"shop": 0, "blog": 3}[c.Title]; len(c.Pools) != want {
			t.Errorf("cluster %s: %d node pools, want %d", c.Title, len(c.Pools), want)
		}
	}
}

// detail returns DescribeClusterDetail with these members besides its id.
func detail(members string) string {
	return `{"cluster_id":"c1","name":"one","vpc_id":"vpc-1","vswitch_ids":["vsw-1"],"security_group_id":"sg-1"` + members + `}`
}

const subnets = `{"VSwitches":{"VSwitch":[{"VSwitchId":"vsw-1","VpcId":"vpc-1","CidrBlock":"10.0.0.0/24"},{"VSwitchId":"vsw-2","VpcId":"vpc-1","CidrBlock":"10.0.1.0/24"},{"VSwitchId":"vsw-3","VpcId":"vpc-1","CidrBlock":"10.0.2.0/24"}]}}`

func addons(config string) string {
	quoted := strings.ReplaceAll(strings.ReplaceAll(config, `\`, `\\`), `"`, `\"`)
	meta := `{"Addons":[{"name":"terway-eniip","config":"` + quoted + `"}]}`
	return `,"meta_data":"` + strings.ReplaceAll(strings.ReplaceAll(meta, `\`, `\\`), `"`, `\"`) + `"`
}

func TestClusterNetwork(t *testing.T) {
	for name, tc := range map[string]struct {
		reason  string
		members string
		mode    profiles.NetworkMode
		pods    string
	}{
		"NetworkModeIsNoPlugin": {"network_mode says vpc or classic", `,"network_mode":"vpc"`, "", "[] []"},
		"ContainerCIDR":         {"Terway clusters have none", `,"container_cidr":"172.20.0.0/16"`, profiles.Flannel, "[172.20.0.0/16] []"},
		"Parameter":             {"where the addons are not told", `,"parameters":{"Network":"Flannel","ContainerCIDR":"172.20.0.0/16"}`, profiles.Flannel, "[172.20.0.0/16] []"},
		"SubnetCIDR":            {"newer answers have the pod CIDR here", `,"subnet_cidr":"172.22.0.0/16","parameters":{"Network":"Flannel"}`, profiles.Flannel, "[172.22.0.0/16] []"},
		"AddonBeforeParameter":  {"what is installed counts", addons(`{"PodVswitchId":{"z":["vsw-2"]}}`) + `,"parameters":{"Network":"Flannel"}`, profiles.Terway, "[] [10.0.1.0/24]"},
		"ZonesAsText":           {"the map may be JSON in a string once more", addons(`{"PodVswitchId":"{\"b\":[\"vsw-3\"],\"a\":[\"vsw-2\"]}"}`), profiles.Terway, "[] [10.0.1.0/24 10.0.2.0/24]"},
		"ListOfSubnets":         {"without zones", addons(`{"PodVswitchId":["vsw-3","vsw-2"]}`), profiles.Terway, "[] [10.0.2.0/24 10.0.1.0/24]"},
		"CommaList":             {"as vswitch_id is written", addons(`{"PodVswitchId":"vsw-2,vsw-3"}`), profiles.Terway, "[] [10.0.1.0/24 10.0.2.0/24]"},
		"PodSubnetsParameter":   {"the oldest place", `,"parameters":{"Network":"terway-eniip","PodVswitchIds":"[\"vsw-2\"]"}`, profiles.Terway, "[] [10.0.1.0/24]"},
		"TerwayWithoutSubnets":  {"nobody tells them", addons(``), profiles.Terway, "[] []"},
		"SubnetNotInFiles":      {"half of the pods is not an answer", addons(`{"PodVswitchId":["vsw-2","vsw-9"]}`), profiles.Terway, "[] []"},
	} {
		t.Run(name, func(t *testing.T) {
			c := mustParse(t, text(detail(tc.members), subnets)).Clusters[0]
			if got := fmt.Sprint(c.Facts.PodCIDRs, " ", c.Facts.PodSubnets); c.Facts.Mode != tc.mode || got != tc.pods {
				t.Errorf("%s\ngot %q, %s, want %q, %s", tc.reason, c.Facts.Mode, got, tc.mode, tc.pods)
			}
			unknown := fmt.Sprint(c.Unknown)
			if got, want := strings.Contains(unknown, string(convert.FactMode)), tc.mode == ""; got != want {
				t.Errorf("%s\nunknown facts: %s", tc.reason, unknown)
			}
			if got, want := strings.Contains(unknown, string(convert.FactPodSubnets)), tc.mode == profiles.Terway && strings.HasSuffix(tc.pods, "[] []"); got != want {
				t.Errorf("%s\nunknown facts: %s", tc.reason, unknown)
			}
		})
	}
}

func TestClusterAPIServer(t *testing.T) {
	for name, tc := range map[string]struct {
		reason, urls, want string
	}{
		"Both":       {"nodes use the address inside the VPC", `{\"api_server_endpoint\":\"https://203.0.113.9:6443\",\"intranet_api_server_endpoint\":\"https://10.0.0.9:6443\"}`, "[10.0.0.9/32] 6443"},
		"PublicOnly": {"there is no other", `{\"api_server_endpoint\":\"https://203.0.113.9:6443\"}`, "[203.0.113.9/32] 6443"},
		"HostName":   {"a name is no address, and nothing here looks it up", `{\"api_server_endpoint\":\"https://c1.example.com:6443\",\"intranet_api_server_endpoint\":\"\"}`, "[] 0"},
		"NoPort":     {"https has one", `{\"intranet_api_server_endpoint\":\"https://10.0.0.9\"}`, "[10.0.0.9/32] 443"},
		"IPv6":       {"dual-stack clusters", `{\"intranet_api_server_endpoint\":\"https://[2001:db8::9]:6443\"}`, "[2001:db8::9/128] 6443"},
		"Nothing":    {"a cluster that is being made", ``, "[] 0"},
	} {
		t.Run(name, func(t *testing.T) {
			c := mustParse(t, text(detail(`,"master_url":"`+tc.urls+`"`))).Clusters[0]
			if got := fmt.Sprint(c.Facts.APIServer, c.Facts.APIServerPort); got != tc.want {
				t.Errorf("%s\ngot %s, want %s", tc.reason, got, tc.want)
			}
		})
	}
}

func TestClusterGroupType(t *testing.T) {
	c := mustParse(t, text(detail(`,"is_enterprise_security_group":true`))).Clusters[0]
	if c.GroupType != rules.Advanced || c.InnerAccess {
		t.Errorf("type %s, inner access %v, want an advanced group", c.GroupType, c.InnerAccess)
	}
}

func TestBadClusterExport(t *testing.T) {
	for name, tc := range map[string]struct {
		reason string
		files  []convert.File
		place  string
		want   []string
	}{
		"MasterURL":   {"cut off", text(detail(`,"master_url":"{\"api_server_endpoint\":"`)), "0.json: /master_url", []string{"JSON"}},
		"MetaData":    {"masked, as in the API's documentation", text(detail(`,"meta_data":"{\"Addons\":[{\"config\":***}"`)), "0.json: /meta_data", []string{"JSON"}},
		"AddonConfig": {"cut off", text(detail(addons(`{"PodVswitchId":{`))), "0.json: /meta_data", []string{"terway-eniip", "PodVswitchId"}},
		"AddonZones":  {"a zone is a list", text(detail(addons(`{"PodVswitchId":{"z":7}}`))), "0.json: /meta_data", []string{"found a number", "want a list"}},
		"PodCIDR":     {"a typing mistake", text(detail(`,"container_cidr":"172.20.0.0/33"`)), "0.json: /container_cidr", []string{"172.20.0.0/33"}},
		"PoolsAlone":  {"the answer does not name the cluster", text(`{"nodepools":[{"nodepool_info":{"nodepool_id":"np1"}}]}`), "0.json", []string{"DescribeClusterDetail"}},
		"PoolsOfOneOfTwo": {
			"the answer does not name the cluster", exports(t, "cs"),
			"nodepools.json",
			[]string{"do not name their cluster"},
		},
		"PoolWithoutID": {"it names the pool in findings", text(`{"nodepools":[{"nodepool_info":{"name":"x"}}]}`), "0.json: /nodepools/0/nodepool_info/nodepool_id", []string{"no nodepool_id"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Log(tc.reason)
			refused(t, tc.files, tc.place, tc.want...)
		})
	}
}

func FuzzConvertCS(f *testing.F) { fuzz(f, "cs") }
