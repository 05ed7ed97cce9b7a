// Package crds holds the CustomResourceDefinitions of package v1alpha1 as the
// API server takes them, for the server to install and for people to apply.
// They are generated: change the markers in api/v1alpha1, then make generate.
package crds

import "embed"

// Files holds one YAML file a kind, named GROUP_PLURAL.yaml. A definition is
// never older than the types it was built with.
//
//go:embed *.yaml
var Files embed.FS
