// A plugin of Nagatha Runtime in Node: go-plugin's handshake, then the messages of
// sdk/wire/nagatha.proto over one stream.
const grpc = require('@grpc/grpc-js')
const loader = require('@grpc/proto-loader')
const fs = require('fs')
const path = require('path')

const file = process.argv[2] // nagatha.proto
const proto = grpc.loadPackageDefinition(loader.loadSync(file, { keepCase: true, longs: String }))
const json = (value) => Buffer.from(JSON.stringify(value ?? null))

// greet is the handler. What it awaits of the host are the operations of docs/plugins.md.
async function greet (payload, host) {
  host.progress(1, 1, 'greeting ' + payload.name)
  const now = await host.call('time.now', {})
  return { text: 'Hello, ' + payload.name, year: new Date(now.time).getUTCFullYear() }
}

const handlers = { 'node.greet': greet }
const info = { name: 'node', version: '1.0.0', handlers: Object.keys(handlers).map((kind) => ({ kind })) }

function session (stream) {
  const calls = new Map()
  let last = 0
  const host = (run) => ({
    progress: (progress, total, message) => stream.write({ progress: { run, progress, total, message } }),
    call: (op, request) => new Promise((resolve, reject) => {
      const call = String(++last)
      calls.set(call, { resolve, reject })
      stream.write({ call: { run, call, op, payload: json(request) } })
    })
  })
  const work = async ({ run, kind, payload }) => {
    try {
      const result = await handlers[kind](JSON.parse(payload), host(run))
      stream.write({ result: { run, payload: json(result) } })
    } catch (e) {
      const error = { code: e.code || 'handler_error', message: String(e.message), retryable: e.retryable ?? true }
      stream.write({ result: { run, error } })
    }
  }
  stream.write({ manifest: { version: 1, info: json(info) } })
  stream.on('data', (m) => {
    if (m.configure) stream.write({ result: { run: 0, payload: json(null) } })
    if (m.task) work(m.task)
    if (m.reply) {
      const { resolve, reject } = calls.get(m.reply.call)
      calls.delete(m.reply.call)
      if (m.reply.error) reject(m.reply.error)
      else resolve(JSON.parse(m.reply.payload))
    }
    if (m.shutdown) process.exit(0)
  })
  // The end of the stream is the end of the runtime, and so of the plugin.
  for (const end of ['end', 'error', 'close']) stream.on(end, () => process.exit(0))
}

if (process.env.NAGATHA_PLUGIN !== 'nagatha.v1') {
  console.error('this is a plugin: the runtime starts it')
  process.exit(1)
}
const socket = path.join(fs.mkdtempSync(path.join(process.env.PLUGIN_UNIX_SOCKET_DIR, 'p')), 's')
const server = new grpc.Server({ 'grpc.max_receive_message_length': -1, 'grpc.max_send_message_length': -1 })
server.addService(proto.nagatha.v1.Plugin.service, { Session: session })
server.bindAsync('unix:' + socket, grpc.ServerCredentials.createInsecure(), (err) => {
  if (err) throw err
  console.log(`1|1|unix|${socket}|grpc`)
})
