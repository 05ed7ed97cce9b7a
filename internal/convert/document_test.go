package convert

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// group returns a manifest of a VPC and a group with this under its spec,
// which begins in line 9.
func group(spec string) string {
	return "apiVersion: ringfence.dev/v1alpha1\nkind: VPC\nmetadata: {name: prod}\nspec: {cidrBlock: 10.0.0.0/8}\n---\n" +
		"apiVersion: ringfence.dev/v1alpha1\nkind: SecurityGroup\nmetadata: {name: web}\n" + spec + "\n"
}

// rule returns a group whose only ingress rule, in line 12, is this.
func rule(r string) string { return group("spec:\n  vpcName: prod\n  ingress:\n  - " + r) }

// object returns one manifest with this as its spec, which is line 4.
func manifestOf(kind, spec string) string {
	return "apiVersion: ringfence.dev/v1alpha1\nkind: " + kind + "\nmetadata: {name: x}\nspec: " + spec + "\n"
}

const vpc = `apiVersion: ringfence.dev/v1alpha1
kind: VPC
metadata: {name: prod}
spec:
  cidrBlock: 10.0.0.0/8
  subnets: [{name: a, cidrBlock: 10.0.0.0/16}, {name: b, cidrBlock: 10.1.0.0/16}]
---
`

// A badInputCase is input that must be refused in these words.
type badInputCase struct {
	reason string
	input  string
	want   string // how the error begins
}

func TestBadSyntax(t *testing.T) {
	for name, tc := range map[string]badInputCase{
		"EmptyFile": {
			"an empty file is more likely a mishap than a wish", "",
			"in.yaml: the file is empty",
		},
		"BlankFile": {
			"white space is nothing", " \n\t\n",
			"in.yaml: the file is empty",
		},
		"CommentOnly": {
			"a file of comments says nothing", "# later\n---\n",
			"in.yaml: the file holds no document",
		},
		"TruncatedJSON": {
			"a broken download must say so", "{\"apiVersion\": \"v1\",\n \"items\": [",
			"in.yaml:2: /items: the JSON ends too early: is the file cut off?",
		},
		"TruncatedJSONString": {
			"also within a text", "{\"apiVersion\": \"v",
			"in.yaml:1: /apiVersion: the JSON ends too early: is the file cut off?",
		},
		"BadJSON": {
			"the line helps where there is no value to point to", "{\n \"a\": 1,\n \"b\" 2}",
			"in.yaml:3: /b: bad JSON: ",
		},
		"TextAfterJSON": {
			"a log line at the end is no document", "{}\nERROR: done",
			"in.yaml: cannot tell what this document is",
		},
		"DuplicateJSONKey": {
			"a reader that takes the last one lets rules vanish", `{"apiVersion": "a", "apiVersion": "b"}`,
			"in.yaml:1: /apiVersion: bad JSON: ",
		},
		"InvalidUTF8": {
			"names must be text", "{\"a\": \"\xff\"}",
			"in.yaml:1: /a: bad JSON: ",
		},
		"JSONArray": {
			"a bare list names no form", `[1, 2]`,
			"in.yaml: cannot tell what this document is",
		},
		"UnknownObject": {
			"a form that we do not know", `{"Regions": []}`,
			"in.yaml: cannot tell what this document is: want one of a Kubernetes-style object, ",
		},
		"SecondJSONValue": {
			"the line tells which of several values is meant", "{\"apiVersion\": \"v1\", \"kind\": \"List\"}\n\n{\"apiVersion\": \"apps/v1\", \"kind\": \"Deployment\"}",
			"in.yaml:3: /kind: kind Deployment of apps/v1 is not something that ringfence reads",
		},
		"TruncatedYAML": {
			"flow style left open", "apiVersion: v1\nkind: {a: [",
			"in.yaml:2: bad YAML: did not find expected node content",
		},
		"BadIndent": {
			"YAML's own message, with our place", "a:\n  b: 1\n c: 2\n",
			"in.yaml:2: bad YAML: did not find expected key",
		},
		"Tab": {
			"tabs are no indentation in YAML", "a:\n\tb: 1\n",
			"in.yaml:2: bad YAML: found character that cannot start any token",
		},
		"Control": {
			"a binary file", "\x00\x01\x02",
			"in.yaml: bad YAML: control characters are not allowed",
		},
		"DuplicateYAMLKey": {
			"a reader that takes the last one lets rules vanish", "apiVersion: v1\nkind: List\nkind: List\n",
			`in.yaml:3: the key "kind" stands here twice`,
		},
		"MergeKey": {
			"merge keys make it unclear where a value stands", "base: &b {x: 1}\nkind:\n  <<: *b\n",
			"in.yaml:3: YAML merge keys are not supported: write the fields out",
		},
		"ListAsKey": {
			"JSON has no such key", "? [a, b]\n: c\n",
			"in.yaml:1: a key must be a plain word",
		},
		"NotANumber": {
			"JSON has no such number", "a: .nan\n",
			`in.yaml:1: ".nan" cannot be a number here`,
		},
		"PlainText": {
			"a text is no object", "hello\n",
			"in.yaml:1: cannot tell what this document is",
		},
		"Cycle": {
			"an alias within its own anchor has no end", "a: &x\n- *x\n",
			"in.yaml:2: the document is nested deeper than 1000 levels",
		},
	} {
		t.Run(name, func(t *testing.T) { tc.check(t) })
	}
}

