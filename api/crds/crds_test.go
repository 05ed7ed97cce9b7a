package crds_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ringfence.dev/ringfence/api/v1alpha1"
)

// TestInstall checks that an API server takes the definitions: the same code
// says no to a schema that is not structural, to a rule that does not compile
// and to rules that may cost too much.
func TestInstall(t *testing.T) {
	all := servers(t)
	want := []string{
		v1alpha1.KindAddressSlice, v1alpha1.KindCluster, v1alpha1.KindClusterNeeds, v1alpha1.KindFlowReport, v1alpha1.KindHost, v1alpha1.KindNodePool,
		v1alpha1.KindPrefixList, v1alpha1.KindRollout, v1alpha1.KindRuleset, v1alpha1.KindSecurityGroup, v1alpha1.KindVPC,
	}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(all))); diff != "" {
		t.Errorf("kinds: -want +got:\n%s", diff)
	}
	for kind, s := range all {
		t.Run(kind, func(t *testing.T) {
			for _, err := range s.install(t.Context()) {
				t.Error(err)
			}
			names := s.definition.Spec.Names
			if !slices.Contains(names.Categories, "ringfence") {
				t.Errorf("categories %v: kubectl get ringfence would leave it out", names.Categories)
			}
			if names.Plural != strings.ToLower(names.Plural) || names.ListKind != kind+"List" {
				t.Errorf("names %+v", names)
			}
		})
	}
}
