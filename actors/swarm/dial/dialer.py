"""Finds the live connection to a peer, or dials all addresses that are known of it.

Owns the dial of one address, and what is remembered of the outcome; the order and the times are plan.py's,
the race is race.py's. An address through a relay is dialled in two steps: the relay, from the port that is
listened on, so that the relay sees the mapping of that port; then the circuit (relay/client.py). Checks the
peer id. Never uses the library's dialer: it tries two addresses, remembers failures (docs/decisions/0004).
"""

import ipaddress
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import trio
from libp2p.peer.id import ID
from multiaddr import Multiaddr

from ....messages.errors import SpacedriveNodeError
from ....messages.types import Transport
from ....protocol.peer_ids import peer_id_from_text
from ..library.connections import close_connection, connection_kind, is_alive, transport_of
from ..library.dialing import peer_that_answered
from ..library.streams import wait_until_noticed
from ..library.tcp_sockets import with_zone
from . import addresses, interfaces
from .addresses import Endpoint
from .dialled import DialledConnections
from .hearsay import is_public
from .history import DialHistory, Network
from .plan import HEARSAY_TIMEOUT_S, STAGGER_S, Target, plan
from .race import Made, Race
from .resolver import Resolver
from .under_way import DialsUnderWay

__all__ = ["STAGGER_S", "Dialer", "NothingToDialError", "UnreachableError"]

_MAX_ATTEMPTS = 256
_OTHER_RACE_TIMEOUT_S = 0.5
_NETWORK_CHECK_S = 1.0
"""Whether the network has changed is looked at for a dial, and not more often than this."""
_TCP_ONLY: tuple[Transport, ...] = ("tcp",)

OpenCircuit = Callable[[Any, bytes], Awaitable[Any]]
"""Opens a circuit to a peer on a connection with a relay, and returns the connection with the peer."""
Source = tuple[str, int]
"""(IP address, port) from which a TCP connection leaves."""


class UnreachableError(SpacedriveNodeError):
    """There is no connection with the peer. The text is short and gives the reason."""


class NothingToDialError(UnreachableError):
    """No address of the peer may be dialled by this node, which says nothing of the peer."""


