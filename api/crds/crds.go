// Package crds holds the CustomResourceDefinitions of API group ringfence.dev,
// generated from package v1alpha1. Whoever serves the API installs them.
package crds

import "embed"

// Files holds one definition a file, *.yaml.
//
//go:embed *.yaml
var Files embed.FS
