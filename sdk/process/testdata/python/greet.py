"""A plugin of Nagatha Runtime in Python: go-plugin's handshake, then the messages of
sdk/wire/nagatha.proto over one stream. It needs grpcio, and the messages' classes:

    python3 -m grpc_tools.protoc -I PATH/TO/sdk/wire --python_out=. --grpc_python_out=. nagatha.proto
"""

import json
import os
import queue
import sys
import tempfile
import threading
from concurrent import futures
from datetime import datetime

import grpc
from nagatha_pb2 import Call, Error, FromPlugin, Manifest, Progress, Result
from nagatha_pb2_grpc import PluginServicer, add_PluginServicer_to_server


def greet(payload, host):
    """The handler. What it asks the host for are the operations of docs/plugins.md."""
    host.progress(1, 1, "greeting " + payload["name"])
    now = host.call("time.now", {})["time"]
    return {"text": "Hello, " + payload["name"], "year": datetime.fromisoformat(now.replace("Z", "+00:00")).year}


HANDLERS = {"python.greet": greet}
INFO = {"name": "python", "version": "1.0.0", "handlers": [{"kind": kind} for kind in HANDLERS]}


class Failure(Exception):
    """An error with a code of its own, which is not tried again."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


class Host:
    """The runtime, as the handler of one run sees it."""

    def __init__(self, run, send):
        self.run, self.send = run, send
        self.calls, self.last = {}, 0

    def progress(self, done, total, message):
        self.send(FromPlugin(progress=Progress(run=self.run, progress=done, total=total, message=message)))

    def call(self, op, request):
        self.last += 1
        self.calls[self.last] = answer = queue.SimpleQueue()
        self.send(FromPlugin(call=Call(run=self.run, call=self.last, op=op, payload=json.dumps(request).encode())))
        reply = answer.get()
        if reply.HasField("error"):
            raise Failure(reply.error.code, reply.error.message)
        return json.loads(reply.payload)


class Plugin(PluginServicer):
    def Session(self, messages, context):
        context.add_callback(lambda: os._exit(0))  # the end of the stream is the runtime's
        out = queue.SimpleQueue()
        out.put(FromPlugin(manifest=Manifest(version=1, info=json.dumps(INFO).encode())))
        threading.Thread(target=self.receive, args=(messages, out.put), daemon=True).start()
        while True:
            yield out.get()

    def receive(self, messages, send):
        runs = {}

        def work(task):
            result = Result(run=task.run)
            try:
                if task.kind not in HANDLERS:
                    raise Failure("plugin_protocol", "this plugin has no such kind")
                result.payload = json.dumps(HANDLERS[task.kind](json.loads(task.payload), runs[task.run])).encode()
            except Failure as e:
                result.error.CopyFrom(Error(code=e.code, message=str(e)))
            except Exception as e:
                result.error.CopyFrom(Error(code="handler_error", message=f"{type(e).__name__}: {e}", retryable=True))
            del runs[task.run]
            send(FromPlugin(result=result))

        for m in messages:
            kind = m.WhichOneof("message")
            if kind == "configure":
                send(FromPlugin(result=Result(run=0, payload=b"null")))
            elif kind == "task":
                runs[m.task.run] = Host(m.task.run, send)
                threading.Thread(target=work, args=(m.task,), daemon=True).start()
            elif kind == "reply" and m.reply.run in runs:
                runs[m.reply.run].calls.pop(m.reply.call).put(m.reply)
            elif kind == "shutdown":
                os._exit(0)


if os.environ.get("NAGATHA_PLUGIN") != "nagatha.v1":
    sys.exit("this is a plugin: the runtime starts it")
socket = os.path.join(tempfile.mkdtemp(prefix="p", dir=os.environ["PLUGIN_UNIX_SOCKET_DIR"]), "s")
server = grpc.server(
    futures.ThreadPoolExecutor(4),
    options=[("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)],
)
add_PluginServicer_to_server(Plugin(), server)
server.add_insecure_port("unix:" + socket)
server.start()
print(f"1|1|unix|{socket}|grpc", flush=True)
server.wait_for_termination()
