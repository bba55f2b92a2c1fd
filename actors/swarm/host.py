"""Builds the libp2p host from the transport key and opens its listeners, so that failures are told.

Owns which port is taken: the one it had before a restart, the configured one, or a free one where the
configuration leaves the choice. Never dials. Implements docs/architecture.md, "Swarm".
"""

import errno
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import trio
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.peer.id import ID
from multiaddr import Multiaddr

from ...messages.actor_configs import SwarmConfig
from ..base import FatalActorError
from .dial import addresses
from .dial.addresses import Endpoint
from .library import corrections

PATIENCE = 2.0
"""Seconds to wait for a port that a dead predecessor may still hold."""
_RETRY_PAUSE = 0.05

Note = Callable[[str, str], Awaitable[None]]
"""Writes a log line: level, text."""


@dataclass(slots=True)
class Host:
    """A host. `listening` is in the order of the configuration; `announced` is what others are told."""

    libp2p: Any
    peer: bytes
    _told: list[Multiaddr]
    listening: tuple[str, ...] = ()
    announced: tuple[str, ...] = ()
    local: tuple[str, ...] = ()

    @property
    def network(self) -> Any:
        """The library's Swarm object."""
        return self.libp2p.get_network()

    async def listen(self, config: SwarmConfig, previous: Sequence[str], note: Note) -> None:
        """Listen as configured; `previous` are the addresses of this node's former host.

        Raises FatalActorError with a text for the user.
        """
        listening = [
            await _listen(self.libp2p, wish, _former(previous, place, wish), config.default_port, note)
            for place, wish in enumerate([_listen_endpoint(text) for text in config.listen])
        ]
        public, local = addresses.announced(listening, config.announce, addresses.interface_addresses())
        self.listening = tuple(str(endpoint) for endpoint in listening)
        self.announced = public
        self._told[:] = [Multiaddr(text) for text in public]
        self.local = local


@asynccontextmanager
async def open_host(seed: bytes, max_connections: int) -> AsyncIterator[Host]:
    """Run a host that does not listen yet. It is closed in order, within a second, also when cancelled."""
    keys = create_new_key_pair(seed)

    peer = ID.from_pubkey(keys.public_key).to_bytes()
    announced: list[Multiaddr] = []
    libp2p_host = corrections.new_host(keys, max_connections, lambda: list(announced))
    host = Host(libp2p_host, peer, announced)
    async with corrections.run_host(host.libp2p):
        yield host


def _listen_endpoint(text: str) -> Endpoint:
    try:
        endpoint = addresses.parse(text)
    except addresses.AddressError as error:
        raise FatalActorError(f"cannot listen on {text}: {error}; choose another with --listen") from None
    if endpoint.ip is None:
        raise FatalActorError(
            f"cannot listen on {text}: an IP address is needed; choose another with --listen"
        )
    return endpoint


def _former(previous: Sequence[str], place: int, wish: Endpoint) -> Endpoint | None:
    """The port that this listener had before a restart, if it is still the same listener."""
    if place >= len(previous):
        return None
    former = addresses.parse(previous[place])
    return former if (former.family, former.host) == (wish.family, wish.host) else None


async def _listen(
    host: Any, wish: Endpoint, former: Endpoint | None, default_port: bool, note: Note
) -> Endpoint:
    choices = [(former, PATIENCE)] if former is not None else []
    if wish != former:
        choices.append((wish, 0.0 if default_port else PATIENCE / 2))
    if default_port or wish.port == 0:
        choices.append((wish.with_port(0), 0.0))
    reason: OSError | None = None
    for endpoint, patience in choices:
        try:
            found = await _bind(host, endpoint, patience)
        except corrections.AddressTakenError as error:
            reason = error
            continue
        except OSError as error:
            raise FatalActorError(
                f"cannot listen on {endpoint}: {error.strerror or error}; choose another with --listen"
            ) from None
        if reason is not None:
            await note("warning", f"port {choices[0][0].port} is taken, listening on port {found.port}")
        return found
    raise FatalActorError(
        f"port {wish.port} is taken: {reason.strerror if reason else 'unknown'}; choose another with --listen"
    )


async def _bind(host: Any, endpoint: Endpoint, patience: float) -> Endpoint:
    """Listen on one endpoint. Raises AddressTakenError after `patience` seconds, or OSError."""
    deadline = trio.current_time() + patience
    while True:
        try:
            corrections.check_free(endpoint.host, endpoint.port)
            break
        except corrections.AddressTakenError:
            if trio.current_time() >= deadline:
                raise
            # No event tells that another process has let go of a port, so this looks again, for a while.
            await trio.sleep(_RETRY_PAUSE)
    network = host.get_network()
    await network.listen(Multiaddr(str(endpoint)))
    listener = network.listeners.get(str(endpoint))
    found = (
        [addresses.parse(str(address)) for address in listener.get_addrs()] if listener is not None else []
    )
    if not found:
        raise corrections.AddressTakenError(errno.EADDRINUSE, "another program listens there")
    return endpoint.with_port(found[0].port)
