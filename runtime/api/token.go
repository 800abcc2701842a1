package api

import (
	"crypto/rand"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"strings"
)

// TokenFile is the name of the admin token's file in the data directory.
const TokenFile = "admin.token"

// AdminToken reads the admin token of a data directory, and makes one on the
// first start: created is then true. The file holds the token and a newline and
// belongs to its owner alone; one that others may read is refused, since whoever
// has read it can do everything.
func AdminToken(dataDir string) (token string, created bool, err error) {
	path := filepath.Join(dataDir, TokenFile)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		token = newToken()
		if err := writeToken(path, token); err != nil {
			return "", false, fmt.Errorf("write the admin token: %w", err)
		}
		return token, true, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("read the admin token: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", false, fmt.Errorf("read the admin token: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return "", false, fmt.Errorf("%s may be read by others (mode %04o): run chmod 600 %s, or delete it and restart for a new token",
			path, mode, path)
	}
	text := make([]byte, 256)
	n, err := f.Read(text)
	if err != nil && n == 0 {
		return "", false, fmt.Errorf("%s is empty: delete it and restart for a new token", path)
	}
	token = strings.TrimSpace(string(text[:n]))
	if !validToken(token) {
		return "", false, fmt.Errorf("%s holds no token: delete it and restart for a new one", path)
	}
	return token, false, nil
}

// writeToken makes the file appear whole or not at all.
func writeToken(path, token string) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), TokenFile+".*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	defer tmp.Close()
	if _, err := tmp.WriteString(token + "\n"); err != nil {
		return err
	}
	if err := tmp.Sync(); err != nil {
		return err
	}
	// Link refuses to replace a file that appeared meanwhile.
	return os.Link(tmp.Name(), path)
}

// A token is ngt_<id>_<secret>_<check>: a name that may be logged, 256 random
// bits, and a checksum by which secret scanners and typos are told apart.
const (
	tokenPrefix = "ngt_"
	idLen       = 8
	secretLen   = 43 // base 62 digits that hold 256 bits
	checkLen    = 6
)

func newToken() string {
	body := tokenPrefix + randomText(idLen) + "_" + randomText(secretLen)
	return body + "_" + checksum(body)
}

func validToken(token string) bool {
	cut := strings.LastIndexByte(token, '_')
	return strings.HasPrefix(token, tokenPrefix) && cut > len(tokenPrefix) && checksum(token[:cut]) == token[cut+1:]
}

// tokenID is the part of a token that may be shown, or "".
func tokenID(token string) string {
	id, _, ok := strings.Cut(strings.TrimPrefix(token, tokenPrefix), "_")
	if !ok || len(id) != idLen {
		return ""
	}
	return id
}

const digits62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

func randomText(n int) string {
	b := make([]byte, n)
	for i := range b {
		d, err := rand.Int(rand.Reader, big.NewInt(62))
		if err != nil {
			panic(err) // the system's random source never fails
		}
		b[i] = digits62[d.Int64()]
	}
	return string(b)
}

func checksum(body string) string {
	sum := crc32.ChecksumIEEE([]byte(body))
	b := make([]byte, checkLen)
	for i := checkLen - 1; i >= 0; i-- {
		b[i] = digits62[sum%62]
		sum /= 62
	}
	return string(b)
}
