package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// document reads JSON from an argument: the text itself, @file, or - for stdin.
// flag names it in errors.
func (a *app) document(flag, arg string) (json.RawMessage, error) {
	var (
		b   []byte
		err error
		src = flag
	)
	switch {
	case arg == "":
		return nil, nil
	case arg == "-":
		b, err = io.ReadAll(a.stdin)
		src += " from standard input"
	case strings.HasPrefix(arg, "@"):
		b, err = os.ReadFile(arg[1:])
		src += " from " + arg[1:]
	default:
		b = []byte(arg)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", src, err)
	}
	b = bytes.TrimSpace(b)
	var doc json.RawMessage
	if err := json.Unmarshal(b, &doc); err != nil {
		return nil, usagef("%s is not JSON: %v", src, err)
	}
	return doc, nil
}

// withSets puts the values of --set into a document, which is an object or
// nothing.
func withSets(doc json.RawMessage, sets []string) (json.RawMessage, error) {
	if len(sets) == 0 {
		return doc, nil
	}
	tree := map[string]any{}
	if len(doc) > 0 {
		dec := json.NewDecoder(bytes.NewReader(doc))
		dec.UseNumber() // large numbers stay what they are
		var v any
		if err := dec.Decode(&v); err != nil {
			return nil, usagef("the document is not JSON: %v", err)
		}
		object, ok := v.(map[string]any)
		if !ok {
			return nil, usagef("--set needs an object to put values into, and the given document is none")
		}
		tree = object
	}
	for _, s := range sets {
		if err := set(tree, s); err != nil {
			return nil, err
		}
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(tree); err != nil {
		return nil, err
	}
	return bytes.TrimSpace(b.Bytes()), nil
}

// set puts one k=v into tree. Dots in k nest (\. is a dot); v is JSON if it
// parses, else a string.
func set(tree map[string]any, s string) error {
	key, text, ok := strings.Cut(s, "=")
	if !ok {
		return usagef("--set %s: want name=value", s)
	}
	path, err := splitKey(key)
	if err != nil {
		return usagef("--set %s: %v", s, err)
	}
	for i, name := range path[:len(path)-1] {
		next, ok := tree[name]
		if !ok {
			next = map[string]any{}
			tree[name] = next
		}
		inner, ok := next.(map[string]any)
		if !ok {
			return usagef("--set %s: %s has a value already and is no object", s, strings.Join(path[:i+1], "."))
		}
		tree = inner
	}
	tree[path[len(path)-1]] = parseValue(text)
	return nil
}

func splitKey(key string) ([]string, error) {
	var path []string
	var part strings.Builder
	end := func() error {
		if part.Len() == 0 {
			return errors.New("the name has an empty part")
		}
		path = append(path, part.String())
		part.Reset()
		return nil
	}
	for i := 0; i < len(key); i++ {
		switch {
		case key[i] == '\\' && i+1 < len(key) && key[i+1] == '.':
			part.WriteByte('.')
			i++
		case key[i] == '.':
			if err := end(); err != nil {
				return nil, err
			}
		default:
			part.WriteByte(key[i])
		}
	}
	err := end()
	return path, err
}

func parseValue(text string) any {
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	var v any
	if !json.Valid([]byte(text)) || dec.Decode(&v) != nil {
		return text
	}
	return v
}
