package crds_test

import (
	"context"
	"io/fs"
	"slices"
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	crdvalidation "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/model"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/cel/common"
	"sigs.k8s.io/yaml"

	"ringfence.dev/ringfence/api/crds"
)

// A server takes or refuses the objects of one kind, in the steps and with the
// code of the API server, but without storage and network.
type server struct {
	definition *apiextensions.CustomResourceDefinition
	structural *structuralschema.Structural
	schema     validation.SchemaValidator
	cel        *cel.Validator
}

// servers returns one server a kind.
func servers(t *testing.T) map[string]*server {
	t.Helper()
	files, err := fs.Glob(crds.Files, "*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]*server{}
	for _, file := range files {
		s := newServer(t, file)
		all[s.definition.Spec.Names.Kind] = s
	}
	return all
}

func newServer(t *testing.T, file string) *server {
	t.Helper()
	text, err := fs.ReadFile(crds.Files, file)
	if err != nil {
		t.Fatal(err)
	}
	var wire apiextensionsv1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(text, &wire); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	apiextensionsv1.SetDefaults_CustomResourceDefinition(&wire)
	apiextensionsv1.SetDefaults_CustomResourceDefinitionSpec(&wire.Spec)
	s := &server{definition: new(apiextensions.CustomResourceDefinition)}
	if err := apiextensionsv1.Convert_v1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(&wire, s.definition, nil); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	// The registry writes this before it validates.
	s.definition.Status.StoredVersions = []string{s.definition.Spec.Versions[0].Name}
	v, err := apiextensions.GetSchemaForVersion(s.definition, s.definition.Spec.Versions[0].Name)
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	if s.structural, err = structuralschema.NewStructural(v.OpenAPIV3Schema); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	if s.schema, _, err = validation.NewSchemaValidator(v.OpenAPIV3Schema); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	s.cel = cel.NewValidator(s.structural, true, celconfig.PerCallLimit)
	return s
}

// install returns why the API server would refuse the definition itself, the
// costs of its rules included.
func (s *server) install(ctx context.Context) field.ErrorList {
	return crdvalidation.ValidateCustomResourceDefinition(ctx, s.definition)
}

// read returns the object in a text as the server would store it, and the
// fields in it that the schema does not know.
func (s *server) read(t *testing.T, text string) (object map[string]any, unknown []string) {
	t.Helper()
	if err := yaml.Unmarshal([]byte(text), &object); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	object = runtime.DeepCopyJSON(integers(object).(map[string]any))
	unknown = pruning.PruneWithOptions(object, s.structural, true, structuralschema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})
	defaulting.PruneNonNullableNullsWithoutDefaults(object, s.structural)
	defaulting.Default(object, s.structural)
	return object, unknown
}

// integers turns whole floats into integers, as the API server's decoder does.
func integers(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			v[k] = integers(e)
		}
	case []any:
		for i, e := range v {
			v[i] = integers(e)
		}
	case float64:
		if n := int64(v); float64(n) == v {
			return n
		}
	}
	return v
}

// create returns why a new object is refused, and how much of the budget for
// rules is left.
func (s *server) create(ctx context.Context, object map[string]any) (errs field.ErrorList, budget int64) {
	errs = validation.ValidateCustomResource(nil, object, s.schema)
	errs = append(errs, listtype.ValidateListSetsAndMaps(nil, s.structural, object)...)
	if blocked(errs) {
		return errs, celconfig.RuntimeCELCostBudget
	}
	more, budget := s.cel.Validate(ctx, nil, s.structural, object, nil, celconfig.RuntimeCELCostBudget)
	return append(errs, more...), budget
}

// update returns why a change of an object is refused.
func (s *server) update(ctx context.Context, before, after map[string]any) field.ErrorList {
	both := common.NewCorrelatedObject(after, before, &model.Structural{Structural: s.structural})
	errs := validation.ValidateCustomResourceUpdate(nil, after, before, s.schema, validation.WithRatcheting(both))
	errs = append(errs, listtype.ValidateListSetsAndMaps(nil, s.structural, after)...)
	if blocked(errs) {
		return errs
	}
	more, _ := s.cel.Validate(ctx, nil, s.structural, after, before, celconfig.RuntimeCELCostBudget, cel.WithRatcheting(both))
	return append(errs, more...)
}

// blocked says that the server does not run the rules after these errors.
func blocked(errs field.ErrorList) bool {
	return slices.ContainsFunc(errs, func(err *field.Error) bool {
		return slices.Contains([]field.ErrorType{
			field.ErrorTypeNotSupported, field.ErrorTypeRequired, field.ErrorTypeTooLong, field.ErrorTypeTooMany, field.ErrorTypeTypeInvalid,
		}, err.Type)
	})
}
