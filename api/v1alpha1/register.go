package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion identifies the API of this package.
var GroupVersion = schema.GroupVersion{Group: GroupName, Version: Version}

// AddToScheme makes the kinds of this package known to a scheme.
func AddToScheme(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion,
		&VPC{}, &VPCList{}, &PrefixList{}, &PrefixListList{}, &SecurityGroup{}, &SecurityGroupList{},
		&Cluster{}, &ClusterList{}, &NodePool{}, &NodePoolList{}, &Host{}, &HostList{},
	)
	metav1.AddToGroupVersion(s, GroupVersion)
	return nil
}
