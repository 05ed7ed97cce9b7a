package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var (
	// GroupVersion is APIVersion, for machines.
	GroupVersion = schema.GroupVersion{Group: GroupName, Version: Version}
	// SchemeBuilder adds the kinds of this package to a scheme.
	SchemeBuilder = runtime.NewSchemeBuilder(addKinds)
	// AddToScheme is the builder's, as every API package has it.
	AddToScheme = SchemeBuilder.AddToScheme
)

func addKinds(s *runtime.Scheme) error {
	s.AddKnownTypes(
		GroupVersion,
		new(VPC), new(VPCList),
		new(PrefixList), new(PrefixListList),
		new(SecurityGroup), new(SecurityGroupList),
		new(Cluster), new(ClusterList),
		new(NodePool), new(NodePoolList),
		new(Host), new(HostList),
		new(Ruleset), new(RulesetList),
		new(Rollout), new(RolloutList),
		new(AddressSlice), new(AddressSliceList),
		new(FlowReport), new(FlowReportList),
		new(ClusterNeeds), new(ClusterNeedsList),
	)
	metav1.AddToGroupVersion(s, GroupVersion)
	return nil
}
