package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/nagatha/nagatha-runtime/sdk"
)

func (s *Server) routeSystem(api huma.API, mux *http.ServeMux) {
	plugins := []string{"plugins"}
	handle(s, api, huma.Operation{OperationID: "list-plugins", Method: http.MethodGet, Path: "/plugins", Tags: plugins,
		Summary: "List plugins with their kinds"}, s.getPlugins)
	handle(s, api, huma.Operation{OperationID: "get-plugin", Method: http.MethodGet, Path: "/plugins/{name}", Tags: plugins,
		Summary: "Get a plugin"}, s.getPlugin)
	reload := huma.Operation{OperationID: "reload-plugin", Method: http.MethodPost, Path: "/plugins/{name}/reload", Tags: plugins,
		Summary: "Load a plugin again", Description: "Running attempts end on the version that they began with."}
	withBody[struct{}](s, api, &reload, false, "application/json")
	handle(s, api, reload, s.postReload)
	enable := huma.Operation{OperationID: "enable-plugin", Method: http.MethodPost, Path: "/plugins/{name}/enable", Tags: plugins,
		Summary: "Load a plugin that is disabled"}
	withBody[struct{}](s, api, &enable, false, "application/json")
	handle(s, api, enable, func(ctx context.Context, in *reloadInput) (*pluginOutput, error) {
		return s.tellPlugin(ctx, in, "enable", s.cfg.Plugins.Enable)
	})
	disable := huma.Operation{OperationID: "disable-plugin", Method: http.MethodPost, Path: "/plugins/{name}/disable", Tags: plugins,
		Summary: "Take a plugin out of service", Description: "Its tasks stay queued; running attempts come to their end. A restart of the runtime ends it."}
	withBody[struct{}](s, api, &disable, false, "application/json")
	handle(s, api, disable, func(ctx context.Context, in *reloadInput) (*pluginOutput, error) {
		return s.tellPlugin(ctx, in, "disable", s.cfg.Plugins.Disable)
	})
	handle(s, api, huma.Operation{OperationID: "get-system", Method: http.MethodGet, Path: "/system", Tags: []string{"system"},
		Summary: "How the runtime is"}, s.getSystem)

	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { sayStatus(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", s.readyz)
}

type pluginList struct {
	Plugins []sdk.PluginStatus `json:"plugins"`
	OnePage
}

type pluginsOutput struct{ Body pluginList }

func (s *Server) getPlugins(context.Context, *struct{}) (*pluginsOutput, error) {
	return &pluginsOutput{pluginList{Plugins: s.allPlugins()}}, nil
}

// allPlugins are the configured ones and the one that is linked in.
func (s *Server) allPlugins() []sdk.PluginStatus {
	return append(s.cfg.Plugins.Plugins(), s.rt.System())
}

// PluginName is the name in a path.
type PluginName struct {
	Name string `path:"name" example:"memory"`
}

type pluginOutput struct{ Body sdk.PluginStatus }

func (s *Server) getPlugin(_ context.Context, in *PluginName) (*pluginOutput, error) {
	for _, p := range s.allPlugins() {
		if p.Name == in.Name {
			return &pluginOutput{p}, nil
		}
	}
	return nil, sdk.Errorf(sdk.CodeNotFound, "there is no plugin %q", clip(in.Name))
}

type reloadInput struct {
	PluginName
	body
}

func (s *Server) postReload(ctx context.Context, in *reloadInput) (*pluginOutput, error) {
	return s.tellPlugin(ctx, in, "reload", s.cfg.Plugins.Reload)
}

func (s *Server) tellPlugin(ctx context.Context, in *reloadInput, what string, tell func(context.Context, string) error) (*pluginOutput, error) {
	f, err := in.fields(true)
	if err == nil {
		err = f.err()
	}
	if err != nil {
		return nil, err
	}
	if in.Name == s.rt.System().Name {
		return nil, sdk.Errorf(sdk.CodeConflict, "the plugin %s is a part of the runtime: there is nothing to %s", in.Name, what)
	}
	// A reload half done is nobody's wish: it goes on when the client goes.
	if err := tell(context.WithoutCancel(ctx), in.Name); err != nil {
		switch sdk.CodeOf(err) {
		case sdk.CodeNotFound, sdk.CodeConflict, sdk.CodeUnavailable:
			return nil, err
		}
		// Why a plugin does not load is for the operator to read, and a code in it is the
		// plugin's and says nothing of the request.
		return nil, sdk.Errorf(sdk.CodeUnavailable, "%s %s: %v", what, in.Name, err)
	}
	return s.getPlugin(ctx, &in.PluginName)
}

type systemOutput struct{ Body sdk.SystemStatus }

func (s *Server) getSystem(ctx context.Context, _ *struct{}) (*systemOutput, error) {
	status, err := s.rt.Status(ctx)
	if err != nil {
		return nil, err
	}
	status.Connections = s.connections()
	status.Plugins = sdk.PluginCounts{}
	for _, p := range s.allPlugins() {
		switch p.State {
		case sdk.PluginReady:
			status.Plugins.Ready++
		case sdk.PluginFailed:
			status.Plugins.Failed++
		}
	}
	return &systemOutput{status}, nil
}

// readyz says whether work can be taken: the store writes, the dispatcher
// answers, every plugin has loaded or failed. It says no more than a word, since
// it needs no token; the log says why.
func (s *Server) readyz(w http.ResponseWriter, r *http.Request) {
	if s.draining() {
		sayStatus(w, http.StatusServiceUnavailable, "shutting down")
		return
	}
	for _, p := range s.cfg.Plugins.Plugins() {
		if p.State == sdk.PluginLoading {
			sayStatus(w, http.StatusServiceUnavailable, "loading plugins")
			return
		}
	}
	if err := s.rt.Ready(r.Context()); err != nil {
		s.log.Warn("not ready", "error", err)
		sayStatus(w, http.StatusServiceUnavailable, "not ready")
		return
	}
	sayStatus(w, http.StatusOK, "ready")
}

func sayStatus(w http.ResponseWriter, status int, word string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(`{"status":"` + word + `"}` + "\n")) // a peer that has gone needs no answer
}
