package convert

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// The forms below are those of `terraform show -json` (JSON Output Format,
// format version 1) and of `tofu show -json`, which is the same.

type tfFile struct {
	Errored         bool       `json:"errored"`
	Values          *tfValues  `json:"values"`         // a state
	PlannedValues   *tfValues  `json:"planned_values"` // a plan
	ResourceChanges []tfChange `json:"resource_changes"`
	Configuration   struct {
		RootModule tfConfig `json:"root_module"`
	} `json:"configuration"`
}

type tfValues struct {
	RootModule tfModule `json:"root_module"`
}

type tfModule struct {
	Address      string       `json:"address"`
	Resources    []tfResource `json:"resources"`
	ChildModules []tfModule   `json:"child_modules"`
}

type tfResource struct {
	Address string         `json:"address"`
	Mode    string         `json:"mode"`
	Type    string         `json:"type"`
	Name    string         `json:"name"`
	Values  map[string]any `json:"values"`

	module  string // address of its module, with keys; empty for the root
	pointer string // where it stands in the document
	unknown any    // after_unknown of its change: what the plan does not know
}

type tfChange struct {
	Address string `json:"address"`
	Deposed string `json:"deposed"`
	Change  struct {
		AfterUnknown any `json:"after_unknown"`
	} `json:"change"`
}

// A tfConfig is a module as it was written: what refers to what.
type tfConfig struct {
	Resources   []tfConfigResource `json:"resources"`
	ModuleCalls map[string]struct {
		Expressions map[string]jsontext.Value `json:"expressions"`
		ForEach     jsontext.Value            `json:"for_each_expression"`
		Module      tfConfig                  `json:"module"`
	} `json:"module_calls"`
	Outputs map[string]struct {
		Expression jsontext.Value `json:"expression"`
	} `json:"outputs"`
}

type tfConfigResource struct {
	Address     string                    `json:"address"`
	Mode        string                    `json:"mode"`
	Expressions map[string]jsontext.Value `json:"expressions"`
	ForEach     jsontext.Value            `json:"for_each_expression"`
}

// A tfDocument is a plan or a state, ready for questions.
type tfDocument struct {
	*document
	config    tfConfig
	resources []tfResource // managed ones, in the order of the document
	modules   []string     // addresses of modules, with keys
	// instances are the resources by their address without key, written those
	// of the configuration by their address without any keys.
	instances map[string][]*tfResource
	written   map[string]*tfConfigResource
	// steps counts followed references: a plan refers in no circles, but a
	// file may.
	steps int
}

// terraform reads `terraform show -json` of a plan or a state.
func (b *builder) terraform(d *document) error {
	t, err := newTerraform(d)
	if err != nil {
		return err
	}
	for _, read := range []func(*tfDocument) error{b.tfNetworks, b.tfPrefixLists, b.tfGroups, b.tfClusters, b.tfNodePools} {
		if err := read(t); err != nil {
			return err
		}
	}
	return nil
}

func newTerraform(d *document) (*tfDocument, error) {
	var in tfFile
	if err := d.decode(&in); err != nil {
		return nil, err
	}
	t := &tfDocument{document: d, config: in.Configuration.RootModule}
	switch {
	case in.Errored:
		return nil, d.bad("/errored", "the plan ended with an error and is not complete: want one that succeeded")
	case in.PlannedValues != nil:
		t.collect(&in.PlannedValues.RootModule, "/planned_values/root_module")
	case in.Values != nil:
		t.collect(&in.Values.RootModule, "/values/root_module")
	default:
		return nil, d.bad("", "neither planned_values nor values: want `terraform show -json` of a plan, or of a state that is not empty")
	}
	unknown := make(map[string]any, len(in.ResourceChanges))
	for _, c := range in.ResourceChanges {
		if c.Deposed == "" {
			unknown[c.Address] = c.Change.AfterUnknown
		}
	}
	t.instances = map[string][]*tfResource{}
	for i := range t.resources {
		r := &t.resources[i]
		r.unknown = unknown[r.Address]
		t.instances[r.base()] = append(t.instances[r.base()], r)
	}
	t.written = map[string]*tfConfigResource{}
	t.collectConfig(&t.config, "")
	return t, nil
}

// collect gathers the managed resources of a module and its children.
func (t *tfDocument) collect(m *tfModule, pointer string) {
	t.modules = append(t.modules, m.Address)
	for i, r := range m.Resources {
		if r.Mode == "managed" {
			r.module, r.pointer = m.Address, pointer+"/resources/"+strconv.Itoa(i)
			t.resources = append(t.resources, r)
		}
	}
	for i := range m.ChildModules {
		t.collect(&m.ChildModules[i], pointer+"/child_modules/"+strconv.Itoa(i))
	}
}

