package convert

import (
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// maxSteps bounds how many references are followed in one document: a plan of
// ten thousand rules has some 30,000 to follow.
const maxSteps = 200_000

// maxDepth bounds how far one reference leads to the next, through modules.
const maxDepth = 64

// A tfScope is where a reference stands: in which module instance, and with
// which key of count or for_each.
type tfScope struct {
	module  string
	key     string         // such as [0] or ["a"]; empty without count and for_each
	forEach jsontext.Value // the expression behind each.value
	// keyed is true where a reference chooses an instance by that key.
	keyed bool
	depth int
}

func (t *tfDocument) scopeOf(r *tfResource) tfScope {
	s := tfScope{module: r.module, key: strings.TrimPrefix(r.Address, r.base())}
	if w, ok := t.writtenAs(r); ok {
		s.forEach = w.ForEach
	}
	return s
}

// base returns the resource's address without its own key.
func (r *tfResource) base() string { return dotted(r.module, r.Type+"."+r.Name) }

// writtenAs returns the resource in the configuration; a state has none.
func (t *tfDocument) writtenAs(r *tfResource) (*tfConfigResource, bool) {
	tokens := slices.DeleteFunc(splitReference(r.base()), func(t string) bool { return strings.HasPrefix(t, "[") })
	w, ok := t.written[joinReference(tokens)]
	return w, ok
}

func dotted(module, name string) string {
	if module == "" {
		return name
	}
	return module + "." + name
}

// module finds the configuration of a module by its address.
func (t *tfDocument) module(address string) (*tfConfig, bool) {
	config := &t.config
	tokens := splitReference(address)
	for i := 0; i < len(tokens); i++ {
		if strings.HasPrefix(tokens[i], "[") {
			continue
		}
		i++ // tokens[i-1] is "module"
		if i >= len(tokens) {
			return nil, false
		}
		call, ok := config.ModuleCalls[tokens[i]]
		if !ok {
			return nil, false
		}
		config = &call.Module
	}
	return config, true
}

// expression returns what the configuration says about an attribute; nil if it
// leaves it to the provider.
func (t *tfDocument) expression(r *tfResource, attribute string) jsontext.Value {
	if w, ok := t.writtenAs(r); ok {
		return w.Expressions[attribute]
	}
	return nil
}

// references lists what an expression refers to, nested blocks included.
func references(expression jsontext.Value) []string {
	var v any
	if len(expression) == 0 || json.Unmarshal(expression, &v) != nil {
		return nil
	}
	return referencesIn(v)
}

func referencesIn(v any) []string {
	var list []string
	switch v := v.(type) {
	case []any:
		for _, inner := range v {
			list = append(list, referencesIn(inner)...)
		}
	case map[string]any:
		if refs, ok := v["references"]; ok {
			return scalars(refs)
		}
		for _, inner := range v {
			list = append(list, referencesIn(inner)...)
		}
		slices.Sort(list) // maps have no order
	}
	return list
}

// mostSpecific leaves out the references that only lead to others: Terraform
// lists a.b.id, then a.b, for one and the same expression.
func mostSpecific(refs []string) []string {
	var list []string
	for _, r := range refs {
		leads := slices.ContainsFunc(refs, func(other string) bool {
			return strings.HasPrefix(other, r+".") || strings.HasPrefix(other, r+"[")
		})
		if !leads && !slices.Contains(list, r) {
			list = append(list, r)
		}
	}
	return list
}

// resolve returns the values of an attribute. It fails if one is unknown and
// its references lead nowhere.
func (t *tfDocument) resolve(r *tfResource, attribute string, depth int) ([]string, bool) {
	if attribute == "id" {
		return []string{r.id()}, true
	}
	known := scalars(r.Values[attribute])
	if !holdsTrue(r.unknownOf(attribute)) {
		return known, len(known) > 0
	}
	s := t.scopeOf(r)
	s.depth = depth
	found, ok := t.follow(s, references(t.expression(r, attribute)))
	return mergeIDs(known, found), ok && len(found) > 0
}

// follow returns the values that references lead to. It fails if one of them
// leads nowhere.
func (t *tfDocument) follow(s tfScope, refs []string) ([]string, bool) {
	s.depth++
	refs = mostSpecific(refs)
	s.keyed = slices.Contains(refs, "each.key") || slices.Contains(refs, "count.index")
	var all []string
	for _, ref := range refs {
		tokens := splitReference(ref)
		t.steps++
		if t.steps > maxSteps || s.depth > maxDepth || len(tokens) < 2 {
			return nil, false
		}
		found, ok := t.followOne(s, tokens)
		if !ok {
			return nil, false
		}
		all = mergeIDs(all, found)
	}
	return all, true
}

func (t *tfDocument) followOne(s tfScope, tokens []string) ([]string, bool) {
	switch tokens[0] {
	case "count":
		return nil, true // chooses among instances, adds nothing
	case "each":
		if tokens[1] == "key" {
			return nil, true
		}
		return t.followEach(s, tokens[2:])
	case "var":
		return t.followVariable(s, tokens[1], tokens[2:])
	case "module":
		return t.followOutput(s, tokens[1:])
	case "local", "data", "path", "terraform", "self":
		return nil, false // not in the document, or not known before apply
	}
	return t.followResource(s, tokens)
}

// followEach follows each.value: the instance with our own key of what
// for_each goes over.
func (t *tfDocument) followEach(s tfScope, rest []string) ([]string, bool) {
	var refs []string
	for _, ref := range mostSpecific(references(s.forEach)) {
		refs = append(refs, joinReference(append(splitReference(ref), rest...)))
	}
	if s.key == "" || len(refs) == 0 {
		return nil, false
	}
	// As if it had been written with the key.
	return t.follow(s, append(refs, "each.key"))
}

// followVariable follows a module's variable to what the caller passes.
func (t *tfDocument) followVariable(s tfScope, name string, rest []string) ([]string, bool) {
	tokens := splitReference(s.module)
	at := len(tokens) - 1
	for at >= 0 && tokens[at] != "module" {
		at--
	}
	if at < 0 || at+1 >= len(tokens) {
		return nil, false
	}
	up := tfScope{module: joinReference(tokens[:at]), key: joinReference(tokens[at+2:]), depth: s.depth}
	config, ok := t.module(up.module)
	if !ok {
		return nil, false
	}
	call := config.ModuleCalls[tokens[at+1]]
	up.forEach = call.ForEach
	return t.followAll(up, call.Expressions[name], rest)
}

// followOutput follows NAME[KEY].OUTPUT of a child module.
func (t *tfDocument) followOutput(s tfScope, tokens []string) ([]string, bool) {
	base := dotted(s.module, "module."+tokens[0])
	tokens = tokens[1:]
	var children []string
	if len(tokens) > 0 && strings.HasPrefix(tokens[0], "[") {
		children, tokens = []string{base + tokens[0]}, tokens[1:]
	} else {
		children = instancesOf(s, base, t.modules)
	}
	if len(tokens) == 0 || len(children) == 0 {
		return nil, false
	}
	var all []string
	for _, child := range children {
		config, ok := t.module(child)
		if !ok {
			return nil, false
		}
		found, ok := t.followAll(tfScope{module: child, depth: s.depth}, config.Outputs[tokens[0]].Expression, tokens[1:])
		if !ok {
			return nil, false
		}
		all = mergeIDs(all, found)
	}
	return all, true
}

// followAll follows all references of an expression, each with the rest of the
// path that was asked of the expression.
func (t *tfDocument) followAll(s tfScope, expression jsontext.Value, rest []string) ([]string, bool) {
	var refs []string
	for _, ref := range mostSpecific(references(expression)) {
		if ref != "each.key" && ref != "count.index" {
			ref = joinReference(append(splitReference(ref), rest...))
		}
		refs = append(refs, ref)
	}
	found, ok := t.follow(s, refs)
	return found, ok && len(found) > 0
}

// followResource follows TYPE.NAME[KEY].ATTRIBUTE; the attribute is id where
// the reference stops short of it, as it does before a computed key.
func (t *tfDocument) followResource(s tfScope, tokens []string) ([]string, bool) {
	base := dotted(s.module, tokens[0]+"."+tokens[1])
	byAddress := map[string]*tfResource{}
	var addresses []string
	for _, r := range t.instances[base] {
		byAddress[r.Address] = r
		addresses = append(addresses, r.Address)
	}
	tokens = tokens[2:]
	if len(tokens) > 0 && strings.HasPrefix(tokens[0], "[") {
		addresses, tokens = slices.DeleteFunc(addresses, func(a string) bool { return a != base+tokens[0] }), tokens[1:]
	} else {
		addresses = instancesOf(s, base, addresses)
	}
	attribute := "id"
	if len(tokens) == 1 {
		attribute = tokens[0]
	}
	if len(addresses) == 0 || len(tokens) > 1 {
		return nil, false
	}
	var all []string
	for _, a := range addresses {
		found, ok := t.resolve(byAddress[a], attribute, s.depth)
		if !ok {
			return nil, false
		}
		all = mergeIDs(all, found)
	}
	return all, true
}

// instancesOf lists the addresses that are base or instances of it: only the one with
// the scope's own key if the reference chooses by key.
func instancesOf(s tfScope, base string, addresses []string) []string {
	if s.keyed && slices.Contains(addresses, base+s.key) {
		return []string{base + s.key}
	}
	var list []string
	for _, a := range addresses {
		key, ok := strings.CutPrefix(a, base)
		if ok && (key == "" || strings.HasPrefix(key, "[") && len(splitReference(key)) == 1) {
			list = append(list, a)
		}
	}
	return list
}

// splitReference splits a reference or an address into names and [keys].
func splitReference(ref string) []string {
	var tokens []string
	for len(ref) > 0 {
		if ref[0] == '.' {
			ref = ref[1:]
			continue
		}
		end := strings.IndexAny(ref, ".[")
		if ref[0] == '[' {
			end = keyEnd(ref)
		}
		if end < 0 {
			end = len(ref)
		}
		tokens, ref = append(tokens, ref[:end]), ref[end:]
	}
	return tokens
}

// keyEnd returns the length of the [key] at the start of s, -1 if it is open.
func keyEnd(s string) int {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch {
		case quoted && s[i] == '\\':
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == ']' && !quoted:
			return i + 1
		}
	}
	return -1
}

func joinReference(tokens []string) string {
	var out strings.Builder
	for i, t := range tokens {
		if i > 0 && !strings.HasPrefix(t, "[") {
			out.WriteByte('.')
		}
		out.WriteString(t)
	}
	return out.String()
}
