"""All of this node's reachability but its I/O: evidence goes in, checks and what may be said come out.

Owns which addresses may be this node's, and which of those that others named or a gateway gave are believed.
Sans-IO: watch.py drives it, and tests do. Implements docs/protocol.md, "Reachability".
"""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import msgspec

from ....messages.to_swarm import (
    MappedSince,
    ReachabilityEvidence,
    ReachedAnswer,
    SeenFrom,
    UnaskedConnection,
)
from ....messages.types import Instant, Reachability
from ..dial.addresses import Endpoint, IpAddress, block_of, ip_of, parse
from ..dial.hearsay import is_public
from .checks import DOUBTED_S, Check, Checks, Outcome
from .contacts import Contacts, Port
from .judgement import UNSOLICITED_S, judge
from .observed import Observed

CHECKED_TRANSPORTS = ("tcp", "quic")
"""What AutoNAT servers dial."""
MAX_KEPT_ANSWERS, MAX_KEPT_SEEN, MAX_KEPT_NETWORKS = 64, 32, 64
"""Over a restart of the actor, as much as its message takes."""

_Kept = TypeVar("_Kept", ReachedAnswer, SeenFrom, UnaskedConnection, MappedSince)


class ReachabilityCore:
    """The evidence of one node.

    `listening` are its endpoints, with 0.0.0.0 and :: as they are; `announced` those that it tells others.
    `is_configured`: the user has said which these are, so that no others are added. `interfaces` returns the
    addresses of this host.
    """

    def __init__(
        self,
        listening: Sequence[Endpoint],
        announced: Sequence[Endpoint],
        interfaces: Callable[[], Iterable[IpAddress]],
        *,
        is_configured: bool = False,
    ) -> None:
        self._listening = [one for one in listening if one.transport in CHECKED_TRANSPORTS]
        self._announced = [one for one in announced if one.transport in CHECKED_TRANSPORTS]
        self._interfaces = interfaces
        self._is_configured = is_configured
        self._contacts = Contacts()
        self._observed = Observed()
        self._checks = Checks(
            lambda host, endpoint, now: self._contacts.is_closed(host, _port_of(endpoint), now)
        )
        self._unsolicited: dict[tuple[str, str], Instant] = {}
        """By transport and IP version: when a connection last came from where nothing had been sent."""
        self._mappings: dict[Endpoint, Instant] = {}
        """What a gateway says that it has opened, and since when."""

    # Evidence

    def dialled(self, host: str, now: Instant, opened: Port | None = None) -> None:
        """Something is sent to `host`; `opened`: from that port on which this node listens."""
        self._contacts.note(host, now, opened)

    def accepted(self, host: str, endpoint: Endpoint, now: Instant) -> bool:
        """A peer at `host` has connected to this node at a listening endpoint; return whether unasked."""
        ip = ip_of(host)
        is_unasked = (
            ip is not None
            and is_public(ip)
            and self._contacts.is_untouched(host, now)
            and block_of(host) not in self._own_blocks(now)
        )
        if is_unasked:
            self._unsolicited[endpoint.transport, endpoint.family] = now
        self._contacts.note(host, now, _port_of(endpoint))
        return is_unasked

    def seen_as(self, observer: str, seen: Endpoint, now: Instant, *, from_listening_port: bool) -> None:
        """A peer at `observer`, to which this node has connected, says that it came from `seen`."""
        ip, observer_ip = seen.ip, ip_of(observer)
        if ip is None or observer_ip is None or not is_public(ip) or not is_public(observer_ip):
            return
        if ip.version == observer_ip.version:
            self._observed.note(observer, seen, now, from_listening_port=from_listening_port)

    def set_mappings(self, mappings: Sequence[Endpoint], now: Instant) -> None:
        """Set what the gateway has opened for this node."""
        self._mappings = {one: self._mappings.get(one, now) for one in mappings}

    def add_server(self, peer: bytes, host: str) -> None:
        """A peer at `host` serves AutoNAT."""
        self._checks.add_server(peer, host)

    def remove_server(self, peer: bytes) -> None:
        """It does no more."""
        self._checks.remove_server(peer)

    def network_changed(self, announced: Sequence[Endpoint]) -> None:
        """Begin anew: other addresses, another NAT."""
        self._announced = [one for one in announced if one.transport in CHECKED_TRANSPORTS]
        self._observed.clear()
        self._checks.clear()
        self._unsolicited.clear()

    def interrupted(self, connected: Iterable[str], now: Instant) -> None:
        """Have everything proved again: this host was away from its network, or is in one that looks alike.

        What peers have seen is left of those at whose IP addresses there still are connections.
        """
        self._observed.keep_only([block_of(host) for host in connected])
        self._checks.doubt(now)
        doubted = now - UNSOLICITED_S + DOUBTED_S
        self._unsolicited = {key: min(at, doubted) for key, at in self._unsolicited.items()}

    def kept(self, network: Iterable[str]) -> ReachabilityEvidence:
        """Return the evidence in this network, the newest if there is much, to outlive this process."""
        answers = sorted(self._checks.kept(), key=lambda one: one.at)[-MAX_KEPT_ANSWERS:]
        return ReachabilityEvidence(
            network=tuple(sorted(network))[:MAX_KEPT_NETWORKS],
            answers=tuple(answers),
            seen=tuple(self._observed.kept()[-MAX_KEPT_SEEN:]),
            unasked=tuple(UnaskedConnection(*key, at) for key, at in self._unsolicited.items()),
            mapped=tuple(MappedSince(str(one), at) for one, at in self._mappings.items()),
        )

    def resume(self, kept: ReachabilityEvidence, now: Instant) -> None:
        """Take up what a former process knew in the same network, and nothing of the future.

        Raises AddressError if that process has kept rubbish.
        """
        self._checks.resume(_not_after(kept.answers, now))
        self._observed.resume(_not_after(kept.seen, now))
        self._unsolicited = {(one.transport, one.family): one.at for one in _not_after(kept.unasked, now)}
        self._mappings = {parse(one.endpoint): one.at for one in _not_after(kept.mapped, now)}

    # Checks

    def begin_checks(self, now: Instant) -> list[Check]:
        """Return the checks to begin now; each has to be ended."""
        self._checks.set_candidates(self.candidates(now))
        return self._checks.begin(now)

    def end_check(self, check: Check, outcome: Outcome, now: Instant) -> None:
        """Note what became of a check."""
        self._checks.end(check, outcome, now)

    def wake_at(self, now: Instant) -> Instant:
        """Return when a check is due, or something that was believed is not any more."""
        ends = (at + UNSOLICITED_S for at in self._unsolicited.values())
        return min([self._checks.wake_at(now), *(end for end in ends if end > now)])

    def candidates(self, now: Instant) -> list[Endpoint]:
        """Return the public addresses that may be this node's, the most likely first."""
        found = [one for one in self._announced if one.ip is not None and is_public(one.ip)]
        if not self._is_configured:
            found += self._mappings
            found += [
                listening.with_ip(ip)
                for ip in self._observed.hosts(now)
                for listening in self._listening
                if listening.ip is not None
                and listening.ip.is_unspecified
                and listening.ip.version == ip.version
            ]
            found += self._observed.mapped(now)
        return list(dict.fromkeys(found))

    # What may be said

    def state(self, now: Instant) -> Reachability:
        """Return from where this node can be reached, as far as it is known."""
        is_reached = bool(self._checks.reachable(now)) or any(
            now - at < UNSOLICITED_S for at in self._unsolicited.values()
        )
        return judge(is_reached=is_reached, mapping=self._observed.mapping(now))

    def confirmed(self, now: Instant) -> tuple[Endpoint, ...]:
        """Return the addresses that may be announced beside those of the interfaces."""
        if self._is_configured:
            return ()
        reachable = self._checks.reachable(now)
        believed = [one for one, since in self._mappings.items() if self._is_vouched_for(one, since, now)]
        found = dict.fromkeys([*reachable, *believed])
        return tuple(one for one in found if one not in self._announced)

    def offers(self, now: Instant) -> tuple[Endpoint, ...]:
        """Return where a peer that dials at the same time may reach this node, the most likely first.

        One observer is enough for that, and where none has seen a listening port, it is supposed that the NAT
        keeps it: a wrong address costs the peer some packets.
        """
        announced = [one for one in self._announced if one.ip is not None and is_public(one.ip)]
        if self._is_configured and announced:
            return tuple(announced)
        seen = self._observed.likely(now)
        kept = [
            listening.with_ip(ip)
            for ip in self._observed.likely_hosts(now)
            for listening in self._listening
            if listening.ip is not None
            and listening.ip.version == ip.version
            and not any((one.transport, one.ip) == (listening.transport, ip) for one in seen)
        ]
        return tuple(dict.fromkeys([*self.confirmed(now), *announced, *seen, *kept]))

    def _is_vouched_for(self, mapping: Endpoint, since: Instant, now: Instant) -> bool:
        """Return whether an unsolicited connection has come since the gateway has opened this port."""
        came = self._unsolicited.get((mapping.transport, mapping.family))
        return came is not None and came >= since and now - came < UNSOLICITED_S

    def _own_blocks(self, now: Instant) -> set[str | None]:
        ips = [*self._interfaces(), *self._observed.all_hosts(now)]
        return {block_of(str(ip)) for ip in ips}


def _port_of(endpoint: Endpoint) -> Port:
    return "udp" if endpoint.is_udp else "tcp"


def _not_after(kept: Iterable[_Kept], now: Instant) -> list[_Kept]:
    return [msgspec.structs.replace(one, at=min(one.at, now)) for one in kept]
