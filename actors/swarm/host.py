"""Opens the libp2p host of the transport key, and knows its addresses.

Never dials. Implements docs/architecture.md, "Swarm". Where it listens is listening.py's.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.peer.id import ID
from multiaddr import Multiaddr

from ...messages.actor_configs import SwarmConfig
from .dial import addresses
from .dial.addresses import Endpoint
from .library.host_factory import new_host
from .library.host_lifecycle import run_host
from .listening import WriteLog
from .listening import listen as listening_on


@dataclass(slots=True)
class Host:
    """A host and its addresses, as multiaddrs.

    `listening` is in the order of the configuration, `announced` is what other nodes get, and `local` is what
    only this machine reaches. `_advertised` is what identify reports: the same list object as in the library.
    """

    libp2p: Any
    peer: bytes
    _advertised: list[Multiaddr]
    listening: tuple[str, ...] = ()
    announced: tuple[str, ...] = ()
    local: tuple[str, ...] = ()

    @property
    def network(self) -> Any:
        """The library's Swarm object."""
        return self.libp2p.get_network()

    def own_endpoints(self) -> list[Endpoint]:
        """Return every endpoint that is this node: where it listens, on every interface, and announced."""
        texts = dict.fromkeys((*self.listening, *self.announced))
        own = [addresses.parse(text).with_zone("") for text in texts]
        anywhere = [one for one in own if one.ip is not None and one.ip.is_unspecified]
        ips = addresses.own_addresses() if anywhere else []
        return own + [
            one.with_ip(ip) for one in anywhere for ip in ips if one.ip and ip.version == one.ip.version
        ]

    async def listen(self, config: SwarmConfig, previous: Sequence[str], write_log: WriteLog) -> None:
        """Listen as configured; `previous` are the addresses that this node had before a restart.

        Raises FatalActorError with a text for the user.
        """
        listening = await listening_on(self.libp2p, config, previous, write_log)
        is_anywhere = any(one.ip is not None and one.ip.is_unspecified for one in listening)
        found = addresses.interface_addresses() if is_anywhere else []
        public, local = addresses.announced(listening, config.announce, found)
        self.listening = tuple(str(endpoint) for endpoint in listening)
        self.announced = public
        self._advertised[:] = [Multiaddr(text) for text in public]
        self.local = local


@asynccontextmanager
async def open_host(seed: bytes, max_connections: int) -> AsyncIterator[Host]:
    """Run a host that does not listen yet. It is closed within a second, also when cancelled."""
    keys = create_new_key_pair(seed)
    peer = ID.from_pubkey(keys.public_key).to_bytes()
    advertised: list[Multiaddr] = []
    libp2p_host = new_host(keys, max_connections, lambda: list(advertised))
    host = Host(libp2p_host, peer, advertised)
    async with run_host(host.libp2p):
        yield host
