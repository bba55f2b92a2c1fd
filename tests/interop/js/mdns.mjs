// A js-libp2p peer on a local network, 2.x or 3.x: it runs libp2p's own mDNS, which has another form, and speaks
// that of docs/protocol.md with the library below it. JSON lines on stdin and stdout, as ../README.md says:
//
//   find      asks for the service; gives the first answer: the instance, and the strings of its TXT record
//   announce  `instance`: answers who asks for the service, with its own peer id and addresses
//   visitor   gives the first peer that connects

import { runPeer } from './json_lines.mjs'

const { createLibp2p } = await import('libp2p')
const { noise } = await import('@chainsafe/libp2p-noise')
const { yamux } = await import('@chainsafe/libp2p-yamux')
const { mdns } = await import('@libp2p/mdns')
const { tcp } = await import('@libp2p/tcp')
const { default: multicastDns } = await import('multicast-dns')

const SERVICE = '_spacedrive-pair._udp.local'
const TTL_SECONDS = 120
const ASK_INTERVAL_MS = 1000

const node = await createLibp2p({
  addresses: { listen: process.argv.slice(2) },
  transports: [tcp()],
  connectionEncrypters: [noise()],
  streamMuxers: [yamux()],
  peerDiscovery: [mdns({ interval: 1000 })]
})
const visitor = new Promise(resolve => {
  node.addEventListener('peer:connect', event => resolve(event.detail.toString()))
})
const network = multicastDns({ interface: process.env.INTEROP_INTERFACE })

const commands = {
  async find () {
    const { promise, resolve } = Promise.withResolvers()
    network.on('response', ({ answers, additionals }) => {
      const records = [...answers, ...additionals]
      const pointer = records.find(record => record.type === 'PTR' && record.name === SERVICE)
      const text = records.find(record => record.type === 'TXT' && record.name === pointer?.data)
      if (text !== undefined) resolve({ instance: pointer.data, strings: text.data.map(String) })
    })
    const asking = setInterval(() => network.query(SERVICE, 'PTR'), ASK_INTERVAL_MS)
    network.query(SERVICE, 'PTR')
    try {
      return await promise
    } finally {
      clearInterval(asking)
    }
  },
  async announce ({ instance }) {
    const name = `${instance}.${SERVICE}`
    const addresses = node.getMultiaddrs().map(address => `a=${address}`)
    network.on('query', ({ questions }) => {
      if (!questions.some(question => question.name === SERVICE && question.type === 'PTR')) return
      network.respond({
        answers: [{ name: SERVICE, type: 'PTR', ttl: TTL_SECONDS, data: name }],
        additionals: [{ name, type: 'TXT', ttl: TTL_SECONDS, data: [`p=${node.peerId}`, ...addresses] }]
      })
    })
    return {}
  },
  async visitor () {
    return { peer: await visitor }
  }
}

runPeer(node, commands)
