"""What a relay grants: to whom reservations, how many circuits at once, how much through each. Pure.

Owns the tables of a relay service. Both ends of a circuit are counted, and the address block of the end that
has asked for it. A circuit is an entry of its own: the end of one says nothing about another between the
same peers. Implements docs/protocol.md, "Relays" and "Limits".
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from ....messages.types import Instant
from ..dial import addresses
from .messages import Limit


@dataclass(frozen=True, slots=True)
class ServiceLimits:
    """The limits of a relay service; a pairing takes some 20 KiB and, with slow users, five minutes."""

    duration_s: int = 300
    data_bytes: int = 1024 * 1024
    """In each direction."""
    reservation_life_s: int = 3600
    reservations: int = 128
    reservations_per_block: int = 4
    circuits: int = 64
    circuits_per_peer: int = 8
    circuits_per_block: int = 16

    @property
    def of_circuit(self) -> Limit:
        """What clients are told of each circuit."""
        return Limit(self.duration_s, self.data_bytes)


@dataclass(frozen=True, slots=True)
class _Reserved:
    address_block: str | None
    expires_at: Instant


class Reservations:
    """Which peers may be reached through this relay. One that has disconnected may not any more."""

    def __init__(self, limits: ServiceLimits) -> None:
        self._limits = limits
        self._held: dict[bytes, _Reserved] = {}

    def __len__(self) -> int:
        return len(self._held)

    def reserve(self, peer: bytes, address_block: str | None, now: Instant) -> bool:
        """Grant or renew the reservation of a peer; return whether there is room for it."""
        self.expire(now)
        former = self._held.pop(peer, None)
        if former is None and not self._has_room(address_block):
            return False
        self._held[peer] = _Reserved(address_block, now + self._limits.reservation_life_s)
        return True

    def remove(self, peer: bytes) -> None:
        """End a reservation, if there is one."""
        self._held.pop(peer, None)

    def holds(self, peer: bytes, now: Instant) -> bool:
        """Return whether a peer may be reached now."""
        reserved = self._held.get(peer)
        return reserved is not None and reserved.expires_at > now

    def expire(self, now: Instant) -> None:
        """Forget what has run out."""
        for peer in [peer for peer, reserved in self._held.items() if reserved.expires_at <= now]:
            del self._held[peer]

    def _has_room(self, address_block: str | None) -> bool:
        if len(self._held) >= self._limits.reservations:
            return False
        # Many nodes may run on one host, so loopback has no bound of its own.
        of_block = sum(one.address_block == address_block for one in self._held.values())
        return of_block < self._limits.reservations_per_block or addresses.is_loopback_block(address_block)


@dataclass(eq=False, slots=True)
class Circuit:
    """One circuit, from the peer that asked for it, in a block, to the peer that has the reservation."""

    source: bytes
    source_block: str | None
    target: bytes
    expires_at: Instant
    give_way: Callable[[], None] = lambda: None
    """Ends it; called when another one gets its place."""


class Circuits:
    """The circuits that there are, or that are being set up."""

    def __init__(self, limits: ServiceLimits) -> None:
        self._limits = limits
        self._open: dict[Circuit, None] = {}
        """In the order in which they came."""

    def __len__(self) -> int:
        return len(self._open)

    def begin(self, source: bytes, source_block: str | None, target: bytes, now: Instant) -> Circuit | None:
        """Count one more circuit; None when there are enough.

        Where the target has enough, one of the address block that has most of these makes room, the last that
        came. But not for a block that would have as many then.
        """
        of_peer = Counter(peer for one in self._open for peer in (one.source, one.target))
        of_block = sum(one.source_block == source_block for one in self._open)
        if len(self._open) >= self._limits.circuits or of_peer[source] >= self._limits.circuits_per_peer:
            return None
        if of_block >= self._limits.circuits_per_block and not addresses.is_loopback_block(source_block):
            return None
        if of_peer[target] >= self._limits.circuits_per_peer and not self._make_room(target, source_block):
            return None
        circuit = Circuit(source, source_block, target, now + self._limits.duration_s)
        self._open[circuit] = None
        return circuit

    def end(self, circuit: Circuit) -> None:
        """A circuit has ended, or did not come about."""
        self._open.pop(circuit, None)

    def _make_room(self, target: bytes, newcomer: str | None) -> bool:
        """End a circuit with a peer for one of a newcomer's block; return whether there was one."""
        circuits = [one for one in self._open if target in (one.source, one.target)]
        blocks = Counter(one.source_block for one in circuits)
        most = max(blocks, key=blocks.__getitem__)
        if blocks[most] <= blocks[newcomer] + 1:
            return False
        evicted = [one for one in circuits if one.source_block == most][-1]
        self.end(evicted)
        evicted.give_way()
        return True


class Allowance:
    """What may still pass in one direction of a circuit."""

    def __init__(self, limits: ServiceLimits, count: Callable[[int], None] = lambda _bytes: None) -> None:
        self._left = limits.data_bytes
        self._count = count

    @property
    def left(self) -> int:
        """How many bytes may still pass; 0: the circuit has to end."""
        return self._left

    def spend(self, size: int) -> None:
        """Count bytes that pass."""
        self._left = max(self._left - size, 0)
        self._count(size)
