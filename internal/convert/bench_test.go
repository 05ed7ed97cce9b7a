package convert

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// bigExport returns the network interfaces of 65,000 pods and a group of 1,000
// rules: about 30 MB as the cloud prints it.
func bigExport() []File {
	const interfaces, rules = 65_000, 1000
	var b strings.Builder
	b.WriteString(`{"RequestId": "x", "NetworkInterfaceSets": {"NetworkInterfaceSet": [`)
	for i := range interfaces {
		if i > 0 {
			b.WriteString(",\n")
		}
		fmt.Fprintf(&b, `{"NetworkInterfaceId": "eni-bp1%05d", "Status": "InUse", "Type": "Secondary", "VpcId": "vpc-1", "VSwitchId": "vsw-1", `+
			`"ZoneId": "cn-hangzhou-b", "MacAddress": "00:16:3e:00:00:00", "Description": "pod interface", "CreationTime": "2026-01-02T03:04:05Z", `+
			`"OwnerId": "123456789012", "InstanceId": "i-bp1%05d", "SecurityGroupIds": {"SecurityGroupId": ["sg-1", "sg-2"]}, `+
			`"PrivateIpSets": {"PrivateIpSet": [{"Primary": true, "PrivateIpAddress": "10.%d.%d.%d"}]}, "Tags": {"Tag": []}}`,
			i, i/10, i>>16, i>>8&255, i&255)
	}
	fmt.Fprintf(&b, `]}, "TotalCount": %d}`, interfaces)
	eni := b.String()
	b.Reset()
	b.WriteString(`{"SecurityGroupId": "sg-1", "VpcId": "vpc-1", "InnerAccessPolicy": "Drop", "Permissions": {"Permission": [`)
	for i := range rules {
		if i > 0 {
			b.WriteString(",\n")
		}
		fmt.Fprintf(&b, `{"SecurityGroupRuleId": "sgr-%d", "Direction": "ingress", "Policy": "Accept", "Priority": "%d", "IpProtocol": "TCP", `+
			`"PortRange": "%d/%d", "SourceCidrIp": "10.%d.0.0/16", "DestCidrIp": "", "NicType": "intranet", "Description": ""}`,
			i, 1+i%100, 1000+i, 1001+i, i%256)
	}
	b.WriteString(`]}}`)
	return []File{text("eni.json", eni), text("sg-1.json", b.String())}
}

// BenchmarkParse reads the greatest export that a host's check may need.
// Budget: 0.6 s.
func BenchmarkParse(b *testing.B) {
	files := bigExport()
	size := 0
	for _, f := range files {
		size += len(f.Data)
	}
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(files); err != nil {
			b.Fatal(err)
		}
	}
}

// TestBigExport keeps the budget of BenchmarkParse, with room for a slow machine.
func TestBigExport(t *testing.T) {
	files := bigExport()
	start := time.Now() //nolint:forbidigo // how long it takes is what is tested
	inv, err := Parse(files)
	took := time.Since(start) //nolint:forbidigo // as above
	if err != nil {
		t.Fatal(err)
	}
	if g, _ := inv.Group("sg-1"); len(g.Members) != 65_000 || len(g.Ingress) != 1000 {
		t.Errorf("sg-1 has %d members and %d rules", len(g.Members), len(g.Ingress))
	}
	if took > 5*time.Second {
		t.Errorf("Parse(...): took %v, the budget is 0.6 s", took)
	}
	t.Logf("%d MB in %v", len(files[0].Data)>>20, took)
}
