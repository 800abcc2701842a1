// A whole plugin in AssemblyScript: it speaks the conversation's JSON form over the two
// imports of nagatha_v1. Build it with
//
//	npx asc greet.ts -o greet.wasm --exportStart _start --use abort=greet/fail --optimize

// @ts-ignore: decorator
@external("nagatha_v1", "recv")
declare function recv(ptr: usize, capacity: i32, timeoutMS: i32): i32;

// @ts-ignore: decorator
@external("nagatha_v1", "send")
declare function send(ptr: usize, length: i32): void;

// fail is where the language's own errors end: the runtime sees that the instance trapped.
function fail(_message: string | null, _file: string | null, _line: u32, _column: u32): void {
  unreachable();
}

function say(text: string): void {
  const bytes = String.UTF8.encode(text);
  send(changetype<usize>(bytes), bytes.byteLength);
}

// next waits for a message; null: the runtime wants the plugin to leave.
let buffer = new ArrayBuffer(4096);
function next(): string | null {
  let length = recv(changetype<usize>(buffer), buffer.byteLength, -1);
  while (length > buffer.byteLength) {
    buffer = new ArrayBuffer(length); // nothing was copied: ask again with more room
    length = recv(changetype<usize>(buffer), length, -1);
  }
  return length < 0 ? null : String.UTF8.decodeUnsafe(changetype<usize>(buffer), length);
}

// end returns where the JSON value that begins at a place ends.
function end(json: string, from: i32): i32 {
  let depth = 0;
  for (let i = from; i < json.length; i++) {
    const c = json.charAt(i);
    if (c == '"') {
      for (i++; json.charAt(i) != '"'; i++) if (json.charAt(i) == "\\") i++;
      if (depth == 0) return i + 1;
    } else if (c == "{" || c == "[") {
      depth++;
    } else if (c == "}" || c == "]") {
      if (depth == 0) return i;
      if (--depth == 0) return i + 1;
    } else if (c == "," && depth == 0) {
      return i;
    }
  }
  return json.length;
}

// member returns a member of an object as JSON, or null. The runtime writes no white space
// between the parts of a message; a payload may have some.
function member(json: string, name: string): string | null {
  let i = skip(json, json.indexOf("{") + 1);
  while (i > 0 && i < json.length && json.charAt(i) == '"') {
    const nameEnd = end(json, i);
    const key = json.substring(i + 1, nameEnd - 1);
    const from = skip(json, json.indexOf(":", nameEnd) + 1);
    const to = end(json, from);
    if (key == name) return json.substring(from, to).trim();
    i = skip(json, to + 1);
  }
  return null;
}

function skip(json: string, i: i32): i32 {
  while (i < json.length && json.charCodeAt(i) <= 32) i++;
  return i;
}

function failed(run: string, code: string, message: string): void {
  say('{"result":{"run":' + run + ',"error":{"code":"' + code + '","message":"' + message + '","retryable":false}}}');
}

function perform(run: string, kind: string, payload: string): void {
  if (kind != '"script.greet"') return failed(run, "plugin_protocol", "this plugin has no such kind");
  const name = member(payload, "name");
  if (name === null || !name.startsWith('"')) return failed(run, "no_name", "want a name");
  say('{"progress":{"run":' + run + ',"progress":1,"total":1,"message":"greeting"}}');
  say('{"result":{"run":' + run + ',"payload":{"text":"Hello, ' + name.substring(1) + "}}}");
}

say(
  '{"manifest":{"version":1,"info":{"name":"script","version":"1","handlers":[' +
    '{"kind":"script.greet","description":"Greets somebody.","example":{"name":"Ann"},"read_only":true,' +
    '"payload_schema":{"type":"object","required":["name"],"properties":{"name":{"type":"string"}}},' +
    '"result_schema":{"type":"object","properties":{"text":{"type":"string"}}}}]}}}',
);
for (let message = next(); message !== null; message = next()) {
  const task = member(message, "task");
  if (task !== null) perform(member(task, "run")!, member(task, "kind")!, member(task, "payload")!);
  else if (member(message, "configure") !== null) say('{"result":{"run":0,"payload":null}}');
}
