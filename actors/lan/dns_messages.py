"""DNS messages as mDNS sends them (RFC 1035, section 4; RFC 6762, section 18): reads and writes, sans-IO.

Only questions, PTR and TXT records are read; other records are skipped by their length. Written here, because
of two libraries one keeps what strangers say without a bound, and the other takes seconds for one packet that
is made to be slow (docs/decisions/0010). Every cost is bounded: by the size of a packet, the number of its
records, and the labels that are looked at in all of it, so that no chain of pointers is walked twice over.

Owns the bytes. Never judges what a message says.
"""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from ...messages.errors import SpacedriveNodeError

PTR: Final = 12
TXT: Final = 16
ANY: Final = 255
MAX_PACKET_BYTES: Final = 9000
"""RFC 6762, section 17, headers included."""
MAX_RECORDS: Final = 256
"""Questions and records of one packet."""
MAX_LABELS: Final = 2048
"""Labels and pointers that are looked at in one packet."""
MAX_NAME_BYTES: Final = 255
_MAX_LABEL_BYTES: Final = 63
_IN: Final = 1
_TOP_BIT: Final = 0x8000
"""Of a class: the cache is to be flushed (in a record); a unicast answer will do (in a question)."""
_RESPONSE: Final = 0x8000
_AUTHORITATIVE: Final = 0x0400
_OPCODE_AND_RCODE: Final = 0x780F
_HEADER = struct.Struct("!6H")
_QUESTION_END = struct.Struct("!2H")
_RECORD_END = struct.Struct("!HHIH")

Name = tuple[bytes, ...]
"""The labels of a name, in lower case: names are compared without regard to case."""


class DnsError(SpacedriveNodeError, ValueError):
    """The bytes are no DNS message that mDNS may send, or one that costs too much to read."""


@dataclass(frozen=True, slots=True)
class Question:
    """One question. `unicast`: who asks prefers an answer to itself alone."""

    name: Name
    type: int
    unicast: bool = False


@dataclass(frozen=True, slots=True)
class Pointer:
    """A PTR record; with a time to live of 0 it takes back one that was sent before."""

    name: Name
    target: Name
    ttl: int


@dataclass(frozen=True, slots=True)
class Text:
    """A TXT record: its strings."""

    name: Name
    strings: tuple[bytes, ...]
    ttl: int


Record = Pointer | Text


@dataclass(frozen=True, slots=True)
class DnsMessage:
    """One message. Of a response, `records` are those of all sections; of a query, the known answers."""

    id: int
    response: bool
    questions: tuple[Question, ...] = ()
    records: tuple[Record, ...] = ()


def decode(data: bytes) -> DnsMessage:
    """Read one packet. Raises DnsError."""
    if not _HEADER.size <= len(data) <= MAX_PACKET_BYTES:
        raise DnsError("not the size of a message")
    number, flags, *counts = _HEADER.unpack_from(data)
    if flags & _OPCODE_AND_RCODE:
        raise DnsError("not a query and no response to one")
    if sum(counts) > MAX_RECORDS:
        raise DnsError("too many records")
    reader = _Reader(data)
    questions = tuple(reader.question() for _ in range(counts[0]))
    response = bool(flags & _RESPONSE)
    count = sum(counts[1:]) if response else counts[1]  # what a query proposes (section 8.2) is not looked at
    records = tuple(record for record in [reader.record() for _ in range(count)] if record is not None)
    return DnsMessage(number, response, questions, records)


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = _HEADER.size
        self._labels = 0

    def question(self) -> Question:
        name = self._name()
        type_, class_ = self._unpack(_QUESTION_END)
        return Question(name, type_, bool(class_ & _TOP_BIT))

    def record(self) -> Record | None:
        name = self._name()
        type_, class_, ttl, size = self._unpack(_RECORD_END)
        begin, end = self._at, self._at + size
        if end > len(self._data):
            raise DnsError("cut off")
        self._at = end
        if class_ & ~_TOP_BIT != _IN:
            return None
        if type_ == PTR:
            target, after = self._name_at(begin)
            if after != end:
                raise DnsError("a name of another length")
            return Pointer(name, target, ttl)
        if type_ == TXT:
            return Text(name, self._strings(begin, end), ttl)
        return None

    def _strings(self, at: int, end: int) -> tuple[bytes, ...]:
        strings = []
        while at < end:
            after = at + 1 + self._data[at]
            if after > end:
                raise DnsError("cut off")
            strings.append(self._data[at + 1 : after])
            at = after
            self._count_label()
        return tuple(strings)

    def _unpack(self, form: struct.Struct) -> tuple[int, ...]:
        if self._at + form.size > len(self._data):
            raise DnsError("cut off")
        values = form.unpack_from(self._data, self._at)
        self._at += form.size
        return values

    def _name(self) -> Name:
        name, self._at = self._name_at(self._at)
        return name

    def _name_at(self, at: int) -> tuple[Name, int]:
        """Return the name that begins at `at`, and where what follows it begins."""
        data, size = self._data, 0
        labels: list[bytes] = []
        after, lowest = 0, at
        while True:
            self._count_label()
            if at >= len(data):
                raise DnsError("cut off")
            length = data[at]
            if length >= 0xC0:  # a pointer, which leads back to a place before all that was read of the name
                if at + 2 > len(data):
                    raise DnsError("cut off")
                after = after or at + 2
                at = (length & 0x3F) << 8 | data[at + 1]
                if at >= lowest:
                    raise DnsError("a pointer that leads nowhere")
                lowest = at
                continue
            if length > _MAX_LABEL_BYTES:
                raise DnsError("no such label")
            at += 1 + length
            if not length:
                return tuple(labels), after or at
            size += 1 + length
            if at > len(data) or size >= MAX_NAME_BYTES:
                raise DnsError("a name that is too long")
            labels.append(data[at - length : at].lower())

    def _count_label(self) -> None:
        self._labels += 1
        if self._labels > MAX_LABELS:
            raise DnsError("too many labels")


def query(questions: Iterable[Question]) -> bytes:
    """Return a query of mDNS, without known answers."""
    asked = list(questions)
    return _HEADER.pack(0, 0, len(asked), 0, 0, 0) + b"".join(_question(one) for one in asked)


def response(records: Sequence[bytes], *, id: int = 0, questions: Sequence[Question] = ()) -> bytes:
    """Return a response with encoded records. `id` and `questions` are repeated to who asks by plain DNS."""
    header = _HEADER.pack(id, _RESPONSE | _AUTHORITATIVE, len(questions), len(records), 0, 0)
    return header + b"".join(map(_question, questions)) + b"".join(records)


def encode_record(record: Record) -> bytes:
    """Return a record as it stands in a message."""
    if isinstance(record, Pointer):
        type_, data = PTR, _encoded(record.target)
    else:
        type_, data = TXT, b"".join(bytes((len(string),)) + string for string in record.strings)
    return _encoded(record.name) + _RECORD_END.pack(type_, _IN, record.ttl, len(data)) + data


def _question(question: Question) -> bytes:
    class_ = _IN | (_TOP_BIT if question.unicast else 0)
    return _encoded(question.name) + _QUESTION_END.pack(question.type, class_)


def _encoded(name: Name) -> bytes:
    return b"".join(bytes((len(label),)) + label for label in name) + b"\0"
