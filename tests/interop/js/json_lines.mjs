// What the programs for Node have in common: JSON lines on stdin and stdout (../README.md). Imported before js-libp2p.

import readline from 'node:readline'

// js-libp2p uses it, and Node has it since version 22.
Promise.withResolvers ??= function () {
  let resolve, reject
  const promise = new Promise((yes, no) => { resolve = yes; reject = no })
  return { promise, resolve, reject }
}

const say = (what) => process.stdout.write(JSON.stringify(what) + '\n')

/** Says `ready`, then answers each line with what `run` returns for it, or with its error, until the input ends. */
export function answerLines (ready, run) {
  say(ready)
  const lines = readline.createInterface({ input: process.stdin })
  lines.on('line', async (line) => {
    const command = JSON.parse(line)
    try {
      say({ ...await run(command), id: command.id })
    } catch (error) {
      say({ error: String(error.message ?? error), id: command.id })
    }
  })
  lines.on('close', () => process.exit(0))
}

/** Runs the `commands` of a peer, each by its `op`. */
export function runPeer (node, commands) {
  const peer = node.peerId.toString()
  // Where it listens: `getMultiaddrs` leaves out public addresses that nobody has verified.
  const addresses = node.components.transportManager.getAddrs().map(one => `${one}/p2p/${peer}`)
  answerLines({ event: 'ready', peer, addresses }, command => commands[command.op](command))
}