class Dialer:
    """Finds or makes the connections of one host. Its dials run in `nursery`."""

    def __init__(
        self,
        network: Any,
        own_peer: bytes,
        nursery: trio.Nursery,
        *,
        lan_only: bool = False,
        offline: bool = False,
        transports: Collection[Transport] = _TCP_ONLY,
        observe: Callable[[str, float, bool], None] = lambda _transport, _seconds, _succeeded: None,
        other_peer_answered: Callable[[bytes, Endpoint, bytes], None] = lambda _named, _at, _actual: None,
        reached: Callable[[bytes, Endpoint], None] = lambda _peer, _endpoint: None,
        about_to_dial: Callable[[Endpoint, bool], None] = lambda _endpoint, _from_listening_port: None,
        udp_changed: Callable[[], None] = lambda: None,
        resolver: Resolver | None = None,
    ) -> None:
        self._network = network
        self._own_peer = own_peer
        self._nursery = nursery
        self._lan_only = lan_only
        self._offline = offline
        self._transports = transports
        self._observe = observe
        self._other_peer_answered = other_peer_answered
        self._reached = reached
        self._about_to_dial = about_to_dial
        self._races: dict[bytes, Race] = {}
        self._limiter = trio.CapacityLimiter(_MAX_ATTEMPTS)
        self._resolver = resolver or Resolver()
        self._history = DialHistory(udp_changed)
        self._seen_network: tuple[float, Network] = (-_NETWORK_CHECK_S, None)
        self._open_circuit: OpenCircuit | None = None
        self._source_of: Callable[[str], Source | None] = lambda _family: None
        self._told_by: Callable[[bytes], Sequence[str]] = lambda _peer: ()
        self._relay_dials = DialsUnderWay()
        """For circuits."""
        self._dialled = DialledConnections()

    @property
    def udp_is_blocked(self) -> bool:
        """Whether UDP gets no answer on this network, where TCP does."""
        return self._history.udp_is_blocked

    def use_circuits(
        self,
        open_circuit: OpenCircuit,
        source_of: Callable[[str], Source | None],
        told_by: Callable[[bytes], Sequence[str]] = lambda _peer: (),
    ) -> None:
        """Dial addresses through relays too. `source_of` gives, by IP version, where relays are dialled from.

        `told_by` gives the circuits that a peer itself has told lately: they are dialled beside the others,
        for a relay may have died since those were found. A node of --lan-only or --offline does nothing of
        it: nobody knows where the other end of a circuit is.
        """
        if not (self._lan_only or self._offline):
            self._open_circuit, self._source_of, self._told_by = open_circuit, source_of, told_by

    def existing(self, peer: bytes) -> Any | None:
        """Return the newest live connection with `peer`, direct if there is one; None: none."""
        alive = [one for one in self._network.get_connections(ID(peer)) if is_alive(one)]
        direct = [one for one in alive if connection_kind(one) == "direct"]
        return (direct or alive or [None])[-1]

    def direct(self, peer: bytes) -> Any | None:
        """Return the newest live connection with `peer` that runs over no relay, or None."""
        connection = self.existing(peer)
        return None if connection is None or connection_kind(connection) == "relayed" else connection

    def dialled(self, connection: Any) -> Endpoint | None:
        """Return the address that was dialled for a connection; None if the peer has made it."""
        return self._dialled.endpoint_of(connection)

    def reached_at(self, peer: bytes) -> tuple[str, ...]:
        """Return where a peer may be dialled again: where it was, and the circuits that it has told."""
        dialled = (self._dialled.endpoint_of(one) for one in self._network.get_connections(ID(peer)))
        return tuple(dict.fromkeys([*(str(one) for one in dialled if one is not None), *self._told_by(peer)]))

    def recall(self, peer: bytes, texts: Sequence[str]) -> None:
        """Dial these addresses of a peer before others: they have worked before this process."""
        endpoints = [one for one in addresses.usable(texts) if one.transport in self._transports]
        self._history.recall(self._network_now(), peer, endpoints)

    async def connect(self, peer: bytes, texts: Sequence[str], hearsay: Sequence[str] = ()) -> Any:
        """Return a live connection with `peer`, dialling `texts` if there is none. Raises UnreachableError.

        `hearsay` are those of the texts that only third parties have named. The caller sets a deadline.
        """
        if peer == self._own_peer:
            raise UnreachableError("this is the own peer id")
        if (connection := self.existing(peer)) is not None:
            return connection
        targets = [one for one in addresses.usable(texts) if self._may_dial(one)]
        if not targets:
            raise NothingToDialError("no address to dial" if texts else "not connected")
        if await self._other_race(peer) and (connection := self.existing(peer)) is not None:
            return connection
        told = [one for one in addresses.usable(self._told_by(peer)) if self._may_dial(one)]
        untrusted = {*addresses.usable(hearsay), *set(told).difference(targets)}
        found = dict.fromkeys((*targets, *told))
        return await self._race(peer, [_target(endpoint, endpoint in untrusted) for endpoint in found])

    async def connect_relay(self, relay: bytes, texts: Sequence[str], hearsay: Sequence[str] = ()) -> Any:
        """Return a connection with a relay that leaves from the port on which this node listens.

        Where the transport does not allow that, any direct one. Otherwise as `connect`.
        """
        connection = self.direct(relay)
        if connection is not None and self._leaves_from_listening_port(connection):
            return connection
        endpoints = [one for one in addresses.usable(texts) if one.relay is None and self._may_dial(one)]
        untrusted = addresses.usable(hearsay)
        targets = [Target(one, one in untrusted, leaves_from_listening_port=True) for one in endpoints]
        if relay == self._own_peer or not (targets or connection):
            raise UnreachableError("no address to dial")
        race = Race(self._nursery, partial(self._dial, relay), _discard, self._limiter)
        made = await race.run(plan(targets)) if targets else None
        connection = self.direct(relay) if made is None else made.connection
        if connection is None:
            raise UnreachableError("no address answers as this peer")
        if made is not None:
            self._reached(relay, made.target.endpoint)
        return connection

    async def dial_direct(self, peer: bytes, endpoints: Sequence[Endpoint]) -> None:
        """Dial addresses that a peer has named over a relay, whether there is a connection or not."""
        targets = [Target(one, is_hearsay=True) for one in endpoints if self._may_dial(one)]
        if targets and peer != self._own_peer:
            await Race(self._nursery, partial(self._dial, peer), _discard, self._limiter).run(plan(targets))

    def _leaves_from_listening_port(self, connection: Any) -> bool:
        if not connection.muxed_conn.is_initiator or transport_of(connection.muxed_conn) != "tcp":
            return True  # to it, or over QUIC; over WebSocket there is no better one
        return self._dialled.is_from_listening_port(connection)

    def _may_dial(self, endpoint: Endpoint) -> bool:
        """Return whether this node dials such an address at all; where a name leads is seen later."""
        if endpoint.transport not in self._transports or (endpoint.relay and self._open_circuit is None):
            return False
        if endpoint.ip is None or not self._lan_only:
            return True
        return addresses.is_local_network(endpoint.ip)

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

        It is told as well, by the connection from its own peer id; none stays. The pace is fixed: who named
        the endpoints does not see by the next dial what became of the one before.
        """
        for endpoint in [one for one in endpoints if one.transport in self._transports and not one.relay]:
            next_at = trio.current_time() + HEARSAY_TIMEOUT_S
            with trio.move_on_at(next_at):
                made = await self._dial(self._own_peer, Target(endpoint, is_hearsay=True))
                if made is not None:
                    self._other_peer_answered(self._own_peer, endpoint, self._own_peer)
                    try:
                        await wait_until_noticed(made.connection)
                    finally:
                        await close_connection(made.connection)
            await trio.sleep_until(next_at)

    def network_changed(self) -> None:
        """Look at the network anew with the next dial, and hold no failure against any address."""
        self._seen_network = (-_NETWORK_CHECK_S, None)
        self._history.forget_failures()

    async def drop(self, connection: Any) -> None:
        """Close a connection that has failed, and dial its relay, if it was made through one, last."""
        endpoint = self._dialled.endpoint_of(connection)
        if endpoint is not None and endpoint.relay is not None:
            peer = connection.muxed_conn.peer_id.to_bytes()
            self._history.relay_turned_bad(self._network_now(), peer, endpoint.relay, trio.current_time())
        await close_connection(connection)

    async def drop_peer(self, peer: bytes) -> None:
        """Close every connection with `peer`."""
        for connection in list(self._network.get_connections(ID(peer))):
            await close_connection(connection)

    async def _race(self, peer: bytes, targets: Sequence[Target]) -> Any:
        """Dial the targets as planned. Raises UnreachableError."""
        network = self._network_now()
        race = self._races[peer] = Race(self._nursery, partial(self._dial, peer), _discard, self._limiter)
        try:
            made = await race.run(plan(targets, self._history.known(network, peer, trio.current_time())))
        finally:
            if self._races.get(peer) is race:
                del self._races[peer]
        self._remember(network, peer, race, made)
        if made is None:
            raise UnreachableError("no address answers as this peer")
        first = self._dialled.first_beside(made.connection, self._network.get_connections(ID(peer)))
        if first is None:
            return made.connection
        await close_connection(made.connection)
        return first

    def _network_now(self) -> Network:
        checked_at, network = self._seen_network
        now = trio.current_time()
        if now - checked_at >= _NETWORK_CHECK_S and not self._offline:
            network = interfaces.network()
            self._seen_network = (now, network)
        return network

    def _remember(self, network: Network, peer: bytes, race: Race, made: Made | None) -> None:
        now = trio.current_time()
        for target in race.failed():
            self._history.failed(network, peer, target.endpoint, now)
        if made is None:
            return
        self._history.worked(network, peer, made.target.endpoint, made.took_s)
        if made.target.endpoint.relay is None:
            self._reached(peer, made.target.endpoint)
        if not made.target.endpoint.is_udp and any(
            one.endpoint.is_udp and one.endpoint.host == made.target.endpoint.host
            for one in race.unanswered(made.took_s)
        ):
            self._history.udp_was_silent(network, peer, now)

    async def _dial(self, peer: bytes, target: Target) -> Made | None:
        """Dial one target; the addresses of a name are raced as those of a peer are."""
        if target.endpoint.relay is not None:
            return await self._dial_through(peer, peer_id_from_text(target.endpoint.relay), target)
        try:
            endpoints = await self._resolve(target.endpoint, target.is_hearsay)
        except OSError:
            return None
        resolved = [replace(target, endpoint=one) for one in endpoints]
        dial = partial(self._dial_endpoint, peer, target)
        if len(resolved) == 1:
            return await dial(resolved[0])
        return await Race(self._nursery, dial, _discard).run(plan(resolved))

    async def _dial_through(self, peer: bytes, relay: bytes, target: Target) -> Made | None:
        """Dial a relay, unless there is a connection with it, and then the circuit."""
        began = trio.current_time()
        if self._open_circuit is None or relay in (peer, self._own_peer):
            return None
        connection = self.direct(relay) or await self._dial_relay(relay, target)
        if connection is None:
            return None
        try:
            through = await self._open_circuit(connection, peer)
        except Exception:  # as in _dial_endpoint
            return None
        self._dialled.note(through, target.endpoint)
        return Made(through, target, trio.current_time() - began)

    async def _dial_relay(self, relay: bytes, target: Target) -> Any | None:
        """Return a connection with the relay of a target: that of a dial under way, or a new one."""
        endpoint = target.endpoint.direct
        await self._relay_dials.wait(relay, endpoint)
        connection = self.direct(relay)
        if connection is not None:
            return connection
        with self._relay_dials.entered(relay, endpoint):
            made = await self._dial(
                relay, Target(endpoint, target.is_hearsay, leaves_from_listening_port=True)
            )
        return None if made is None else made.connection

    async def _dial_address(self, peer: ID, target: Target) -> Any:
        """Let the library dial one address; from any port where the one that is listened on does not do."""
        address = _with_peer(target.endpoint, peer)
        source = self._source_of(target.endpoint.family) if target.leaves_from_listening_port else None
        if source is None or target.endpoint.transport != "tcp":
            return await self._network.dial_addr(address, peer)
        try:
            connection = await self._network.dial_addr(address, peer, source)
        except Exception:  # a connection from there to the relay may just have ended, for example
            return await self._network.dial_addr(address, peer)
        self._dialled.note_listening_port(connection)
        return connection

    async def _dial_endpoint(self, peer: bytes, target: Target, resolved: Target) -> Made | None:
        """Dial one IP address of a target."""
        endpoint = resolved.endpoint
        began = trio.current_time()
        self._about_to_dial(endpoint, resolved.leaves_from_listening_port)
        try:
            connection = await self._dial_address(ID(peer), resolved)
        except Exception as error:  # the library raises many types; all mean: not by this address
            self._observe(endpoint.transport, trio.current_time() - began, False)
            answered = peer_that_answered(error)
            if answered is not None:
                self._other_peer_answered(peer, endpoint, answered)
            return None
        if connection.muxed_conn.peer_id.to_bytes() != peer:
            await close_connection(connection)
            return None
        took = trio.current_time() - began
        self._observe(endpoint.transport, took, True)
        self._dialled.note(connection, target.endpoint)
        return Made(connection, target, took)

    async def _resolve(self, target: Endpoint, is_hearsay: bool = False) -> list[Endpoint]:
        """Return the IP addresses of a target, at most four of a name, that the node may dial.

        With --offline these are loopback's, with --lan-only the local network's. A name that is hearsay leads
        to public addresses only. A link-local address is found behind its interface, or behind each.
        """
        if self._offline:
            return [target] if target.ip is not None and target.ip.is_loopback else []
        if target.ip is not None:
            found = addresses.with_zones(target)
        else:
            infos = await self._resolver.resolve(target.host, target.port, is_hearsay=is_hearsay)
            ips = dict.fromkeys(ipaddress.ip_address(str(info[4][0]).partition("%")[0]) for info in infos)
            versions = {"dns4": (4,), "dns6": (6,)}.get(target.family, (4, 6))
            ips_of_family = [ip for ip in ips if ip.version in versions]
            found = [target.with_ip(ip) for ip in ips_of_family if not is_hearsay or is_public(ip)][:4]
        if self._lan_only:
            found = [one for one in found if one.ip is not None and addresses.is_local_network(one.ip)]
        return found


def _target(endpoint: Endpoint, is_hearsay: bool = False) -> Target:
    return Target(endpoint, is_hearsay, "direct" if endpoint.relay is None else "relayed")


def _with_peer(endpoint: Endpoint, peer: ID) -> Multiaddr:
    """Return what the library dials."""
    return with_zone(f"{endpoint.with_zone('')}/p2p/{peer}", endpoint.zone)


async def _discard(made: Made) -> None:
    await close_connection(made.connection)
