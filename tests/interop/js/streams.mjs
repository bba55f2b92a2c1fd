// What peer.mjs and browser.mjs both need: streams of js-libp2p 2.x and 3.x.

export const ECHO = '/spacedrive-interop/echo/1.0.0'
const MAX_ECHO = 16 << 20
const CHUNK = 65_536
export const within = () => ({ signal: AbortSignal.timeout(20_000) })

/** Reads all that the other side sends, in 2.x (a duplex) and 3.x (an event target that can be iterated). */
export async function readAll (stream) {
  const parts = []
  let size = 0
  for await (const part of stream.source ?? stream) {
    parts.push(part.subarray())
    size += parts.at(-1).length
    if (size > MAX_ECHO) throw new Error('too much')
  }
  const whole = new Uint8Array(size)
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.length
  }
  return whole
}

export async function writeAll (stream, data) {
  if (stream.send === undefined) {
    await stream.sink((function * () {
      for (let at = 0; at < data.length; at += CHUNK) yield data.subarray(at, at + CHUNK)
    })())
    return
  }
  for (let at = 0; at < data.length; at += CHUNK) {
    if (!stream.send(data.subarray(at, at + CHUNK))) await stream.onDrain(within())
  }
  await stream.close(within())
}