// collectConfig indexes the managed resources of a module and those it calls.
func (t *tfDocument) collectConfig(m *tfConfig, module string) {
	for i := range m.Resources {
		if r := &m.Resources[i]; r.Mode == "managed" {
			t.written[dotted(module, r.Address)] = r
		}
	}
	for name, call := range m.ModuleCalls {
		t.collectConfig(&call.Module, dotted(module, "module."+name))
	}
}

// of lists the resources of the given types.
func (t *tfDocument) of(types ...string) []*tfResource {
	var list []*tfResource
	for i := range t.resources {
		if slices.Contains(types, t.resources[i].Type) {
			list = append(list, &t.resources[i])
		}
	}
	return list
}

// id returns the resource's id, or its address while it has none.
func (r *tfResource) id() string {
	if id, ok := r.Values["id"].(string); ok && id != "" {
		return id
	}
	return r.Address
}

// place returns where the resource stands.
func (t *tfDocument) place(r *tfResource) Place { return t.at(r.pointer) }

// fault returns an input error that names the resource. The empty attribute
// means the resource as a whole.
func (t *tfDocument) fault(r *tfResource, attribute, format string, args ...any) error {
	pointer := r.pointer
	if attribute != "" {
		pointer += "/values/" + attribute
	}
	return t.bad(pointer, "%s: %w", r.Address, fmt.Errorf(format, args...))
}

// text returns a scalar attribute, following references where a plan does not
// know it yet. It is empty where nothing is set and where the provider will
// choose; what the configuration sets and nobody can tell is an error.
func (t *tfDocument) text(r *tfResource, attribute string) (string, error) {
	list, err := t.texts(r, attribute)
	switch {
	case err != nil || len(list) == 0:
		return "", err
	case len(list) > 1:
		return "", t.fault(r, attribute, "cannot tell which of %s %s will be: want `terraform show -json` of the state after apply",
			strings.Join(list, ", "), attribute)
	}
	return list[0], nil
}

// needed is text for an attribute that must be there. name may list several
// spellings, the first that is set counts.
func (t *tfDocument) needed(r *tfResource, attributes ...string) (string, error) {
	for _, a := range attributes {
		text, err := t.text(r, a)
		if err != nil || text != "" {
			return text, err
		}
	}
	if holdsTrue(r.unknownOf(attributes[0])) {
		return "", t.fault(r, attributes[0], "%s is known only after apply: want `terraform show -json` of the state", attributes[0])
	}
	return "", t.fault(r, attributes[0], "no %s: want the attribute to be set", attributes[0])
}

// texts is text for attributes that may be lists.
func (t *tfDocument) texts(r *tfResource, attribute string) ([]string, error) {
	if !holdsTrue(r.unknownOf(attribute)) {
		return scalars(r.Values[attribute]), nil
	}
	expression := t.expression(r, attribute)
	if len(expression) == 0 { // left to the provider
		return scalars(r.Values[attribute]), nil
	}
	list, ok := t.resolve(r, attribute, 0)
	if !ok {
		return nil, t.fault(r, attribute, "%s is known only after apply, and cannot be told from %s: "+
			"want a literal, a reference to a resource, or `terraform show -json` of the state after apply",
			attribute, strings.Join(mostSpecific(references(expression)), ", "))
	}
	return list, nil
}

// unknownOf returns what the plan does not know about an attribute: a boolean,
// or the same within lists and objects.
func (r *tfResource) unknownOf(attribute string) any {
	object, ok := r.unknown.(map[string]any)
	if !ok {
		return nil
	}
	return object[attribute]
}

// holdsTrue reports whether v is true or holds it at any depth.
func holdsTrue(v any) bool {
	switch v := v.(type) {
	case bool:
		return v
	case []any:
		return slices.ContainsFunc(v, holdsTrue)
	case map[string]any:
		for _, inner := range v {
			if holdsTrue(inner) {
				return true
			}
		}
	}
	return false
}

// scalars lists the texts and numbers in v, which may be a list of them.
func scalars(v any) []string {
	switch v := v.(type) {
	case string:
		if v != "" {
			return []string{v}
		}
	case float64:
		return []string{strconv.FormatFloat(v, 'f', -1, 64)}
	case bool:
		return []string{strconv.FormatBool(v)}
	case []any:
		var list []string
		for _, inner := range v {
			list = append(list, scalars(inner)...)
		}
		return list
	}
	return nil
}

// blocks lists the nested blocks of one kind, in order.
func (r *tfResource) blocks(attribute string) []map[string]any {
	list, ok := r.Values[attribute].([]any)
	if !ok {
		return nil
	}
	var blocks []map[string]any
	for _, v := range list {
		block, _ := v.(map[string]any)
		blocks = append(blocks, block)
	}
	return blocks
}
