"""All of this actor but its I/O: messages, packets and interfaces go in, packets and messages come out.

Owns which codes are announced and looked for, by the word of discovery. When discovery is started again, what
it does not repeat within a few seconds has ended meanwhile. Sans-IO: actor.py drives it, and tests do.
"""

import math
from collections.abc import Callable, Iterable

from ...messages.from_supervisor import ActorRestarted
from ...messages.to_discovery import LanPeer
from ...messages.to_gateway import LanStatus
from ...messages.to_lan import Announce, Browse, LanInbox, StopAnnouncing, StopBrowsing
from ...messages.to_metrics import Observed, Sample
from ...messages.types import Instant
from ...protocol.multiaddrs import IpAddress
from .admission import Admission
from .browser import Browser
from .interfaces import Interface
from .packets import Packet
from .responder import Responder

REPEAT_SECONDS = 5.0
"""For a new incarnation of discovery, to say again what it wants."""
REPORT_INTERVAL_SECONDS = 1.0
"""The least time between two reports to metrics; nothing is reported when nothing has changed."""


class Lan:
    """The state of this actor. Feed it; call `poll` after each, and at `wake_at`."""

    def __init__(self, random: Callable[[], float]) -> None:
        self._admission = Admission()
        self._responder = Responder(random)
        self._browser = Browser(random)
        self._interfaces: tuple[Interface, ...] = ()
        self._unconfirmed: set[tuple[str, str]] = set()
        """What an earlier incarnation of discovery wanted: Announce or Browse, and the instance."""
        self._repeat_until: Instant = math.inf
        self._reported: tuple[dict[str, int], tuple[Sample, ...]] = ({}, ())
        self._has_unreported = False
        self._reported_at: Instant = -math.inf

    @property
    def busy(self) -> bool:
        """Whether a code is announced or looked for: otherwise nothing is to be sent or heard."""
        return bool(self._responder.instances or self._browser.instances)

    def blocked(self, now: Instant) -> tuple[IpAddress, ...]:
        """Return whose packets are to be dropped unseen."""
        self._admission.unblock(now)
        return tuple(self._admission.blocked)

    def handle(self, message: LanInbox, now: Instant) -> None:
        """Handle one message."""
        match message:
            case Announce(instance=instance):
                self._unconfirmed.discard(("Announce", instance))
                self._responder.announce(instance, message.peer, message.listening, now)
            case StopAnnouncing(instance=instance):
                self._responder.withdraw(instance)
            case Browse(instance=instance):
                self._unconfirmed.discard(("Browse", instance))
                self._browser.browse(instance, now)
            case StopBrowsing(instance=instance):
                self._browser.stop(instance)
            case ActorRestarted():
                announced = {("Announce", instance) for instance in self._responder.instances}
                self._unconfirmed = announced | {("Browse", instance) for instance in self._browser.instances}
                self._repeat_until = now + REPEAT_SECONDS

    def handle_packet(
        self, data: bytes, sender: str, port: int, interface: int, now: Instant
    ) -> list[LanPeer]:
        """Handle one packet; return what to tell discovery."""
        admitted = self._admission.admit(data, sender, port, interface, now)
        if admitted is None:
            return []
        place, message = admitted
        if message.response:
            return self._browser.handle_response(message, place, now)
        self._responder.handle_query(message, place, now)
        return []

    def set_interfaces(self, interfaces: Iterable[Interface], now: Instant) -> None:
        """Set the interfaces that multicast now."""
        found = self._interfaces = tuple(interfaces)
        self._admission.set_interfaces(found)
        self._responder.set_interfaces(found, now)
        self._browser.set_interfaces(found, now)

    def heard_on(self) -> tuple[Interface, ...]:
        """Return the interfaces on which something is to be heard: there only need the groups be joined."""
        if self._browser.instances:
            return self._interfaces
        return tuple(one for one in self._interfaces if one.index in self._responder.interfaces)

    def status(self) -> LanStatus:
        """Return what users see of this actor."""
        return LanStatus(bool(self._responder.instances), bool(self._browser.instances), len(self.heard_on()))

    def take_all_back(self) -> None:
        """Announce nothing any more: the node stops. `poll` returns the goodbyes."""
        for instance in self._responder.instances:
            self._responder.withdraw(instance)

    def poll(self, now: Instant) -> list[Packet]:
        """Return what to send now."""
        if now >= self._repeat_until:
            self._repeat_until = math.inf
            for kind, instance in self._unconfirmed:
                (self._responder.withdraw if kind == "Announce" else self._browser.stop)(instance)
            self._unconfirmed.clear()
        return [*self._responder.poll(now), *self._browser.poll(now)]

    def report(self, now: Instant, more: tuple[Sample, ...] = ()) -> Observed | None:
        """Return all counts and `more`, or None if none has changed or the last report is too recent."""
        counts = {str(outcome): count for outcome, count in self._admission.counts.items()}
        state = counts, more
        self._has_unreported = state != self._reported
        if not self._has_unreported or now < self._reported_at + REPORT_INTERVAL_SECONDS:
            return None
        self._has_unreported = False
        self._reported, self._reported_at = state, now
        packets = (Sample("mdns_packets_total", (key,), float(n)) for key, n in counts.items())
        return Observed((*packets, *more))

    def wake_at(self) -> Instant:
        """Return when something is to be done without any event; inf: never."""
        times = [self._responder.wake_at(), self._browser.wake_at(), self._repeat_until]
        times += self._admission.blocked.values()
        if self._has_unreported or self._admission.counts != self._reported[0]:
            times.append(self._reported_at + REPORT_INTERVAL_SECONDS)
        return min(times)
