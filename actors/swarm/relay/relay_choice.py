"""Which relays this node keeps reservations at: two, in different address blocks. Pure.

Candidates are relays that the configuration names, and DHT servers that offer to relay. A reservation is
renewed when three quarters of its life are over. When one is lost, the next candidate is asked at once, and
the lost one again with growing pauses, which stay short while there is no reservation at all: nobody reaches
this node then, and that a line or a relay is back makes no event here. Owns these times and the addresses
that lead here through relays; never asks anybody: client.py does. Implements docs/protocol.md, "Relays".
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ....messages.types import Instant, PeerAddresses

MAX_KEPT = 2
MAX_FOUND = 32
MIN_LIFE_S, MAX_LIFE_S = 60.0, 3600.0
"""What a reservation counts as living, whatever the relay's clock makes of it."""
RENEWAL_SHARE = 0.75
FIRST_PAUSE_S, MAX_PAUSE_S = 0.25, 30.0
"""Between tries at one relay, doubled each time."""
MAX_PAUSE_ALONE_S = 3.0
"""The same while there is no reservation, for a relay of the configuration or one at which there was one. A
dial to one that is silent takes ten seconds besides, whose last packet leaves after seven."""
REFUSED_PAUSE_S = 300.0
"""Before a relay is asked again that was found and cannot be used: full, or in the block of the other."""
STEADY_S = 30.0
"""Who kept a reservation so long is tried again without a long pause."""


@dataclass(slots=True)
class _Relay:
    peer: bytes
    addresses: tuple[str, ...]
    is_configured: bool
    address_block: str | None = None
    hearsay: tuple[str, ...] = ()
    """Those of the addresses that only others, or the memory of another network, have named."""
    is_remembered: bool = False
    is_being_asked: bool = False
    has_granted: bool = False
    is_away: bool = False
    """It was not reached when it was asked last."""
    failures: int = 0
    """Times that it was asked in vain since it has granted something."""
    losses: int = 0
    """Reservations in a row that did not last."""
    ask_at: Instant = 0.0
    granted_at: Instant = 0.0
    ends_at: Instant = 0.0
    """0: there is no reservation."""
    renews_at: Instant = 0.0
    circuits: tuple[str, ...] = ()

    @property
    def is_kept(self) -> bool:
        return self.ends_at > 0.0

    @property
    def faults(self) -> int:
        return self.failures + self.losses


