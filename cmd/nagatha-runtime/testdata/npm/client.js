// A client on the npm libraries ws and json-rpc-2.0: it submits COUNT tasks over one
// WebSocket, reconnects when the runtime is killed, and follows every task to its
// end. It prints a line for each thousand submitted, and a summary as JSON.
import { readFileSync } from "node:fs";
import { JSONRPCClient } from "json-rpc-2.0";
import WebSocket from "ws";

const [url, tokenFile, count] = [process.argv[2], process.argv[3], Number(process.argv[4])];
const token = readFileSync(tokenFile, "utf8").trim();
const acked = new Map(); // number -> task id
const ends = new Map(); // task id -> how often it ended
const gaps = { cursor: undefined };
let connections = 0;
let announced = 0;

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

// connection resolves when the socket is gone or finish() has been called.
function connection(work) {
  return new Promise((done) => {
    const socket = new WebSocket(url, { headers: { Authorization: `Bearer ${token}` } });
    const rpc = new JSONRPCClient((request) => {
      if (socket.readyState !== WebSocket.OPEN) throw new Error("closed");
      socket.send(JSON.stringify(request));
    });
    socket.on("open", () => {
      connections++;
      work(rpc, socket).catch(() => socket.terminate());
    });
    socket.on("message", (data) => {
      const message = JSON.parse(data.toString());
      if (message.method === "event") seen(message.params, socket);
      else if (message.id !== undefined) rpc.receive(message);
    });
    socket.on("error", () => {});
    socket.on("close", () => {
      rpc.rejectAllPendingRequests("closed");
      done();
    });
  });
}

function seen(params, socket) {
  const { event, cursor } = params;
  gaps.cursor = cursor;
  if (!event.end) return;
  ends.set(event.task, (ends.get(event.task) ?? 0) + 1);
  if (acked.size === count && ends.size >= count) socket.close(1000);
}

async function submitAll(rpc) {
  const todo = [];
  for (let n = 0; n < count; n++) if (!acked.has(n)) todo.push(n);
  await Promise.all(
    todo.map(async (n) => {
      const { task } = await rpc.request("task.submit", {
        kind: "demo.echo",
        payload: { n },
        idempotency_key: `node-${n}`,
      });
      acked.set(n, task.id);
      if (acked.size >= announced + 1000) console.log(`submitted ${(announced += 1000)}`);
    }),
  );
}

while (acked.size < count) {
  await connection(async (rpc, socket) => {
    await submitAll(rpc);
    socket.close(1000);
  });
  await sleep(50);
}
while (ends.size < count) {
  await connection(async (rpc) => {
    await rpc.request("subscribe", { topics: ["kind.demo.echo"], from: gaps.cursor ?? "start" });
  });
  await sleep(50);
}
const doubles = [...ends.values()].filter((n) => n !== 1).length;
const missing = [...acked.values()].filter((id) => !ends.has(id)).length;
console.log(JSON.stringify({ acked: acked.size, ended: ends.size, doubles, missing, connections }));
