package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/client"
)

// A task is submitted once, whatever becomes of the line, and followed to its end.
func ExampleConn_Follow() {
	run := func(ctx context.Context) error {
		c, err := client.New(client.Config{Token: os.Getenv("NAGATHA_TOKEN")})
		if err != nil {
			return err
		}
		conn, err := c.Connect(ctx)
		if err != nil {
			return err
		}
		defer conn.Close()
		done, err := conn.Submit(ctx, sdk.Submission{Kind: "demo.countdown", Payload: json.RawMessage(`{"steps":3}`)})
		if err != nil {
			return err
		}
		for n, err := range conn.Follow(ctx, done.Task.ID, "") {
			if err != nil {
				return err
			}
			if n.Event != nil {
				fmt.Println(n.Event.Seq, n.Event.Type, string(n.Event.Data))
			}
		}
		return nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // there is no runtime here
	fmt.Println(run(ctx))
	// Output: context canceled
}

// Codes are the same for what the server refuses and what the network does.
func ExampleLostError() {
	ctx := context.Background()
	c, err := client.New(client.Config{Server: "http://127.0.0.1:1"}) // nobody is there
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = c.Connect(ctx)
	var lost *client.LostError
	fmt.Println(errors.As(err, &lost), sdk.CodeOf(err), sdk.AsError(err).Retryable)
	// Output: true unavailable true
}
