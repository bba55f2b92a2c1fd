// js-libp2p in a browser, 2.x or 3.x: dials the address behind the # of its page, uses the connection, and posts what
// came of it to /result. esbuild bundles it (../build.sh); ../test_browser.py serves it.

import { noise } from '@chainsafe/libp2p-noise'
import { yamux } from '@chainsafe/libp2p-yamux'
import { identify } from '@libp2p/identify'
import { ping } from '@libp2p/ping'
import { webSockets } from '@libp2p/websockets'
import { multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'
import { ECHO, readAll, within, writeAll } from './streams.mjs'

const { webRTCDirect } = await import('@libp2p/webrtc').catch(() => ({})) // not in js-2
const BYTES = 1 << 20
const RANDOM_AT_ONCE = 65_536

async function use () {
  const node = await createLibp2p({
    transports: [webSockets(), ...(webRTCDirect ? [webRTCDirect()] : [])],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
    connectionGater: { denyDialMultiaddr: () => false },
    services: { identify: identify(), ping: ping() }
  })
  const identified = new Promise(resolve => {
    node.addEventListener('peer:identify', event => resolve(event.detail.protocols))
  })
  const connection = await node.dial(multiaddr(decodeURIComponent(location.hash.slice(1))), within())
  const protocols = await identified
  await node.services.ping.ping(connection.remotePeer, within())
  const sent = new Uint8Array(BYTES)
  for (let at = 0; at < BYTES; at += RANDOM_AT_ONCE) crypto.getRandomValues(sent.subarray(at, at + RANDOM_AT_ONCE))
  const stream = await node.dialProtocol(connection.remotePeer, ECHO, within())
  const [got] = await Promise.all([readAll(stream), writeAll(stream, sent)])
  const same = got.length === BYTES && got.every((byte, at) => byte === sent[at])
  await node.hangUp(connection.remotePeer, within())
  return { peer: node.peerId.toString(), remote: connection.remotePeer.toString(), protocols, same }
}

const result = await use().catch(error => ({ error: String(error.stack ?? error) }))
await fetch('/result', { method: 'POST', body: JSON.stringify({ ...result, agent: navigator.userAgent }) })
