"""The modules that `import libp2p` would import and the swarm does not use (import_stubs.py)."""

UNUSED_BY_LIBP2P = (
    # Transports and security that the node does not offer.
    "libp2p.security.tls",
    "libp2p.transport.quic",
    "libp2p.transport.webrtc",
    "libp2p.transport.websocket",
    "libp2p.transport.webtransport",
    "libp2p.security.secio",
    "aioquic",
    "cryptography.x509",
    "trio_websocket",
    # Finding peers, and resolving names: the discovery actor and dial/resolver.py do that.
    "libp2p.discovery",
    "dns",
    "miniupnpc",
    "zeroconf",
    # Services that the node does not run.
    "libp2p.bitswap",
    "libp2p.pubsub",
    "cbor2",
    "httpx",
    "requests",
    # Metrics: the metrics actor exports them.
    "libp2p.observability",
    "libp2p.rcmgr.prometheus_exporter",
    "prometheus_client",
    # libp2p's own DHT, relays and stores: kad/, relay/ and the vault do that. The messages (pb) are used.
    "libp2p.kad_dht.kad_dht",
    "libp2p.kad_dht.diagnostics",
    "libp2p.kad_dht.peer_routing",
    "libp2p.kad_dht.provider_store",
    "libp2p.kad_dht.routing_table",
    "libp2p.kad_dht.utils",
    "libp2p.kad_dht.value_store",
    "libp2p.peer.persistent",
    "libp2p.records.ipns",
    "libp2p.relay.circuit_v2.dcutr",
    "libp2p.relay.circuit_v2.discovery",
    "libp2p.relay.circuit_v2.nat",
    "libp2p.relay.circuit_v2.performance_tracker",
    "libp2p.relay.circuit_v2.protocol",
    "libp2p.relay.circuit_v2.resources",
    "libp2p.relay.circuit_v2.transport",
    # The addresses of interfaces: dial/interfaces.py asks the kernel.
    "psutil",
    # Services that run on any event loop: here its manager for trio runs them.
    "anyio",
    # Keys for SSH.
    "cryptography.hazmat.primitives.serialization.ssh",
)
