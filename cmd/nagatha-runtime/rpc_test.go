package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/coder/websocket"
)

// rpc is a JSON-RPC client on a library that is not ours.
type rpc struct {
	ws *websocket.Conn
}

func dial(ctx context.Context, d *daemon) (*rpc, error) {
	ws, resp, err := websocket.Dial(ctx, "ws://"+d.addr+"/api/v1/ws", &websocket.DialOptions{HTTPHeader: http.Header{"Authorization": {"Bearer " + d.token()}}})
	if err != nil {
		return nil, err
	}
	if resp.Body != nil {
		_ = resp.Body.Close()
	}
	ws.SetReadLimit(8 << 20)
	return &rpc{ws}, nil
}

type reply struct {
	ID     *int
	Method string
	Params struct {
		Event struct {
			Task, Type string
			Data       map[string]any
		}
	}
	Result struct {
		Task struct{ ID string }
	}
	Error *struct{ Message string }
}

func (c *rpc) read(ctx context.Context) (reply, error) {
	var r reply
	_, b, err := c.ws.Read(ctx)
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	return r, err
}

func (c *rpc) call(ctx context.Context, id int, method, params string) error {
	return c.ws.Write(ctx, websocket.MessageText, fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%d,"method":%q,"params":%s}`, id, method, params))
}
