package profiles

import (
	"errors"
	"fmt"
	"strings"
)

// problems collects errors, so that a reader sees all of them at once.
type problems []error

func (p *problems) addf(format string, args ...any) {
	*p = append(*p, fmt.Errorf(format, args...))
}

// add ignores nil.
func (p *problems) add(err error) {
	if err != nil {
		*p = append(*p, err)
	}
}

func (p *problems) join() error { return errors.Join(*p...) }

func listing[T ~string](all []T) string {
	words := make([]string, len(all))
	for i, v := range all {
		words[i] = string(v)
	}
	return strings.Join(words, ", ")
}
