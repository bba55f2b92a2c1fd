"""Finds the live connection to a peer, or dials all addresses that are known of it.

Dials are staggered: the addresses in the given order, each 250 ms after the one before or as soon as that one
has failed, unless it is hearsay (hearsay.py). The first success wins (as in Happy Eyeballs, RFC 8305). Checks
the peer id. Never uses the library's own dialer, which tries two addresses at most and remembers failures
(docs/decisions/0004).
"""

import ipaddress
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import trio
from libp2p.peer.id import ID
from multiaddr import Multiaddr

from ....messages.errors import SpacedriveNodeError
from ....messages.types import Transport
from ..library.connections import close_connection, is_alive
from ..library.dialing import peer_that_answered
from . import addresses
from .addresses import Endpoint
from .hearsay import is_public
from .resolver import Resolver

STAGGER_S = 0.25
_MAX_DIALS = 64
_DIAL_TIMEOUT_S = 10.0
_OTHER_RACE_TIMEOUT_S = 0.5
_TCP_ONLY: tuple[Transport, ...] = ("tcp",)


class UnreachableError(SpacedriveNodeError):
    """There is no connection with the peer. The text is short and gives the reason."""


@dataclass(slots=True)
class _Race:
    """One staggered dial of a peer, and the state of its attempts."""

    over: trio.Event = field(default_factory=trio.Event)
    winner: Any = None
    running: int = 0
    all_started: bool = False
    stopped: bool = False
    scopes: list[trio.CancelScope] = field(default_factory=list)


