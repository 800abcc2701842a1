package host

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// Grant is what the operator lets a plugin do. The zero Grant lets it do nothing
// but compute, and tell how far it is.
type Grant struct {
	Store   bool              // the key-value store, in its own namespace
	Publish []string          // event types, as dotted patterns
	HTTP    []string          // hosts: "api.example.com", "*.example.com", "127.0.0.1:8080"
	Secrets map[string]string // by name
	Submit  []string          // kinds, as dotted patterns
	Queues  []string          // that Submit may name; empty: any
	Await   bool              // waiting for signals and tasks
	Approve bool              // asking a person
}

func (g Grant) validate() error {
	for _, p := range slices.Concat(g.Publish, g.Submit) {
		if !sdk.ValidPattern(p) {
			return fmt.Errorf("grant: %q is no pattern; want dotted names, * for one level, > for the rest", p)
		}
	}
	for _, h := range g.HTTP {
		name := strings.TrimPrefix(h, "*.")
		if host, port, err := net.SplitHostPort(name); err == nil {
			if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
				return fmt.Errorf("grant: http %q: %q is no port", h, port)
			}
			name = host
		}
		if name == "" || strings.ContainsAny(name, "*/@ ") {
			return fmt.Errorf("grant: http %q: want a host such as \"api.example.com\", \"*.example.com\" or \"127.0.0.1:8080\"", h)
		}
	}
	return nil
}

// has reports whether a capability, as manifests name them, is granted at all.
func (g Grant) has(capability string) bool {
	switch capability {
	case "store":
		return g.Store
	case "publish":
		return len(g.Publish) > 0
	case "http":
		return len(g.HTTP) > 0
	case "secrets":
		return len(g.Secrets) > 0
	case "submit":
		return len(g.Submit) > 0
	case "await":
		return g.Await
	case "approve":
		return g.Approve
	}
	return false
}

func (g Grant) publishes(typ string) bool {
	return slices.ContainsFunc(g.Publish, func(p string) bool { return sdk.MatchPattern(p, typ) })
}

func (g Grant) submits(kind string) bool {
	return slices.ContainsFunc(g.Submit, func(p string) bool { return sdk.MatchPattern(p, kind) })
}

func (g Grant) queues(name string) bool {
	return name == "" || len(g.Queues) == 0 || slices.Contains(g.Queues, name)
}

// reaches reports whether a host and port may be called, and whether the grant
// names them literally, which is what private addresses need.
func (g Grant) reaches(host, port string) (ok, literal bool) {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	for _, h := range g.HTTP {
		h = strings.ToLower(h)
		if name, p, err := net.SplitHostPort(h); err == nil {
			if p != port {
				continue
			}
			if name == host {
				return true, true
			}
			h = name
		}
		if suffix, wild := strings.CutPrefix(h, "*."); wild {
			ok = ok || strings.HasSuffix(host, "."+suffix)
		} else {
			ok = ok || h == host
		}
	}
	return ok, false
}

// public is the grant as clients may see it: secrets by name only.
func (g Grant) public() map[string]any {
	m := map[string]any{"store": g.Store, "await": g.Await, "approve": g.Approve}
	for name, list := range map[string][]string{"publish": g.Publish, "http": g.HTTP, "submit": g.Submit, "queues": g.Queues} {
		if len(list) > 0 {
			m[name] = list
		}
	}
	if len(g.Secrets) > 0 {
		m["secrets"] = slices.Sorted(maps.Keys(g.Secrets))
	}
	return m
}

// publicAddress reports whether an address is one of the open internet.
func publicAddress(a netip.Addr) bool {
	a = a.Unmap()
	if !a.IsValid() || !a.IsGlobalUnicast() || a.IsPrivate() || a.Is6() && !global6.Contains(a) {
		return false
	}
	for _, p := range reserved {
		if p.Contains(a) {
			return false
		}
	}
	return true
}

// global6 is all of IPv6 that is given out as yet. Outside of it are forms of IPv4
// addresses, such as ::127.0.0.1.
var global6 = netip.MustParsePrefix("2000::/3")

// reserved are the blocks of the IANA special-purpose registries (RFC 6890 and
// its updates) that netip's own predicates do not name.
var reserved = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("100.64.0.0/10"),
	netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("192.0.2.0/24"),
	netip.MustParsePrefix("192.88.99.0/24"),
	netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("198.51.100.0/24"),
	netip.MustParsePrefix("203.0.113.0/24"),
	netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("2001::/23"),
	netip.MustParsePrefix("2001:db8::/32"),
	netip.MustParsePrefix("2002::/16"),
	netip.MustParsePrefix("3fff::/20"),
}
