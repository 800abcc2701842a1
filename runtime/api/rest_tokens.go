package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

func (s *Server) routeTokens(api huma.API) {
	tags := []string{"tokens"}
	handle(s, api, huma.Operation{OperationID: "list-tokens", Method: http.MethodGet, Path: "/tokens", Tags: tags,
		Summary: "List tokens", Description: "Without the tokens themselves, which nobody keeps. The first is the admin's."}, s.getTokens)
	create := huma.Operation{OperationID: "create-token", Method: http.MethodPost, Path: "/tokens", Tags: tags,
		DefaultStatus: http.StatusCreated, Summary: "Make a token", Description: "The answer is the only place where it is shown."}
	withBody[tokenRequest](s, api, &create, true, "application/json")
	handle(s, api, create, s.postToken)
	handle(s, api, huma.Operation{OperationID: "revoke-token", Method: http.MethodDelete, Path: "/tokens/{id}", Tags: tags,
		DefaultStatus: http.StatusNoContent, Summary: "Revoke a token",
		Description: "Connections that it opened are closed at once, with 4500."}, s.deleteToken)
}

type tokenList struct {
	Tokens []sdk.AccessToken `json:"tokens"`
	OnePage
}

type tokensOutput struct{ Body tokenList }

func (s *Server) getTokens(ctx context.Context, _ *struct{}) (*tokensOutput, error) {
	kept, err := s.rt.AccessTokens(ctx)
	if err != nil {
		return nil, err
	}
	list := []sdk.AccessToken{{ID: s.guard.admin.id, Name: s.guard.admin.name, Scopes: s.guard.admin.scopes}}
	for _, t := range kept {
		list = append(list, t.AccessToken)
	}
	return &tokensOutput{tokenList{Tokens: list}}, nil
}

// tokenRequest is documentation: the body is read by fields.
type tokenRequest struct {
	Name      string       `json:"name" doc:"Whose token it is: the owner of its tasks. Several tokens may have one name." example:"web-app"`
	Scopes    []string     `json:"scopes" example:"[\"chat\",\"tasks:read\"]" doc:"admin, tasks:read, tasks:submit, tasks:cancel, tasks:admin, approve, chat, plugins:admin, PLUGIN:read, PLUGIN:write; or a role: viewer, operator, approver."`
	ExpiresIn sdk.Duration `json:"expires_in,omitempty" doc:"How long it is good; give this or expires_at, or neither."`
	ExpiresAt sdk.Time     `json:"expires_at,omitempty"`
}

var tokenName = regexp.MustCompile(`^[a-z][a-z0-9_.-]{0,63}$`)

const maxTokenAge = 100 * 366 * 24 * time.Hour

type tokenInput struct{ body }

type tokenOutput struct {
	Location string `header:"Location" doc:"Where it can be revoked."`
	Body     sdk.AccessToken
}

func (s *Server) postToken(ctx context.Context, in *tokenInput) (*tokenOutput, error) {
	f, err := in.fields(false)
	if err != nil {
		return nil, err
	}
	t := sdk.AccessToken{Name: f.required("name"), Scopes: f.texts("scopes", false), CreatedAt: sdk.Now(), CreatedBy: owner(ctx), ExpiresAt: f.time("expires_at")}
	age := f.duration("expires_in")
	switch {
	case age != 0 && t.ExpiresAt != 0:
		f.fail("expires_in", "give expires_in or expires_at, not both")
	case age < 0 || age.Std() > maxTokenAge:
		f.fail("expires_in", "want a duration such as \"720h\", at most 100 years")
	case age > 0:
		t.ExpiresAt = t.CreatedAt.Add(age.Std())
	case t.ExpiresAt != 0 && t.ExpiresAt <= t.CreatedAt:
		f.fail("expires_at", "%s is in the past", t.ExpiresAt)
	}
	if t.Name != "" && (!tokenName.MatchString(t.Name) || t.Name == s.guard.admin.name) {
		f.fail("name", "want a lower-case name such as \"web-app\", at most 64 characters; \"admin\" is taken")
	}
	if len(t.Scopes) == 0 {
		f.fail("scopes", "want at least one, such as \"tasks:read\"")
	}
	if err := f.err(); err != nil {
		return nil, err
	}
	if t.Scopes, err = checkScopes(t.Scopes, s.pluginNames()); err != nil {
		return nil, err
	}
	token := newToken()
	t.ID = tokenID(token)
	sum := sha256.Sum256([]byte(token))
	if err := s.guard.add(context.WithoutCancel(ctx), runtime.AccessToken{AccessToken: t, Sum: hex.EncodeToString(sum[:])}); err != nil {
		return nil, err
	}
	s.log.Info("made a token", "token", t.ID, "name", t.Name, "scopes", strings.Join(t.Scopes, " "), "by", t.CreatedBy)
	t.Token = token
	return &tokenOutput{apiPath + "/tokens/" + t.ID, t}, nil
}

// pluginNames are those that a scope may name.
func (s *Server) pluginNames() []string {
	var names []string
	for _, p := range s.allPlugins() {
		names = append(names, p.Name)
	}
	slices.Sort(names)
	return names
}

// TokenID is the id in a path.
type TokenID struct {
	ID string `path:"id" doc:"A token's id: its second part." example:"4Gh7sK2p"`
}

func (s *Server) deleteToken(ctx context.Context, in *TokenID) (*struct{}, error) {
	if in.ID == s.guard.admin.id && in.ID != "" {
		return nil, sdk.Errorf(sdk.CodeConflict, "the admin token is the file %s of the data directory: delete that and restart for a new one", TokenFile)
	}
	if err := s.guard.drop(context.WithoutCancel(ctx), in.ID); err != nil {
		return nil, err
	}
	s.log.Info("revoked a token", "token", in.ID, "by", owner(ctx))
	return nil, nil
}
