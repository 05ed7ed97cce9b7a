package files

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRead(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"b.yaml": "b", "a.json": "a", ".hidden": "h", "README.md": "r", "below/c.yaml": "c"} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Join(dir, "below", "c.yaml"), filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	got := func(path string) string {
		list, err := Read(path)
		if err != nil {
			return err.Error()
		}
		var words []string
		for _, f := range list {
			words = append(words, filepath.Base(f.Name)+"="+string(f.Data))
		}
		return strings.Join(words, " ")
	}
	for path, want := range map[string]string{
		dir:                              "a.json=a b.yaml=b link=c",
		filepath.Join(dir, "README.md"):  "README.md=r", // who names it means it
		filepath.Join(dir, "below"):      "c.yaml=c",
		filepath.Join(dir, "not there"):  "cannot read: stat " + filepath.Join(dir, "not there") + ": no such file or directory",
		filepath.Join(t.TempDir(), "./"): "",
	} {
		if g := got(path); g != want && (want != "" || !strings.Contains(g, "holds no files")) {
			t.Errorf("%s: %s; want %s", path, g, want)
		}
	}
}
