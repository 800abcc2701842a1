package api

import (
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// doors says which Host and Origin headers may come in. The Host check stops a
// page whose name was rebound to this machine's address; the Origin check stops
// a page of another site. A token alone stops neither once a browser holds one,
// and the standard library's CrossOriginProtection guards no GET, which is what
// a WebSocket begins with.
type doors struct {
	hosts   []string // lower case, "name" (any port) or "name:port"
	origins []string // lower case, "scheme://host[:port]"
	own     []string // names that are ours on the port that we listen on
	port    string   // where the connection does not tell: that of Config.Listen
	any     bool     // we listen on all addresses: each of them is ours too
}

func newDoors(listen string, hosts, origins []string) doors {
	d := doors{own: []string{"localhost", "127.0.0.1", "::1"}}
	for _, h := range hosts {
		d.hosts = append(d.hosts, strings.ToLower(h))
	}
	for _, o := range origins {
		d.origins = append(d.origins, strings.ToLower(strings.TrimSuffix(o, "/")))
	}
	host, port, _ := net.SplitHostPort(listen)
	d.port = port
	ip := net.ParseIP(host)
	switch {
	case host == "" || ip != nil && ip.IsUnspecified():
		d.any = true
	default:
		d.own = append(d.own, strings.ToLower(host))
	}
	return d
}

// check returns why the request may not come in, or nil.
func (d *doors) check(r *http.Request) *sdk.Error {
	if !d.host(r, r.Host) {
		return sdk.Errorf(sdk.CodeForbidden,
			"host %.200q is not served here; if it is a name of this server, add it to server.allowed_hosts", r.Host)
	}
	switch origins := r.Header["Origin"]; {
	case len(origins) == 0:
		return nil
	case len(origins) > 1 || !d.origin(r, origins[0]):
		return sdk.Errorf(sdk.CodeForbidden,
			"pages of origin %.200q may not use this server; to allow it, add it to server.allowed_origins",
			strings.Join(origins, ", "))
	}
	return nil
}

func (d *doors) host(r *http.Request, hostport string) bool {
	hostport = strings.ToLower(hostport)
	name, port := splitHost(hostport)
	if name == "" {
		return false
	}
	if slices.Contains(d.hosts, hostport) || slices.Contains(d.hosts, name) {
		return true
	}
	// The port that the connection really came in on: the configured one may
	// be 0, and the handler may be mounted in a server of somebody else.
	ownPort, local := d.port, ""
	if addr, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		local, ownPort, _ = net.SplitHostPort(addr.String())
	}
	if port != ownPort {
		return false
	}
	return slices.Contains(d.own, name) || d.any && sameIP(name, local)
}

func (d *doors) origin(r *http.Request, origin string) bool {
	origin = strings.ToLower(origin)
	if slices.Contains(d.origins, origin) {
		return true
	}
	u, err := url.Parse(origin)
	if err != nil || u.Host == "" || u.User != nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "" {
		return false // "null" among them
	}
	return (u.Scheme == "http" || u.Scheme == "https") && d.host(r, u.Host)
}

// foreign returns the request's origin if it is one that was allowed by name,
// which is when a browser needs to be told so.
func (d *doors) foreign(r *http.Request) (string, bool) {
	origin := r.Header.Get("Origin")
	return origin, slices.Contains(d.origins, strings.ToLower(origin))
}

func splitHost(hostport string) (name, port string) {
	if strings.HasPrefix(hostport, "[") && strings.HasSuffix(hostport, "]") {
		return hostport[1 : len(hostport)-1], "80"
	}
	if !strings.Contains(hostport, ":") {
		return hostport, "80"
	}
	name, port, err := net.SplitHostPort(hostport)
	if err != nil {
		return "", ""
	}
	return name, port
}

func sameIP(a, b string) bool {
	ip := net.ParseIP(a)
	return ip != nil && ip.Equal(net.ParseIP(b))
}
