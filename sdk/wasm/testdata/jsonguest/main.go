// Jsonguest speaks the conversation in its JSON form, with the two imports and
// nothing of the SDK, as a guest in another language would.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"unsafe"
)

//go:wasmimport nagatha_v1 recv
func recv(ptr unsafe.Pointer, capacity uint32, timeoutMS int32) int32

//go:wasmimport nagatha_v1 send
func send(ptr unsafe.Pointer, length uint32)

func say(s string) { send(unsafe.Pointer(unsafe.StringData(s)), uint32(len(s))) }

func main() {
	switch os.Args[0] {
	case "garbage":
		say("\xff\xff\xff\xff")
	case "noise":
		say(`{"log":{"run":1,"message":"hello"}}`)
	case "future":
		say(`{"manifest":{"version":99,"info":{"name":"test","version":"1"}}}`)
	case "outside":
		send(unsafe.Pointer(uintptr(0xfffffff0)), 64)
	}
	say(`{"manifest":{"version":1,"info":{"name":"test","version":"1","handlers":[{"kind":"test.echo"}]}}}`)
	buf := make([]byte, 16) // small: longer messages are asked for twice
	for {
		n := recv(unsafe.Pointer(&buf[0]), uint32(len(buf)), -1)
		if n < 0 {
			return
		}
		if int(n) > len(buf) {
			buf = make([]byte, n)
			continue
		}
		var m struct {
			Configure *struct{}
			Task      *struct {
				Run     uint64          `json:"run"`
				Kind    string          `json:"kind"`
				Payload json.RawMessage `json:"payload"`
			}
		}
		if err := json.Unmarshal(buf[:n], &m); err != nil {
			panic(err)
		}
		switch {
		case m.Configure != nil:
			say(`{"result":{"run":0,"payload":null}}`)
		case m.Task != nil && m.Task.Kind == "test.print":
			os.Stdout.Write(bytes.Repeat([]byte("\n"), 32<<20))
			say(fmt.Sprintf(`{"result":{"run":%d,"payload":null}}`, m.Task.Run))
		case m.Task != nil && m.Task.Kind == "test.deaf":
			for i := 1; ; i++ {
				say(fmt.Sprintf(`{"call":{"run":%d,"call":%d,"op":"echo","payload":{}}}`, m.Task.Run, i))
			}
		case m.Task != nil:
			b, err := json.Marshal(map[string]any{"result": m.Task})
			if err != nil {
				panic(err)
			}
			say(string(b))
		}
	}
}
