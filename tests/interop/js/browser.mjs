// A page with js-libp2p 3: it dials the address behind the # of its own, over WebRTC, and posts to /done what it found.
// build.sh bundles it.

import { identify } from '@libp2p/identify'
import { ping } from '@libp2p/ping'
import { webRTCDirect } from '@libp2p/webrtc'
import { multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'

const ECHO = '/spacedrive-interop/echo/1.0.0'
const CHUNK = 65_536
const within = () => ({ signal: AbortSignal.timeout(30_000) })

async function readAll (stream) {
  const parts = []
  for await (const part of stream) parts.push(part.subarray())
  return new Uint8Array(await new Blob(parts).arrayBuffer())
}

async function writeAll (stream, data) {
  for (let at = 0; at < data.length; at += CHUNK) {
    if (!stream.send(data.subarray(at, at + CHUNK))) await stream.onDrain(within())
  }
  await stream.close(within())
}

async function run (address) {
  const node = await createLibp2p({
    transports: [webRTCDirect()],
    connectionGater: { denyDialMultiaddr: () => false },
    services: { identify: identify(), ping: ping() }
  })
  const connection = await node.dial(multiaddr(address), within())
  await node.services.ping.ping(connection.remotePeer, within())
  const sent = new Uint8Array(1 << 20)
  for (let at = 0; at < sent.length; at += CHUNK) crypto.getRandomValues(sent.subarray(at, at + CHUNK))
  const stream = await connection.newStream(ECHO, within())
  const [got] = await Promise.all([readAll(stream), writeAll(stream, sent)])
  const same = got.length === sent.length && got.every((byte, at) => byte === sent[at])
  await node.stop()
  return { same, browser: navigator.userAgent }
}

const found = await run(decodeURIComponent(location.hash.slice(1))).catch(error => ({ error: String(error) }))
await fetch('/done', { method: 'POST', body: JSON.stringify(found) })
