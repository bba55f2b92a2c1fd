"""DNS messages for TXT records (RFC 1035, section 4; RFC 6891): writes a question, reads its answer, sans-IO.

Names in an answer are skipped, never followed: it counts only to which question it belongs, and what its TXT
records say. So there is nothing in it that could loop, and each byte is looked at once. Owns the bytes.
Never judges what a record says.
"""

import struct
from dataclasses import dataclass
from typing import Final

from ....messages.errors import SpacedriveNodeError

MAX_UDP_BYTES: Final = 1232
"""What an answer over UDP may have, so that it is never cut into fragments (DNS flag day 2020)."""
MAX_TCP_BYTES: Final = 16 * 1024
MAX_RECORDS: Final = 256
MAX_TEXTS: Final = 64
MAX_TEXT_BYTES: Final = 512
MAX_NAME_CHARACTERS: Final = 253
_MAX_LABEL_BYTES: Final = 63
_MAX_LABELS: Final = 128
_TXT, _IN, _OPT = 16, 1, 41
_RESPONSE, _TRUNCATED, _RECURSE, _OPCODE, _RCODE = 0x8000, 0x0200, 0x0100, 0x7800, 0x000F
_HEADER = struct.Struct("!6H")
_RECORD_END = struct.Struct("!HHIH")
_NO_ERROR, _NO_SUCH_NAME = 0, 3


class DnsError(SpacedriveNodeError, ValueError):
    """The bytes are no answer to the question, or no name was given."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a name server says. `is_final`: no other server has to be asked; `is_cut`: ask again over TCP."""

    texts: tuple[str, ...]
    is_final: bool
    is_cut: bool


def question_of(name: str) -> bytes:
    """Return a question for the TXT records of a name, as it stands in query and answer. Raises DnsError."""
    labels = name.removesuffix(".").encode("ascii", "replace").lower().split(b".")
    if len(name) > MAX_NAME_CHARACTERS or not all(0 < len(one) <= _MAX_LABEL_BYTES for one in labels):
        raise DnsError("not a name")
    encoded = b"".join(bytes([len(label)]) + label for label in labels)
    return encoded + b"\0" + struct.pack("!2H", _TXT, _IN)


def query(number: int, question: bytes) -> bytes:
    """Return the message that asks a question; it says how much over UDP is taken for an answer."""
    option = b"\0" + struct.pack("!HHIH", _OPT, MAX_UDP_BYTES, 0, 0)
    return _HEADER.pack(number, _RECURSE, 1, 0, 0, 1) + question + option


def read_answer(data: bytes, number: int, question: bytes) -> Answer:
    """Return the answer to this question. Raises DnsError for anything else."""
    if len(data) < _HEADER.size:
        raise DnsError("too short")
    answered, flags, questions, answers, _authorities, _more = _HEADER.unpack_from(data)
    if answered != number or not flags & _RESPONSE or flags & _OPCODE or questions != 1:
        raise DnsError("not an answer to this question")
    end = _HEADER.size + len(question)
    if data[_HEADER.size : end].lower() != question.lower():
        raise DnsError("an answer to another question")
    rcode = flags & _RCODE
    if flags & _TRUNCATED:
        return Answer((), is_final=False, is_cut=True)
    if rcode != _NO_ERROR:
        return Answer((), is_final=rcode == _NO_SUCH_NAME, is_cut=False)
    texts: list[str] = []
    for _record in range(min(answers, MAX_RECORDS)):
        kind, payload, end = _record_at(data, end)
        text = _text(payload) if kind == _TXT else None
        if text is not None and len(texts) < MAX_TEXTS:
            texts.append(text)
    return Answer(tuple(texts), is_final=True, is_cut=False)


def _record_at(data: bytes, position: int) -> tuple[int, bytes, int]:
    """Return the type of the record at a position, what it holds, and where the next one is."""
    position = _after_name(data, position)
    if position + _RECORD_END.size > len(data):
        raise DnsError("cut off")
    kind, group, _life, length = _RECORD_END.unpack_from(data, position)
    begin = position + _RECORD_END.size
    if begin + length > len(data):
        raise DnsError("cut off")
    return (kind if group == _IN else 0), data[begin : begin + length], begin + length


def _after_name(data: bytes, position: int) -> int:
    """Return where a name ends: after a label of no length, or after a pointer, which is not followed."""
    for _label in range(_MAX_LABELS):
        if position >= len(data):
            break
        length = data[position]
        if length >= 0xC0:
            return position + 2
        if length > _MAX_LABEL_BYTES:
            break
        position += 1 + length
        if length == 0:
            return position
    raise DnsError("not a name")


def _text(payload: bytes) -> str | None:
    """Return the strings of a TXT record as one text; None if it is too long or not printable ASCII."""
    parts: list[bytes] = []
    position = 0
    while position < len(payload):
        length = payload[position]
        parts.append(payload[position + 1 : position + 1 + length])
        position += 1 + length
    text = b"".join(parts)
    if len(text) > MAX_TEXT_BYTES or not all(0x20 <= byte < 0x7F for byte in text):
        return None
    return text.decode("ascii")