class RelayChoice:
    """The candidates of one node, and which of them are kept."""

    def __init__(self, configured: Sequence[PeerAddresses]) -> None:
        self._relays = {one.peer: _Relay(one.peer, one.addresses, True) for one in configured}
        self.wants_found = False
        """Whether relays are used that nobody has configured: this node is not reachable otherwise."""

    @property
    def kept(self) -> list[bytes]:
        """The relays at which there is a reservation."""
        return [relay.peer for relay in self._relays.values() if relay.is_kept]

    @property
    def circuits(self) -> tuple[str, ...]:
        """The addresses that lead here: of each relay the first one, then of each the second, and so on."""
        by_relay = [relay.circuits for relay in self._relays.values() if relay.is_kept]
        most = max(map(len, by_relay), default=0)
        ordered = [of_one[place] for place in range(most) for of_one in by_relay if place < len(of_one)]
        return tuple(dict.fromkeys(ordered))

    def keeps(self, peer: bytes) -> bool:
        """Return whether there is a reservation at this relay."""
        relay = self._relays.get(peer)
        return relay is not None and relay.is_kept

    def joined(self, relay: PeerAddresses, address_block: str | None, now: Instant) -> None:
        """Take up a DHT server that offers to relay, with which there is a connection now.

        One that was away is not any more: it is asked at once.
        """
        self.found(relay, address_block)
        known = self._relays.get(relay.peer)
        if known is not None and known.is_away:
            known.is_away, known.ask_at = False, min(known.ask_at, now)

    def found(self, relay: PeerAddresses, address_block: str | None) -> None:
        """Take up a relay, or its new addresses."""
        known = self._relays.get(relay.peer)
        if known is not None:
            if not known.is_configured:
                known.addresses, known.hearsay = relay.addresses, relay.hearsay
            return
        found = [one for one in self._relays.values() if not one.is_configured]
        if len(found) >= MAX_FOUND:
            worst = max(found, key=lambda one: (not (one.is_kept or one.is_being_asked), one.faults))
            if worst.is_kept or worst.is_being_asked or not worst.faults:
                return
            del self._relays[worst.peer]
        self._relays[relay.peer] = _Relay(relay.peer, relay.addresses, False, address_block, relay.hearsay)

    def remembered(self, relay: PeerAddresses, address_block: str | None) -> None:
        """Take up a relay that was of use before: it is tried before others that nobody has configured."""
        self.found(relay, address_block)
        if relay.peer in self._relays:
            self._relays[relay.peer].is_remembered = True

    def poll(self, now: Instant) -> list[PeerAddresses]:
        """Return the relays to ask for a reservation now; each waits for `granted` or `refused`."""
        for relay in self._relays.values():
            if relay.is_kept and relay.ends_at <= now:
                self._end(relay)
        if not self.kept:
            self._shorten_pauses(now)
        asked = [one for one in self._relays.values() if self._is_due(one, now)]
        for relay in asked:
            relay.is_being_asked = True
        while (relay_or_none := self._next_candidate(now)) is not None:
            relay_or_none.is_being_asked = True
            asked.append(relay_or_none)
        return [PeerAddresses(relay.peer, relay.addresses, relay.hearsay) for relay in asked]

    def wake_at(self) -> Instant:
        """Return when `poll` has something to do without any event; inf: never."""
        times = [
            min(one.renews_at, one.ends_at)
            for one in self._relays.values()
            if one.is_kept and not one.is_being_asked
        ]
        if self._has_room():
            times += [one.ask_at for one in self._relays.values() if self._is_candidate(one)]
        return min(times, default=math.inf)

    def granted(
        self, peer: bytes, address_block: str | None, circuits: Sequence[str], life_s: float, now: Instant
    ) -> bool:
        """Note a reservation; return False if it is of no use: the other one is in the same address block."""
        relay = self._relays[peer]
        relay.is_being_asked = relay.is_away = False
        relay.address_block = address_block
        if not relay.is_configured and self._shares_block(relay):
            self._end(relay)
            relay.ask_at = now + REFUSED_PAUSE_S
            return False
        life = min(max(life_s, MIN_LIFE_S), MAX_LIFE_S)
        if not relay.is_kept:
            relay.granted_at, relay.failures = now, 0
        relay.ends_at, relay.renews_at = now + life, now + life * RENEWAL_SHARE
        relay.circuits, relay.has_granted = tuple(circuits), True
        return True

    def refused(self, peer: bytes, now: Instant, *, for_long: bool = False) -> None:
        """Note that a relay has granted nothing; `for_long`: it has said so, or is of no use."""
        relay = self._relays[peer]
        relay.is_being_asked = False
        relay.is_away = not for_long
        relay.failures += 1
        if relay.is_kept and now < relay.ends_at:
            # It could not be renewed. It holds until its end, and is tried again meanwhile.
            relay.renews_at = now + self._pause_after_failure(relay)
            return
        self._end(relay)
        relay.ask_at = now + (
            REFUSED_PAUSE_S if for_long and not relay.is_configured else self._pause_after_failure(relay)
        )

    def lost(self, peer: bytes, now: Instant) -> bool:
        """Note that no connection with a relay is left; return whether a reservation was lost by it."""
        relay = self._relays.get(peer)
        if relay is None or not relay.is_kept:
            return False
        relay.losses = 0 if now - relay.granted_at >= STEADY_S else relay.losses + 1
        self._end(relay)
        relay.ask_at = now + _pause(relay.losses, MAX_PAUSE_S)
        return True

    def begin_anew(self, now: Instant) -> None:
        """Ask at once where a pause was kept, and renew what there is: this host is in another network."""
        for relay in self._relays.values():
            if relay.is_kept:
                relay.renews_at = min(relay.renews_at, now)
            elif relay.is_configured or relay.faults:
                relay.ask_at, relay.failures, relay.losses = min(relay.ask_at, now), 0, 0

    def _shorten_pauses(self, now: Instant) -> None:
        """There is no reservation any more: what was asked seldom, because there was one, is asked often."""
        for relay in self._relays.values():
            if relay.is_away and self._is_trusted(relay):
                relay.ask_at = min(relay.ask_at, now + MAX_PAUSE_ALONE_S)

    def _is_due(self, relay: _Relay, now: Instant) -> bool:
        return relay.is_kept and not relay.is_being_asked and relay.renews_at <= now

    def _has_room(self) -> bool:
        return sum(one.is_kept or one.is_being_asked for one in self._relays.values()) < MAX_KEPT

    def _is_candidate(self, relay: _Relay) -> bool:
        if relay.is_kept or relay.is_being_asked:
            return False
        return relay.is_configured or (self.wants_found and not self._shares_block(relay))

    def _next_candidate(self, now: Instant) -> _Relay | None:
        if not self._has_room():
            return None
        ready = [one for one in self._relays.values() if self._is_candidate(one) and one.ask_at <= now]
        return min(
            ready, key=lambda one: (not one.is_configured, one.faults, not one.is_remembered), default=None
        )

    def has_held(self, peer: bytes, now: Instant) -> bool:
        """Return whether there has been a reservation at this relay for a while."""
        relay = self._relays.get(peer)
        return relay is not None and relay.is_kept and now - relay.granted_at >= STEADY_S

    def _shares_block(self, relay: _Relay) -> bool:
        return relay.address_block is not None and any(
            one.address_block == relay.address_block and (one.is_kept or one.is_being_asked)
            for one in self._relays.values()
            if one is not relay
        )

    @staticmethod
    def _end(relay: _Relay) -> None:
        relay.ends_at = relay.renews_at = 0.0
        relay.circuits = ()

    @staticmethod
    def _is_trusted(relay: _Relay) -> bool:
        """Whether a relay is worth being asked often while there is none."""
        return relay.is_configured or relay.has_granted

    def _pause_after_failure(self, relay: _Relay) -> float:
        is_seldom = bool(self.kept) or not self._is_trusted(relay)
        return _pause(relay.failures, MAX_PAUSE_S if is_seldom else MAX_PAUSE_ALONE_S)


def _pause(times: int, longest: float) -> float:
    return min(FIRST_PAUSE_S * 2.0 ** min(times, 16), longest)
