package controlplane

import (
	"fmt"
	"runtime/debug"

	apimachineryversion "k8s.io/apimachinery/pkg/version"
	"k8s.io/component-base/compatibility"
)

// A release is an effective version whose /version names the release of
// Kubernetes that is linked in. As a library it knows its own minor version only,
// and calls the rest by a placeholder that kubectl cannot read.
type release struct{ compatibility.EffectiveVersion }

// Info implements compatibility.EffectiveVersion.
func (r release) Info() *apimachineryversion.Info {
	info := *r.EffectiveVersion.Info()
	info.GitVersion = fmt.Sprintf("v%d.%d.0+ringfence", r.BinaryVersion().Major(), r.BinaryVersion().Minor())
	info.GitCommit, info.GitTreeState = "", ""
	built, ok := debug.ReadBuildInfo()
	if !ok {
		return &info
	}
	for _, m := range built.Deps {
		if m.Path == "k8s.io/kubernetes" {
			info.GitVersion = m.Version + "+ringfence"
		}
	}
	return &info
}
