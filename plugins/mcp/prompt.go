package main

import (
	"context"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// prompt is a prompt as mcp.list_prompts shows it.
type prompt struct {
	Server      string           `json:"server"`
	Name        string           `json:"name"`
	Title       string           `json:"title,omitempty"`
	Description string           `json:"description,omitempty"`
	Arguments   []promptArgument `json:"arguments"`
}

type promptArgument struct {
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	Required    bool   `json:"required"`
}

// prompts asks a server for its prompts; many servers have none.
func (s *server) prompts(ctx context.Context) ([]prompt, error) {
	var out []prompt
	err := s.ask(ctx, "prompts/list", func(ctx context.Context, session *mcp.ClientSession) error {
		out = nil
		if r := session.InitializeResult(); r != nil && r.Capabilities != nil && r.Capabilities.Prompts == nil {
			return nil
		}
		for p, err := range session.Prompts(ctx, nil) {
			if err != nil {
				return err
			}
			one := prompt{Server: s.name, Name: p.Name, Title: p.Title, Description: p.Description, Arguments: []promptArgument{}}
			for _, a := range p.Arguments {
				one.Arguments = append(one.Arguments, promptArgument{a.Name, a.Description, a.Required})
			}
			if out = append(out, one); len(out) >= maxItems {
				return nil
			}
		}
		return nil
	})
	return out, err
}

// listPrompts is the kind mcp.list_prompts.
func (p *pool) listPrompts(ctx context.Context, host sdk.Host, in struct {
	Server string `json:"server"`
	Cursor string `json:"cursor"`
}) (any, error) {
	all, err := gather(ctx, p, host, in.Server, func(s *server) ([]prompt, error) {
		if _, err := s.known(ctx, in.Server != ""); err != nil {
			return nil, err
		}
		return s.prompts(ctx)
	})
	if err != nil {
		return nil, err
	}
	prompts, next := page(all, in.Cursor, func(p prompt) string { return p.Server + "/" + p.Name })
	return map[string]any{"prompts": prompts, "next_cursor": next}, nil
}

// getPrompt is the kind mcp.get_prompt.
func (p *pool) getPrompt(ctx context.Context, _ sdk.Host, in struct {
	Server    string            `json:"server"`
	Prompt    string            `json:"prompt"`
	Arguments map[string]string `json:"arguments"`
}) (any, error) {
	s, err := p.find(in.Server)
	if err != nil {
		return nil, err
	}
	var r *mcp.GetPromptResult
	wait, timeout := s.cfg.ConnectTimeout.Std()+s.cfg.ListTimeout.Std(), s.cfg.CallTimeout.Std()
	err = s.request(ctx, "prompt "+in.Prompt, wait, timeout, func(ctx context.Context, session *mcp.ClientSession) (err error) {
		r, err = session.GetPrompt(ctx, &mcp.GetPromptParams{Name: in.Prompt, Arguments: in.Arguments})
		return err
	})
	if err != nil {
		return nil, err
	}
	messages := []map[string]any{}
	for _, m := range r.Messages {
		messages = append(messages, map[string]any{"role": m.Role, "content": m.Content})
	}
	return fits(s.name, "prompt "+in.Prompt+" has", map[string]any{"description": r.Description, "messages": messages})
}
