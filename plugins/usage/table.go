package main

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"
	"time"
)

// The public price data of genai-prices (MIT License, see prices/LICENSE.genai-prices), as
// prices/make.mjs packs it: an index, then the models of each provider. Only the
// index and the providers that somebody asks for are ever unpacked, since every
// instance of the plugin pays for what it unpacks.
//
//go:embed prices/genai-prices.bin
var packed []byte

var published table

// table is the embedded data. It is safe for concurrent use.
type table struct {
	once      sync.Once
	version   string
	providers []*provider

	mu    sync.Mutex
	found map[[2]string]sold // by provider and model, as they were asked for
}

// sold is a model with all its prices; without any: there is none.
type sold struct {
	rates []rates
	from  *priced
}

// maxFound bounds the answers that are kept.
const maxFound = 500

type provider struct {
	ID       string   `json:"id"`
	API      string   `json:"api"`   // a regular expression of its addresses
	Name     *clause  `json:"name"`  // other names of it
	Model    *clause  `json:"model"` // models that are taken for its own where no provider is named
	Fallback []string `json:"fallback"`
	Size     int      `json:"size"`

	packed []byte
	once   sync.Once
	models []model
}

type model struct {
	ID     string          `json:"id"`
	Match  clause          `json:"match"`
	Prices json.RawMessage `json:"prices"` // []rates, read when it is asked for: of most it never is
}

func (m *model) rates() []rates {
	var all []rates
	if err := json.Unmarshal(m.Prices, &all); err != nil {
		panic(fmt.Sprintf("the embedded price table: %s: %v", m.ID, err))
	}
	return all
}

func (t *table) open() {
	t.once.Do(func() {
		rest := bytes.NewReader(packed)
		var index struct {
			Version   string      `json:"version"`
			Providers []*provider `json:"providers"`
		}
		unpack(rest, &index)
		at := len(packed) - rest.Len()
		for _, p := range index.Providers {
			p.packed = packed[at : at+p.Size]
			at += p.Size
		}
		t.version, t.providers = index.Version, index.Providers
	})
}

// unpack reads one gzip member. The data is our own, and tested: it cannot be broken.
func unpack(r *bytes.Reader, v any) {
	z, err := gzip.NewReader(r)
	if err == nil {
		z.Multistream(false)
		var b []byte
		if b, err = io.ReadAll(z); err == nil {
			err = json.Unmarshal(b, v)
		}
	}
	if err != nil {
		panic(fmt.Sprintf("the embedded price table: %v", err))
	}
}

func (p *provider) open() []model {
	p.once.Do(func() { unpack(bytes.NewReader(p.packed), &p.models) })
	return p.models
}

// find returns the prices of a model at a moment, or nil. Both names are in lower
// case.
func (t *table) find(providerName, name string, at time.Time) (*rates, *priced) {
	key := [2]string{providerName, name}
	t.mu.Lock()
	defer t.mu.Unlock()
	s, known := t.found[key]
	if !known {
		s = t.look(providerName, name)
		if t.found == nil || len(t.found) >= maxFound {
			t.found = map[[2]string]sold{}
		}
		t.found[key] = s
	}
	if s.from == nil {
		return nil, nil
	}
	return current(s.rates, at), s.from
}

// look finds a model. A provider that is named and unknown sells nothing that we know
// the price of: a model of that name elsewhere is another offer.
func (t *table) look(providerName, name string) sold {
	t.open()
	p := t.provider(providerName, name)
	if p == nil {
		return sold{}
	}
	m := t.model(p, name)
	if m == nil {
		if long := longDate(name); long != name {
			m = t.model(p, long)
		}
	}
	if m == nil {
		return sold{}
	}
	return sold{m.rates(), &priced{t.version, p.ID, m.ID}}
}

// provider finds one by its id, another name or its address; without a name, by
// the model.
func (t *table) provider(name, model string) *provider {
	if name == "" {
		return t.first(func(p *provider) bool { return p.Model.fits(model) })
	}
	if strings.Contains(name, "://") {
		return t.first(func(p *provider) bool {
			return expression("^(?:" + p.API + ")").MatchString(name)
		})
	}
	if p := t.first(func(p *provider) bool { return p.ID == name }); p != nil {
		return p
	}
	return t.first(func(p *provider) bool { return p.Name.fits(name) })
}

func (t *table) first(is func(*provider) bool) *provider {
	for _, p := range t.providers {
		if is(p) {
			return p
		}
	}
	return nil
}

// model finds one among a provider's, and then among those whose models it sells too.
func (t *table) model(p *provider, name string) *model {
	models := p.open()
	for i := range models {
		if models[i].Match.fits(name) {
			return &models[i]
		}
	}
	for _, id := range p.Fallback {
		if other := t.first(func(p *provider) bool { return p.ID == id }); other != nil {
			if m := t.model(other, name); m != nil {
				return m
			}
		}
	}
	return nil
}

var shortDate = regexp.MustCompile(`-(20\d\d)(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(-|:|$)`)

// longDate writes the date in a model's name as the data writes it: gpt-4o-20240806
// becomes gpt-4o-2024-08-06.
func longDate(name string) string { return shortDate.ReplaceAllString(name, "-$1-$2-$3$4") }
