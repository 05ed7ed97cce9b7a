package cli_test

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// bigExport writes an export of a Terway cluster whose advanced group has 1,000
// rules and 65,000 member addresses, as `aliyun` prints it, and returns its directory.
func bigExport(tb testing.TB) string {
	tb.Helper()
	dir := tb.TempDir()
	var rules []string
	rule := func(direction, protocol, ports, peer string) {
		side := map[string]string{"ingress": "SourceCidrIp", "egress": "DestCidrIp"}[direction]
		rules = append(rules, fmt.Sprintf(`{"SecurityGroupRuleId":"sgr-%d","Direction":%q,"IpProtocol":%q,"PortRange":%q,%q:%q,"Policy":"Accept","Priority":"1","NicType":"intranet","Description":""}`,
			len(rules), direction, protocol, ports, side, peer))
	}
	rule("ingress", "ALL", "-1/-1", "10.0.0.0/8")
	rule("egress", "ALL", "-1/-1", "0.0.0.0/0")
	for i := range 998 {
		rule("ingress", "TCP", fmt.Sprintf("%d/%d", 20000+i, 20010+i), fmt.Sprintf("203.%d.%d.0/24", i/250, i%250))
	}
	write(tb, dir, "attribute.json", `{"RequestId":"R","RegionId":"cn-hangzhou","SecurityGroupId":"sg-big","InnerAccessPolicy":"Drop","VpcId":"vpc-1","Permissions":{"Permission":[`+strings.Join(rules, ",")+`]}}`)
	write(tb, dir, "groups.json", `{"SecurityGroups":{"SecurityGroup":[{"SecurityGroupId":"sg-big","SecurityGroupType":"enterprise","VpcId":"vpc-1"}]}}`)
	write(tb, dir, "vpcs.json", `{"TotalCount":1,"Vpcs":{"Vpc":[{"VpcId":"vpc-1","CidrBlock":"10.0.0.0/8"}]}}`)
	write(tb, dir, "vswitches.json", `{"TotalCount":1,"VSwitches":{"VSwitch":[{"VSwitchId":"vsw-1","VpcId":"vpc-1","CidrBlock":"10.0.0.0/12"}]}}`)
	write(tb, dir, "cluster.json", `{"cluster_id":"c1","name":"big","vpc_id":"vpc-1","security_group_id":"sg-big","vswitch_ids":["vsw-1"],"master_url":"{\"intranet_api_server_endpoint\":\"https://10.0.0.5:6443\"}","meta_data":"{\"Addons\":[{\"name\":\"terway-eniip\",\"config\":\"{\\\"PodVswitchId\\\":{\\\"a\\\":[\\\"vsw-1\\\"]}}\"}]}"}`)
	var enis strings.Builder
	for i := range 65_000 {
		if i > 0 {
			enis.WriteByte(',')
		}
		ip := fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255)
		fmt.Fprintf(&enis, `{"NetworkInterfaceId":"eni-%05d","Type":"Secondary","Status":"InUse","VpcId":"vpc-1","VSwitchId":"vsw-1","ZoneId":"cn-hangzhou-a","PrivateIpAddress":%q,"MacAddress":"00:16:3e:00:00:00","InstanceId":"i-%05d","SecurityGroupIds":{"SecurityGroupId":["sg-big"]},"PrivateIpSets":{"PrivateIpSet":[{"PrivateIpAddress":%q,"Primary":true}]}}`, i, ip, i, ip)
	}
	write(tb, dir, "interfaces.json", `{"TotalCount":65000,"NetworkInterfaceSets":{"NetworkInterfaceSet":[`+enis.String()+`]}}`)
	return dir
}

// BenchmarkCheck is a whole run: read, convert, judge and print.
func BenchmarkCheck(b *testing.B) {
	dir := bigExport(b)
	for b.Loop() {
		if r := run(b, "", "check", "-f", dir, "-o", "json"); r.code != 0 {
			b.Fatalf("exit %d: %s%s", r.code, r.out, r.err)
		}
	}
}

// BenchmarkStart is what a user waits for before anything happens: the
// program as a process of its own.
func BenchmarkStart(b *testing.B) {
	binary := filepath.Join(b.TempDir(), "ringfence")
	if out, err := exec.Command("go", "build", "-o", binary, "ringfence.dev/ringfence/cmd/ringfence").CombinedOutput(); err != nil {
		b.Fatalf("go build: %v\n%s", err, out)
	}
	for b.Loop() {
		if out, err := exec.Command(binary, "version").CombinedOutput(); err != nil {
			b.Fatalf("%v\n%s", err, out)
		}
	}
}