class Dialer:
    """Finds or makes the connections of one host. Its dials run in `nursery`."""

    def __init__(
        self,
        network: Any,
        own_peer: bytes,
        nursery: trio.Nursery,
        *,
        lan_only: bool = False,
        transports: Collection[Transport] = _TCP_ONLY,
        observe: Callable[[str, float, bool], None] = lambda _transport, _seconds, _succeeded: None,
        other_peer_answered: Callable[[bytes, Endpoint, bytes], None] = lambda _named, _at, _actual: None,
    ) -> None:
        self._network = network
        self._own_peer = own_peer
        self._nursery = nursery
        self._lan_only = lan_only
        self._transports = transports
        self._observe = observe
        self._other_peer_answered = other_peer_answered
        self._races: dict[bytes, _Race] = {}
        self._limiter = trio.CapacityLimiter(_MAX_DIALS)
        self._resolver = Resolver()

    def existing(self, peer: bytes) -> Any | None:
        """Return the newest live connection with `peer`, or None."""
        for connection in reversed(self._network.get_connections(ID(peer))):
            if is_alive(connection):
                return connection
        return None

    async def connect(self, peer: bytes, texts: Sequence[str], hearsay: Sequence[str] = ()) -> Any:
        """Return a live connection with `peer`, dialling `texts` if there is none. Raises UnreachableError.

        `hearsay` are those of the texts that only third parties have named. Has no deadline: the caller sets
        one.
        """
        if peer == self._own_peer:
            raise UnreachableError("this is the own peer id")
        connection = self.existing(peer)
        if connection is not None:
            return connection
        targets = [one for one in addresses.usable(texts) if one.transport in self._transports]
        if not targets:
            raise UnreachableError("no address to dial" if texts else "not connected")
        if await self._other_race(peer):
            connection = self.existing(peer)
            if connection is not None:
                return connection
        return await self._race(peer, targets, frozenset(addresses.usable(hearsay)))

    async def _other_race(self, peer: bytes) -> bool:
        """If the same peer is being dialled, wait a little for the result; return whether it was.

        Only a little, because the other dial may be trying dead addresses while the caller's are good.
        """
        race = self._races.get(peer)
        if race is None:
            return False
        with trio.move_on_after(_OTHER_RACE_TIMEOUT_S):
            await race.over.wait()
        return True

    async def check_who_answers(self, endpoints: Sequence[Endpoint]) -> None:
        """Report whether another node with this node's identity is at one of the endpoints.

        It is told as well, by the connection from its own peer id; no connection stays.
        """
        for endpoint in endpoints:
            with trio.move_on_after(_DIAL_TIMEOUT_S), suppress(UnreachableError):
                connection = await self._dial(self._own_peer, endpoint, is_hearsay=True)
                self._other_peer_answered(self._own_peer, endpoint, self._own_peer)
                await close_connection(connection)

    async def drop(self, connection: Any) -> None:
        """Close a connection that has failed, so that `existing` does not return it again."""
        await close_connection(connection)

    async def drop_peer(self, peer: bytes) -> None:
        """Close every connection with `peer`."""
        for connection in list(self._network.get_connections(ID(peer))):
            await close_connection(connection)

    async def _race(self, peer: bytes, targets: Sequence[Endpoint], hearsay: frozenset[Endpoint]) -> Any:
        """Start an attempt for each address, staggered, until one succeeds or all have failed."""
        race = self._races[peer] = _Race()
        try:
            for target in targets:
                failed = trio.Event()
                race.running += 1
                is_hearsay = target in hearsay
                self._nursery.start_soon(self._attempt, race, peer, target, is_hearsay, failed)
                with trio.move_on_after(STAGGER_S):
                    # When the next dial comes must not tell whoever named this address that it is closed.
                    await _either(race.over if is_hearsay else failed, race.over)
                if race.over.is_set():
                    break
            race.all_started = True
            if race.running == 0:
                race.over.set()
            await race.over.wait()
        finally:
            race.stopped = race.all_started = True
            race.over.set()
            if self._races.get(peer) is race:
                del self._races[peer]
            for scope in race.scopes:
                scope.cancel()
        if race.winner is None:
            raise UnreachableError("no address answers as this peer")
        return race.winner

    async def _attempt(
        self, race: _Race, peer: bytes, target: Endpoint, is_hearsay: bool, failed: trio.Event
    ) -> None:
        with trio.move_on_after(_DIAL_TIMEOUT_S) as scope:
            race.scopes.append(scope)
            if race.stopped:
                scope.cancel()
            try:
                connection = await self._dial(peer, target, is_hearsay)
            except (UnreachableError, OSError):
                pass
            else:
                if race.winner is None:
                    race.winner = connection
                    race.over.set()
        race.running -= 1
        failed.set()
        if race.running == 0 and race.all_started:
            race.over.set()

    async def _dial(self, peer: bytes, target: Endpoint, is_hearsay: bool) -> Any:
        async with self._limiter:
            for endpoint in await self._resolve(target, is_hearsay):
                began = trio.current_time()
                try:
                    connection = await self._network.dial_addr(Multiaddr(str(endpoint)), ID(peer))
                except Exception as error:  # the library raises many types; all mean: not by this address
                    self._observe(endpoint.transport, trio.current_time() - began, False)
                    answered = peer_that_answered(error)
                    if answered is not None:
                        self._other_peer_answered(peer, endpoint, answered)
                    continue
                if connection.muxed_conn.peer_id.to_bytes() != peer:
                    await close_connection(connection)
                    continue
                self._observe(endpoint.transport, trio.current_time() - began, True)
                return connection
        raise UnreachableError("no answer")

    async def _resolve(self, target: Endpoint, is_hearsay: bool = False) -> list[Endpoint]:
        """Return the IP addresses of a target, at most four of a name, without what --lan-only forbids.

        A name that is hearsay leads to public addresses only.
        """
        if target.ip is not None:
            found = [target]
        else:
            infos = await self._resolver.resolve(target.host, target.port)
            ips = dict.fromkeys(ipaddress.ip_address(str(info[4][0]).partition("%")[0]) for info in infos)
            versions = {"dns4": (4,), "dns6": (6,)}.get(target.family, (4, 6))
            ips_of_family = [ip for ip in ips if ip.version in versions]
            found = [target.with_ip(ip) for ip in ips_of_family if not is_hearsay or is_public(ip)][:4]
        if self._lan_only:
            found = [one for one in found if one.ip is not None and addresses.is_local_network(one.ip)]
        return found


async def _either(one: trio.Event, other: trio.Event) -> None:
    """Wait until one of two events is set."""
    async with trio.open_nursery() as nursery:

        async def watch(event: trio.Event) -> None:
            await event.wait()
            nursery.cancel_scope.cancel()

        nursery.start_soon(watch, one)
        nursery.start_soon(watch, other)
