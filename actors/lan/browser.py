"""What this node asks on the LAN: who shows a code that was entered here (RFC 6762, section 5.2).

It asks for the service, never for a code: so nobody learns from the question which code was entered. For the
same reason it names no answers that it knows already (section 7.1); the pauses between its questions are
doubled each time instead. No cache is kept: what is not about a code that is looked for is forgotten at once.

Owns the questions' times, and what has been reported. Sans-IO: `poll` returns what to send.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from ...messages.to_discovery import LanPeer
from ...messages.types import Instant, PeerAddresses
from .dns_messages import PTR, TXT, DnsMessage, Pointer, Question, Text, query
from .interfaces import Interface
from .packets import Packet, Place
from .service import SERVICE, instance_name, instance_of, read_peer

FIRST_PAUSE_SECONDS = 1.0
MAX_PAUSE_SECONDS = 3600.0
"""Between two questions: doubled each time."""
FIRST_DELAYS_SECONDS = (0.02, 0.12)
"""Before the first question on an interface that has just come up, as it may have for others too."""
MAX_DEVICES_PER_SOURCE = 4
MAX_DEVICES = 64
MAX_REPORTS_OF_DEVICE = 4
"""Of one code: devices of one IP address, devices in all, and reports of one with ever other addresses."""
MAX_QUESTIONS_FOR_TEXT = 4
"""About one code on one interface, to a responder that says that the code is shown, and not by whom."""


@dataclass(slots=True)
class _Search:
    """One code that is looked for."""

    found: dict[tuple[bytes, bytes], list[PeerAddresses]] = field(default_factory=dict)
    """By IP address and peer id: what has been reported."""
    texts_asked: dict[int, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Questions:
    """The question on one interface."""

    next_at: Instant
    pause: float = FIRST_PAUSE_SECONDS
    asked_at: Instant = -math.inf
    unicast: bool = True
    """The first time an answer to this node alone will do (section 5.4)."""
    texts: dict[str, None] = field(default_factory=dict)
    """Codes whose TXT record is to be asked for."""


@dataclass(slots=True)
class Browser:
    """The codes that are looked for. `random` returns a number from 0 to 1."""

    random: Callable[[], float]
    _searches: dict[str, _Search] = field(default_factory=dict)
    _interfaces: dict[int, Interface] = field(default_factory=dict)
    _questions: dict[int, _Questions] = field(default_factory=dict)

    @property
    def instances(self) -> frozenset[str]:
        """The codes that are looked for."""
        return frozenset(self._searches)

    def browse(self, instance: str, now: Instant) -> None:
        """Look for a code from now on; begin anew if that is done already."""
        self._searches[instance] = _Search()
        for index, questions in self._questions.items():
            earliest = max(now, questions.asked_at + FIRST_PAUSE_SECONDS)
            self._questions[index] = _Questions(earliest, asked_at=questions.asked_at)

    def stop(self, instance: str) -> None:
        """Do not look for a code any more."""
        self._searches.pop(instance, None)

    def set_interfaces(self, interfaces: Iterable[Interface], now: Instant) -> None:
        """Ask on these interfaces; anew on those that are new or have other addresses."""
        former, first = self._interfaces, not self._interfaces
        self._interfaces = {interface.index: interface for interface in interfaces}
        for index in former.keys() - self._interfaces.keys():
            del self._questions[index]
        for index, interface in self._interfaces.items():
            if former.get(index) != interface:
                least, most = FIRST_DELAYS_SECONDS
                # When nothing was known before, the user has just entered a code.
                delay = 0.0 if first else least + (most - least) * self.random()
                self._questions[index] = _Questions(now + delay)

    def handle_response(self, message: DnsMessage, place: Place, now: Instant) -> list[LanPeer]:
        """Return what is new in a response about a code that is looked for."""
        interface = self._interfaces.get(place.interface)
        if interface is None:
            return []
        reports = []
        told = {record.name for record in message.records if isinstance(record, Text)}
        for record in message.records:
            if not record.ttl:
                continue
            if isinstance(record, Pointer):
                if record.name == SERVICE and record.target not in told:
                    self._ask_for_text(record, place.interface, now)
                continue
            instance = instance_of(record.name)
            search = self._searches.get(instance) if instance is not None else None
            if search is None or instance is None:
                continue
            named = read_peer(record.strings, place.ip, interface)
            if named is not None and _is_news(search, place.ip.packed, named):
                reports.append(LanPeer(instance, place.ip.packed, named))
        return reports

    def poll(self, now: Instant) -> list[Packet]:
        """Return what to send now."""
        packets: list[Packet] = []
        if not self._searches:
            return packets
        for index, questions in self._questions.items():
            if questions.next_at > now:
                continue
            asked = [Question(SERVICE, PTR, questions.unicast)]
            asked += [Question(instance_name(instance), TXT) for instance in questions.texts]
            packets.append(Packet(index, query(asked)))
            questions.texts.clear()
            questions.asked_at, questions.unicast = now, False
            questions.next_at = now + questions.pause
            questions.pause = min(questions.pause * 2, MAX_PAUSE_SECONDS)
        return packets

    def wake_at(self) -> Instant:
        """Return when `poll` has something to do; inf: never."""
        if not self._searches:
            return math.inf
        return min((questions.next_at for questions in self._questions.values()), default=math.inf)

    def _ask_for_text(self, record: Pointer, index: int, now: Instant) -> None:
        instance = instance_of(record.target)
        search = self._searches.get(instance) if instance is not None else None
        if search is None or instance is None:
            return
        asked = search.texts_asked.get(index, 0)
        if asked >= MAX_QUESTIONS_FOR_TEXT:
            return
        search.texts_asked[index] = asked + 1
        questions = self._questions[index]
        questions.texts[instance] = None
        questions.next_at = min(questions.next_at, max(now, questions.asked_at + FIRST_PAUSE_SECONDS))


def _is_news(search: _Search, source: bytes, named: PeerAddresses) -> bool:
    """Return whether to report what a source says; if so it counts."""
    key = source, named.peer
    reported = search.found.get(key, [])
    if named in reported or len(reported) >= MAX_REPORTS_OF_DEVICE:
        return False
    if not reported:
        of_source = sum(one == source for one, _peer in search.found)
        if of_source >= MAX_DEVICES_PER_SOURCE or len(search.found) >= MAX_DEVICES:
            return False
    search.found[key] = [*reported, named]
    return True
