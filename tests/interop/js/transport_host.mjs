// A js-libp2p 3.x host with one transport, for `make bench ONLY=transports`: KIND serve|dial, where KIND is tcp, quic,
// ws or webrtc. It does what benchmarks/comparisons/transport_host.py does, and speaks the same lines.

import { answerLines } from './json_lines.mjs'
import { within } from './streams.mjs'

const { createLibp2p } = await import('libp2p')
const { noise } = await import('@chainsafe/libp2p-noise')
const { yamux } = await import('@chainsafe/libp2p-yamux')
const { identify } = await import('@libp2p/identify')
const { multiaddr } = await import('@multiformats/multiaddr')

const PROTOCOL = '/benchmark/bulk/1.0.0'
const PIECE = 65_536
const CONNECTIONS = 512
const TRANSPORTS = {
  tcp: ['/ip4/127.0.0.1/tcp/0', async () => (await import('@libp2p/tcp')).tcp()],
  quic: ['/ip4/127.0.0.1/udp/0/quic-v1', async () => (await import('@chainsafe/libp2p-quic')).quic()],
  ws: ['/ip4/127.0.0.1/tcp/0/ws', async () => (await import('@libp2p/websockets')).webSockets()],
  webrtc: ['/ip4/127.0.0.1/udp/0/webrtc-direct', async () => (await import('@libp2p/webrtc')).webRTCDirect()]
}

const [kind, role] = process.argv.slice(2)
const [address, transport] = TRANSPORTS[kind]
const node = await createLibp2p({
  addresses: { listen: role === 'serve' ? [address] : [] },
  transports: [await transport()],
  connectionEncrypters: [noise()],
  streamMuxers: [yamux()],
  connectionGater: { denyDialMultiaddr: () => false },
  connectionManager: {
    maxConnections: CONNECTIONS, inboundConnectionThreshold: Infinity, maxIncomingPendingConnections: CONNECTIONS
  },
  services: { identify: identify() }
})

/** Returns a function that reads exactly so many bytes. */
function reader (stream) {
  const parts = stream[Symbol.asyncIterator]()
  let rest = new Uint8Array(0)
  return async (size) => {
    const found = Buffer.alloc(size)
    for (let at = 0; at < size;) {
      if (rest.length === 0) {
        const { value, done } = await parts.next()
        if (done) throw new Error('the stream has ended')
        rest = value.subarray()
      }
      const part = rest.subarray(0, size - at)
      found.set(part, at)
      rest = rest.subarray(part.length)
      at += part.length
    }
    return found
  }
}

async function take (read, size) {
  for (let at = 0; at < size; at += PIECE) await read(Math.min(PIECE, size - at))
}

async function give (stream, size) {
  const piece = new Uint8Array(PIECE)
  for (let at = 0; at < size; at += PIECE) await send(stream, piece.subarray(0, size - at))
}

async function send (stream, data) {
  if (!stream.send(data)) await stream.onDrain(within())
}

async function exchange (connection, up, down) {
  const stream = await connection.newStream(PROTOCOL, within())
  const order = Buffer.alloc(8)
  order.writeUInt32BE(up)
  order.writeUInt32BE(down, 4)
  await send(stream, order)
  await give(stream, up)
  await take(reader(stream), down)
  await stream.close(within())
}

await node.handle(PROTOCOL, async (stream) => {
  try {
    const read = reader(stream)
    const order = await read(8)
    await take(read, order.readUInt32BE(0))
    await give(stream, order.readUInt32BE(4))
    await read(1).catch(() => {})
    await stream.close(within())
  } catch (error) {
    stream.abort(error)
  }
}, { maxInboundStreams: CONNECTIONS })

const seconds = () => performance.now() / 1000
const processorSeconds = () => {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1e6
}
const dial = (address) => node.dial(multiaddr(address), { ...within(), force: true })
const held = []

async function run ({ address, requests, bulk, hold, settle }) {
  if (settle !== undefined) {
    globalThis.gc()
    return { settled: true }
  }
  if (hold !== undefined) {
    for (let number = 0; number < hold; number++) held.push(await dial(address))
    return { held: held.length }
  }
  const marks = [seconds()]
  const connection = await dial(address)
  marks.push(seconds())
  for (let number = 0; number < requests; number++) {
    await exchange(connection, 32, 32)
    marks.push(seconds())
  }
  const began = processorSeconds()
  await exchange(connection, bulk, 1)
  marks.push(seconds())
  await exchange(connection, 1, bulk)
  marks.push(seconds())
  const cpu = processorSeconds() - began
  await connection.close(within())
  const took = marks.slice(1).map((end, place) => end - marks[place])
  return { connect: took[0], requests: took.slice(1, -2), up: took.at(-2), down: took.at(-1), cpu }
}

answerLines(
  role === 'serve'
    ? { address: String(node.getMultiaddrs()[0]), peer: node.peerId.toString(), pid: process.pid }
    : { ready: true },
  run
)
