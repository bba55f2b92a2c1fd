"""What this node says on the LAN: which codes it shows, as a responder of mDNS (RFC 6762, sections 6 to 10).

Each code is announced when it is shown, four times with growing pauses, told to those who ask, and taken back
when it is not shown any more. Its records are shared ones: no probing, and nobody is told to flush a cache.
A name here is the hash of a secret, so nobody has it by accident, and whoever has it on purpose must not be
able to talk this device out of its use (docs/decisions/0010).

Owns what is due on which interface. Sans-IO: `poll` returns what to send.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from ...messages.types import Instant
from .dns_messages import ANY, PTR, TXT, DnsMessage, Name, Pointer, Question, response
from .interfaces import Interface
from .packets import MDNS_PORT, Packet, Place
from .service import (
    SERVICE,
    TTL_SECONDS,
    addresses_on,
    encoded_records,
    instance_name,
    instance_of,
    strings_of,
)
from .token_bucket import TokenBucket

ANNOUNCEMENT_PAUSES_SECONDS = (1.0, 2.0, 4.0)
"""Between the announcements of a code: at least doubled each time (section 8.3)."""
MULTICAST_INTERVAL_SECONDS = 1.0
"""A record is multicast on an interface no sooner than this after the last time (section 6)."""
ANSWER_DELAYS_SECONDS = (0.02, 0.12)
"""Others may answer the same question, so an answer by multicast waits for a time between these."""
LEGACY_TTL_SECONDS = 10
"""For those who ask from another port than that of mDNS, as plain DNS does (section 6.7)."""
MAX_PACKET_BYTES = 1400
MAX_CODES_PER_ANSWER = 32
"""To one device, and at once to all on an interface, who hear of further ones a second later."""
UNICAST_PACKETS_PER_SECOND = 50


@dataclass(slots=True)
class _Code:
    """One code that is shown: by whom, and at which addresses he listens."""

    peer: bytes
    listening: tuple[str, ...]


@dataclass(slots=True)
class _Record:
    """What is said of one code on one interface."""

    strings: tuple[bytes, ...]
    encoded: tuple[bytes, bytes]
    next_announcement: Instant
    announcements: int = 0
    multicast_at: Instant = -math.inf
    due: Instant = math.inf

    def wake_at(self) -> Instant:
        return max(min(self.next_announcement, self.due), self.multicast_at + MULTICAST_INTERVAL_SECONDS)


@dataclass(slots=True)
class Responder:
    """The codes that are shown. `random` returns a number from 0 to 1."""

    random: Callable[[], float]
    _codes: dict[str, _Code] = field(default_factory=dict)
    _interfaces: tuple[Interface, ...] = ()
    _records: dict[tuple[int, str], _Record] = field(default_factory=dict)
    _packets: list[Packet] = field(default_factory=list)
    _goodbyes: dict[int, list[tuple[bytes, bytes]]] = field(default_factory=dict)
    """By interface: what is to be taken back."""
    _turns: dict[int, Instant] = field(default_factory=dict)
    """By interface: when more is multicast, where not all fitted into one turn."""
    _unicast: TokenBucket = field(
        default_factory=lambda: TokenBucket(UNICAST_PACKETS_PER_SECOND, UNICAST_PACKETS_PER_SECOND)
    )
    _turn: int = 0
    """Where the last answer that was too long for one began."""

    @property
    def instances(self) -> frozenset[str]:
        """The codes that are announced."""
        return frozenset(self._codes)

    @property
    def interfaces(self) -> frozenset[int]:
        """The numbers of the interfaces on which something is announced."""
        return frozenset(index for index, _instance in self._records)

    def announce(self, instance: str, peer: bytes, listening: Sequence[str], now: Instant) -> None:
        """Announce a code from now on; nothing changes if that is done already."""
        self._codes[instance] = code = _Code(peer, tuple(listening))
        self._update(instance, code, now)

    def withdraw(self, instance: str) -> None:
        """Take back a code."""
        self._codes.pop(instance, None)
        for key in [key for key in self._records if key[1] == instance]:
            self._take_back(key)

    def set_interfaces(self, interfaces: Iterable[Interface], now: Instant) -> None:
        """Announce on these interfaces, with the addresses that they have now."""
        self._interfaces = tuple(interfaces)
        present = {interface.index for interface in self._interfaces}
        for key in [key for key in self._records if key[0] not in present]:
            del self._records[key]  # nobody there can be told
        for instance, code in self._codes.items():
            self._update(instance, code, now)

    def handle_query(self, message: DnsMessage, place: Place, now: Instant) -> None:
        """Answer a query that came from `place`."""
        known = {
            record.target
            for record in message.records
            if isinstance(record, Pointer) and record.name == SERVICE and record.ttl * 2 >= TTL_SECONDS
        }
        legacy = place.port != MDNS_PORT
        alone: dict[str, _Record] = {}
        for question in message.questions:
            for instance in self._asked(question, place.interface, known):
                record = self._records[place.interface, instance]
                if legacy or question.unicast:
                    alone[instance] = record
                if not legacy and not (question.unicast and now - record.multicast_at < TTL_SECONDS / 4):
                    record.due = min(record.due, now + self._answer_delay())
        if not alone:
            return
        said = (
            encoded_records(instance, record.strings, LEGACY_TTL_SECONDS) if legacy else record.encoded
            for instance, record in self._in_turn(alone)
        )
        id, questions = (message.id, message.questions[:1]) if legacy else (0, ())
        for data in _packed(said, id, questions):
            if self._unicast.take(now):
                self._packets.append(Packet(place.interface, data, place))

    def poll(self, now: Instant) -> list[Packet]:
        """Return what to send now."""
        packets, self._packets = self._packets, []
        for index, goodbyes in self._goodbyes.items():
            packets += [Packet(index, data) for data in _packed(goodbyes)]
        self._goodbyes.clear()
        for interface in self._interfaces:
            if self._turns.get(interface.index, now) <= now:
                packets += [Packet(interface.index, data) for data in self._turn_of(interface.index, now)]
        return packets

    def wake_at(self) -> Instant:
        """Return when `poll` has something to do; inf: never."""
        if self._packets or self._goodbyes:
            return -math.inf
        times = (
            max(record.wake_at(), self._turns.get(index, -math.inf))
            for (index, _instance), record in self._records.items()
        )
        return min(times, default=math.inf)

    def _turn_of(self, interface: int, now: Instant) -> list[bytes]:
        """Return the packets to multicast on an interface: those first of which it has heard longest ago."""
        due = [
            record
            for (index, _instance), record in self._records.items()
            if index == interface and record.wake_at() <= now
        ]
        due.sort(key=lambda record: record.multicast_at)
        for record in due[:MAX_CODES_PER_ANSWER]:
            if record.next_announcement <= now:
                _count_announcement(record, now)
            record.multicast_at, record.due = now, math.inf
        if len(due) > MAX_CODES_PER_ANSWER:
            self._turns[interface] = now + MULTICAST_INTERVAL_SECONDS
        else:
            self._turns.pop(interface, None)
        return list(_packed(record.encoded for record in due[:MAX_CODES_PER_ANSWER]))

    def _asked(self, question: Question, interface: int, known: set[Name]) -> list[str]:
        """Return the codes that answer a question on an interface."""
        there = [instance for index, instance in self._records if index == interface]
        if question.name == SERVICE and question.type in (PTR, ANY):
            return [instance for instance in there if instance_name(instance) not in known]
        instance = instance_of(question.name)
        return [instance] if instance in there and question.type in (TXT, ANY) else []

    def _in_turn(self, asked: dict[str, _Record]) -> list[tuple[str, _Record]]:
        """Return what was asked for, from another place each time: not all may fit into an answer."""
        found = list(asked.items())
        self._turn = (self._turn + len(found) // 2 + 1) % len(found)
        return (found[self._turn :] + found[: self._turn])[:MAX_CODES_PER_ANSWER]

    def _answer_delay(self) -> float:
        least, most = ANSWER_DELAYS_SECONDS
        return least + (most - least) * self.random()

    def _update(self, instance: str, code: _Code, now: Instant) -> None:
        """Bring what is said of a code on each interface in line with the addresses there."""
        for interface in self._interfaces:
            key = interface.index, instance
            addresses = addresses_on(interface, code.listening)
            strings = strings_of(code.peer, addresses) if addresses else ()
            former = self._records.get(key)
            if (former.strings if former is not None else ()) == strings:
                continue
            if former is not None:
                self._take_back(key)
            if strings:
                self._records[key] = _Record(strings, encoded_records(instance, strings), now)

    def _take_back(self, key: tuple[int, str]) -> None:
        """Say goodbye to what has been said of one code on one interface (section 10.1)."""
        interface, instance = key
        record = self._records.pop(key)
        if record.multicast_at > -math.inf:
            self._goodbyes.setdefault(interface, []).append(encoded_records(instance, record.strings, ttl=0))


def _count_announcement(record: _Record, now: Instant) -> None:
    pauses = ANNOUNCEMENT_PAUSES_SECONDS
    done, record.announcements = record.announcements, record.announcements + 1
    record.next_announcement = now + pauses[done] if done < len(pauses) else math.inf


def _packed(
    said: Iterable[tuple[bytes, bytes]], id: int = 0, questions: Sequence[Question] = ()
) -> Iterable[bytes]:
    """Yield responses of at most MAX_PACKET_BYTES."""
    waiting: list[bytes] = []
    size = empty = len(response([], id=id, questions=questions))
    for pair in said:
        more = sum(map(len, pair))
        if waiting and size + more > MAX_PACKET_BYTES:
            yield response(waiting, id=id, questions=questions)
            waiting, size = [], empty
        waiting += pair
        size += more
    if waiting:
        yield response(waiting, id=id, questions=questions)
