package convert

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// A fuzzyText is a scalar that clouds print now as a string, now as a number
// or a boolean: Priority is "1" in one release of an API and 1 in the next.
// Null and absent are the empty text.
type fuzzyText string

// UnmarshalJSONFrom implements json.UnmarshalerFrom.
func (t *fuzzyText) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	if kind := dec.PeekKind(); kind == '{' || kind == '[' {
		return errors.New("found an object or a list, want text or a number")
	}
	tok, err := dec.ReadToken()
	if err != nil {
		return err
	}
	*t = ""
	if tok.Kind() != 'n' {
		*t = fuzzyText(tok.String())
	}
	return nil
}

// count returns the number of elements that t tells, 0 if it tells none.
func (t *fuzzyText) count() int {
	n, err := strconv.Atoi(string(*t))
	if err != nil || n < 0 {
		return 0
	}
	return n
}

// plain says what is wrong with JSON inside a string without the words of Go.
func plain(err error) error {
	if semantic, ok := errors.AsType[*json.SemanticError](err); ok {
		return fmt.Errorf("at %q: %s", semantic.JSONPointer, describe(semantic))
	}
	if syntactic, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		return syntactic.Err
	}
	return err
}