// check parses the input as the file in.yaml.
func (tc *badInputCase) check(t *testing.T) {
	t.Helper()
	inv, err := Parse([]File{{Name: "in.yaml", Data: []byte(tc.input)}})
	if err == nil {
		t.Fatalf("%s\nParse(...): no error, want %q", tc.reason, tc.want)
	}
	if inv != nil {
		t.Errorf("Parse(...): an inventory beside the error %v", err)
	}
	if !strings.HasPrefix(err.Error(), tc.want) {
		t.Errorf("%s\nParse(...): error\n%s\nwant one that begins with\n%s", tc.reason, err, tc.want)
	}
	if _, ok := errors.AsType[*InputError](err); !ok {
		t.Errorf("Parse(...): error of type %T, want an *InputError in it", err)
	}
}

// TestHostileInput checks that nonsense costs neither time nor memory: each
// case took minutes or gigabytes in some reader of YAML or JSON.
func TestHostileInput(t *testing.T) {
	bomb := "a0: &a0 [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]\n"
	for i := '1'; i <= '9'; i++ {
		ref := strings.Repeat(", *a"+string(i-1), 10)[2:]
		bomb += "a" + string(i) + ": &a" + string(i) + " [" + ref + "]\n"
	}
	random := make([]byte, 10<<20)
	for i, x := 0, uint32(1); i < len(random); i++ {
		x = x*1664525 + 1013904223
		random[i] = byte(x >> 24)
	}
	const megabytes = 10 << 20
	for name, input := range map[string]string{
		"AliasBomb":      bomb,
		"FatAlias":       "a: &a " + strings.Repeat("x", 1<<20) + "\nb: [" + strings.Repeat("*a, ", 10000) + "]\n",
		"Random":         string(random),
		"Letters":        strings.Repeat("a", megabytes),
		"Lines":          strings.Repeat("x\n", megabytes/2),
		"Brackets":       strings.Repeat("[", megabytes),
		"Braces":         strings.Repeat(`{"a":`, megabytes/5),
		"DeepFlow":       "x: " + strings.Repeat("[", megabytes),
		"DeepDashes":     strings.Repeat("- ", megabytes/2),
		"DeepMapping":    deepMapping(3000),
		"ManyDocuments":  strings.Repeat("{}", megabytes/2),
		"ManyItems":      `{"apiVersion":"v1","kind":"List","items":[` + strings.Repeat("{},", megabytes/3) + "{}]}",
		"ManyRules":      `{"apiVersion":"ringfence.dev/v1alpha1","kind":"SecurityGroup","metadata":{"name":"x"},"spec":{"ingress":[` + strings.Repeat("{},", megabytes/30) + "{}]}}",
		"ManyNames":      `{"apiVersion":"ringfence.dev/v1alpha1","kind":"Host","metadata":{"name":"x"},"spec":{"securityGroupNames":[` + strings.Repeat(`"a",`, megabytes/20) + `"a"]}}`,
		"ManyAddresses":  `{"apiVersion":"ringfence.dev/v1alpha1","kind":"Host","metadata":{"name":"x"},"spec":{"addresses":[` + strings.Repeat(`"::1",`, megabytes/20) + `"::1"]}}`,
		"ManySeparators": strings.Repeat("---\n", megabytes/40),
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now() //nolint:forbidigo // how long it takes is what is tested
			_, err := Parse([]File{{Name: "in", Data: []byte(input)}})
			if err == nil {
				t.Error("Parse(...): no error")
			}
			took := time.Since(start) //nolint:forbidigo // as above
			if took > 5*time.Second {
				t.Errorf("Parse(...): took %v", took)
			}
			if err != nil && len(err.Error()) > 20_000 {
				t.Errorf("Parse(...): an error of %d bytes", len(err.Error()))
			}
			t.Logf("%v %.200v", took, err)
		})
	}
}

func deepMapping(depth int) string {
	var b strings.Builder
	for i := range depth {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.String()
}
