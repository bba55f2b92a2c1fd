// A js-libp2p peer, 2.x or 3.x, for the interoperability tests. It speaks JSON lines on stdin and stdout, as
// ../README.md says.

import { randomBytes } from 'node:crypto'
import { runPeer } from './json_lines.mjs'
import { ECHO, readAll, within, writeAll } from './streams.mjs'

const { createLibp2p } = await import('libp2p')
const { noise } = await import('@chainsafe/libp2p-noise')
const { yamux } = await import('@chainsafe/libp2p-yamux')
const { quic } = await import('@chainsafe/libp2p-quic').catch(() => ({}))
const { circuitRelayServer, circuitRelayTransport } = await import('@libp2p/circuit-relay-v2')
const { dcutr } = await import('@libp2p/dcutr')
const { identify } = await import('@libp2p/identify')
const { kadDHT, passthroughMapper } = await import('@libp2p/kad-dht')
const { ping } = await import('@libp2p/ping')
const { peerIdFromString } = await import('@libp2p/peer-id')
const { tcp } = await import('@libp2p/tcp')
const { tls } = await import('@libp2p/tls')
const { webSockets } = await import('@libp2p/websockets')
const { webRTCDirect } = await import('@libp2p/webrtc').catch(() => ({})) // not in js-2
const { multiaddr } = await import('@multiformats/multiaddr')
const { CID } = await import('multiformats/cid')
const Digest = await import('multiformats/hashes/digest')

const KAD = process.env.INTEROP_KAD ?? '/spacedrive/kad/1.0.0'
const PAIRING = '/spacedrive/pairing/2.0.0'
const RAW = 0x55

const node = await createLibp2p({
  addresses: { listen: process.argv.slice(2) },
  transports: [
    tcp(), webSockets(), circuitRelayTransport(), ...(quic ? [quic()] : []), ...(webRTCDirect ? [webRTCDirect()] : [])
  ],
  connectionEncrypters: [process.env.INTEROP_SECURITY === 'tls' ? tls() : noise()],
  streamMuxers: [yamux()],
  connectionGater: { denyDialMultiaddr: () => false },
  services: {
    identify: identify(),
    ping: ping(),
    // It grants 15 by default and keeps those of peers that are gone: seven pairings of new nodes.
    relay: circuitRelayServer({ reservations: { maxReservations: 128 } }),
    dcutr: dcutr(),
    dht: kadDHT({ protocol: KAD, clientMode: false, peerInfoMapper: passthroughMapper, allowQueryWithZeroPeers: true })
  }
})

await node.handle(ECHO, async (incoming, connection) => {
  const stream = incoming.stream ?? incoming
  try {
    await writeAll(stream, await readAll(stream))
  } catch (error) {
    stream.abort(error)
  }
}, { runOnLimitedConnection: true })

// Frames of the pairing protocol are made and read by the test; this carries them.
const requests = []
let wanted = Promise.withResolvers()
await node.handle(PAIRING, async (incoming) => {
  const stream = incoming.stream ?? incoming
  try {
    const answer = Promise.withResolvers()
    requests.push({ request: await readAll(stream), answer })
    wanted.resolve()
    await writeAll(stream, await answer.promise)
  } catch (error) {
    stream.abort(error)
  }
})
let answering

const keyOf = (text) => CID.createV1(RAW, Digest.decode(Buffer.from(text, 'hex')))

const commands = {
  async connect ({ address }) {
    const began = performance.now()
    const connection = await node.dial(multiaddr(address), within())
    return { peer: connection.remotePeer.toString(), seconds: (performance.now() - began) / 1000 }
  },
  async relay () {
    return {} // it is one all the time
  },
  async reserve ({ address }) {
    await node.components.transportManager.listen([multiaddr(`${address}/p2p-circuit`)])
    const { signal } = within()
    while (!node.getMultiaddrs().some(one => String(one).includes('/p2p-circuit'))) {
      signal.throwIfAborted()
      await new Promise(resolve => setTimeout(resolve, 10))
    }
    return {}
  },
  async identify ({ peer }) {
    const { signal } = within() // it identifies by itself; this waits for the result
    while (true) {
      const known = await node.peerStore.get(peerIdFromString(peer)).catch(() => undefined)
      if (known?.protocols.length > 0) {
        return { protocols: known.protocols, agent: String(Buffer.from(known.metadata.get('AgentVersion') ?? '')) }
      }
      signal.throwIfAborted()
      await new Promise(resolve => setTimeout(resolve, 10))
    }
  },
  async direct ({ peer }) {
    const { signal } = within()
    while (true) {
      for (const one of node.getConnections(peerIdFromString(peer))) {
        if (!String(one.remoteAddr).includes('/p2p-circuit')) return { address: String(one.remoteAddr) }
      }
      signal.throwIfAborted()
      await new Promise(resolve => setTimeout(resolve, 10))
    }
  },
  async ping ({ peer }) {
    return { seconds: await node.services.ping.ping(peerIdFromString(peer), within()) / 1000 }
  },
  async echo ({ peer, bytes }) {
    const stream = await node.dialProtocol(peerIdFromString(peer), ECHO, { ...within(), runOnLimitedConnection: true })
    const sent = randomBytes(bytes)
    const [got] = await Promise.all([readAll(stream), writeAll(stream, sent)])
    if (!sent.equals(got)) throw new Error(`${got.length} bytes came back, and not the same`)
    return { bytes: got.length }
  },
  async exchange ({ peer, request }) {
    const stream = await node.dialProtocol(peerIdFromString(peer), PAIRING, within())
    const [got] = await Promise.all([readAll(stream), writeAll(stream, Buffer.from(request, 'hex'))])
    return { answer: Buffer.from(got).toString('hex') }
  },
  async request () {
    while (requests.length === 0) await wanted.promise
    wanted = Promise.withResolvers()
    answering = requests.shift()
    return { request: Buffer.from(answering.request).toString('hex') }
  },
  async answer ({ answer }) {
    answering.answer.resolve(Buffer.from(answer, 'hex'))
    return {}
  },
  async provide ({ key }) {
    await node.contentRouting.provide(keyOf(key), within())
    return {}
  },
  async find_providers ({ key }) {
    const found = []
    for await (const provider of node.contentRouting.findProviders(keyOf(key), within())) {
      found.push(provider.id.toString())
      break
    }
    return { providers: found }
  },
  async close ({ peer }) {
    await node.hangUp(peerIdFromString(peer), within())
    return {}
  }
}

runPeer(node, commands)
