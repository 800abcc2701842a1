package main

import (
	"context"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// resource is a resource, or a template of resources, as mcp.list_resources shows
// it.
type resource struct {
	Server      string `json:"server"`
	URI         string `json:"uri,omitempty"`
	Template    string `json:"uri_template,omitempty"`
	Name        string `json:"name"`
	Title       string `json:"title,omitempty"`
	Description string `json:"description,omitempty"`
	MIMEType    string `json:"mime_type,omitempty"`
	Size        int64  `json:"size,omitempty"` // bytes, where known
}

func (r resource) key() string {
	if r.URI != "" {
		return r.Server + "/1/" + r.URI
	}
	return r.Server + "/2/" + r.Template
}

// maxItems is where a list of resources or prompts of one server is cut off.
const maxItems = 10_000

// resources asks a server for its resources and templates; many servers have none.
func (s *server) resources(ctx context.Context) ([]resource, error) {
	var out []resource
	err := s.ask(ctx, "resources/list", func(ctx context.Context, session *mcp.ClientSession) error {
		out = nil
		if r := session.InitializeResult(); r != nil && r.Capabilities != nil && r.Capabilities.Resources == nil {
			return nil
		}
		for r, err := range session.Resources(ctx, nil) {
			if err != nil {
				return err
			}
			if out = append(out, resource{Server: s.name, URI: r.URI, Name: r.Name, Title: r.Title, Description: r.Description, MIMEType: r.MIMEType, Size: r.Size}); len(out) >= maxItems {
				return nil
			}
		}
		for r, err := range session.ResourceTemplates(ctx, nil) {
			if isMissing(err) {
				return nil // not every server with resources has templates
			}
			if err != nil {
				return err
			}
			if out = append(out, resource{Server: s.name, Template: r.URITemplate, Name: r.Name, Title: r.Title, Description: r.Description, MIMEType: r.MIMEType}); len(out) >= maxItems {
				return nil
			}
		}
		return nil
	})
	return out, err
}

// listResources is the kind mcp.list_resources.
func (p *pool) listResources(ctx context.Context, host sdk.Host, in struct {
	Server string `json:"server"`
	Cursor string `json:"cursor"`
}) (any, error) {
	all, err := gather(ctx, p, host, in.Server, func(s *server) ([]resource, error) {
		if _, err := s.known(ctx, in.Server != ""); err != nil {
			return nil, err
		}
		return s.resources(ctx)
	})
	if err != nil {
		return nil, err
	}
	some, next := page(all, in.Cursor, resource.key)
	resources, templates := []resource{}, []resource{}
	for _, r := range some {
		if r.URI != "" {
			resources = append(resources, r)
		} else {
			templates = append(templates, r)
		}
	}
	return map[string]any{"resources": resources, "templates": templates, "next_cursor": next}, nil
}

// content is a part of a resource: Text, or Blob in base64.
type content struct {
	URI      string  `json:"uri"`
	MIMEType string  `json:"mime_type,omitempty"`
	Text     *string `json:"text,omitempty"`
	Blob     []byte  `json:"blob,omitempty"`
}

// readResource is the kind mcp.read_resource.
func (p *pool) readResource(ctx context.Context, _ sdk.Host, in struct {
	Server string `json:"server"`
	URI    string `json:"uri"`
}) (any, error) {
	s, err := p.find(in.Server)
	if err != nil {
		return nil, err
	}
	var r *mcp.ReadResourceResult
	wait, timeout := s.cfg.ConnectTimeout.Std()+s.cfg.ListTimeout.Std(), s.cfg.CallTimeout.Std()
	err = s.request(ctx, "resource "+in.URI, wait, timeout, func(ctx context.Context, session *mcp.ClientSession) (err error) {
		r, err = session.ReadResource(ctx, &mcp.ReadResourceParams{URI: in.URI})
		return err
	})
	if err != nil {
		return nil, err
	}
	contents := []content{}
	for _, c := range r.Contents {
		out := content{URI: c.URI, MIMEType: c.MIMEType, Blob: c.Blob}
		if c.Blob == nil {
			out.Text = &c.Text
		}
		contents = append(contents, out)
	}
	return fits(s.name, "resource "+in.URI+" has", map[string]any{"contents": contents})
}
