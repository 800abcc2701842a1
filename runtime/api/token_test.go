package api

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestAdminToken(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, TokenFile)
	token, created, err := AdminToken(dir)
	if err != nil || !created {
		t.Fatalf("first start: created %v, %v", created, err)
	}
	if !regexp.MustCompile(`^ngt_[0-9A-Za-z]{8}_[0-9A-Za-z]{43}_[0-9A-Za-z]{6}$`).MatchString(token) {
		t.Errorf("token has the wrong form")
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v", info.Mode(), err)
	}
	again, created, err := AdminToken(dir)
	if err != nil || created || again != token {
		t.Errorf("second start: created %v, same %v, %v", created, again == token, err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) != 1 {
		t.Errorf("files left: %v", left)
	}

	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, _, err := AdminToken(dir); err == nil || !strings.Contains(err.Error(), "chmod 600") || strings.Contains(err.Error(), token) {
		t.Errorf("readable by others: %v", err)
	}
	for name, text := range map[string]string{"empty": "", "garbage": "hello\n", "one flipped": strings.ToLower(token)} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := AdminToken(dir); err == nil {
			t.Errorf("%s: taken for a token", name)
		}
	}
	if _, _, err := AdminToken(filepath.Join(dir, "missing")); err == nil {
		t.Error("a missing directory gave a token")
	}
}

func TestTokensDiffer(t *testing.T) {
	seen := map[string]bool{}
	for range 100 {
		token := newToken()
		if seen[token] || !validToken(token) {
			t.Fatalf("seen %v, valid %v", seen[token], validToken(token))
		}
		seen[token] = true
	}
}
