package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestOldSystemPage: every test that docs/old-system.md names is there, and every test
// named after a defect of the old system is on the page.
func TestOldSystemPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/old-system.md")
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func (Test\w+)\(t \*testing\.T\)`)
	err = filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "node_modules" || d.Name() == ".git"):
			return filepath.SkipDir
		case !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		b, err := os.ReadFile(path)
		for _, m := range declared.FindAllStringSubmatch(string(b), -1) {
			there[m[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	named := map[string]bool{}
	for _, m := range regexp.MustCompile("`(Test\\w+)`").FindAllStringSubmatch(string(page), -1) {
		named[m[1]] = true
		if !there[m[1]] {
			t.Errorf("the page names %s, which is not there", m[1])
		}
	}
	if len(named) < 80 {
		t.Errorf("only %d tests are named", len(named))
	}
	for name := range there {
		if regexp.MustCompile(`^Test(Old|Upstream)|Unlike`).MatchString(name) && !named[name] && name != t.Name() {
			t.Errorf("%s is not on the page", name)
		}
	}
}
