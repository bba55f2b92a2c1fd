"""The modules that `import libp2p` would import and the swarm does not use (import_stubs.py)."""

import importlib.util
from contextlib import AbstractContextManager
from pathlib import Path

from google.protobuf.internal import api_implementation

from ....import_stubs import stub_unused_modules

_PROTOBUF_IN_PYTHON = ("google.protobuf.internal.python_message",)
"""A MiB, with its text format. It is imported although the messages of libp2p are read by the one in C."""
UNUSED_BY_LIBP2P = (
    *(() if api_implementation.Type() == "python" else _PROTOBUF_IN_PYTHON),
    # It would read the version of libp2p, and brings zipfile, csv and email: `_version_of` is there for it.
    "importlib.metadata",
    # Transports and security that the node does not offer.
    "libp2p.security.tls",
    "libp2p.transport.quic",
    "libp2p.transport.webrtc",
    "libp2p.transport.websocket",
    "libp2p.transport.webtransport",
    "libp2p.security.pnet",
    "libp2p.security.secio",
    "libp2p.crypto.authenticated_encryption",
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


def without_unused_modules() -> AbstractContextManager[None]:
    """Import libp2p in this block, without what the swarm does not use."""
    return stub_unused_modules(UNUSED_BY_LIBP2P, {"importlib.metadata": {"version": _version_of}})


def _version_of(package: str) -> str:
    """Return the version of an installed package, which the name of a directory beside it says."""
    found = importlib.util.find_spec(package)
    if found is not None and found.origin is not None:
        for directory in Path(found.origin).parent.parent.glob(f"{package}-*.dist-info"):
            return directory.stem.removeprefix(f"{package}-")
    return "unknown"
