"""The pairing code: reads and writes its two forms (twelve words, QR text), and derives its keys.

Implements docs/protocol.md, "Code". Owns no state and draws no randomness. The words are a secret: no repr
contains them, and a CodeError shows at most the word that is wrong.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote

from ..messages.types import PeerAddresses
from . import keys
from .peer_ids import peer_id_from_text, peer_id_text
from .words import WORDS, CodeError, complete, parse_words, suggest, words_of

__all__ = [
    "WORDS",
    "CodeError",
    "CodeKeys",
    "code_id",
    "complete",
    "derive",
    "parse_code",
    "parse_words",
    "qr_payload",
    "suggest",
    "words_of",
]

_BARE_QR: Final = re.compile(r"[\W_]*(spacedrive:.*)", re.IGNORECASE | re.DOTALL)
"""Before the scheme stand at most a byte-order mark, quotes, brackets."""
_QR_IN_TEXT: Final = re.compile(r"\b(spacedrive:pair\?.*)", re.IGNORECASE | re.DOTALL)
_BEHIND_QR: Final = "\"'`´“”„‘’‚«»‹›<>()[]{},;!\ufeff\u200b\u2060"
_LINE_BREAK: Final = re.compile(r"\s*[\r\n][\s>]*")
"""With the mark that mail puts before each line that it quotes."""
_INVISIBLE: Final = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
_ESCAPED: Final = re.compile(r"\\([?&=])")
_HEAD: Final = "spacedrive:pair?"
_MAX_QR_CHARACTERS: Final = 4096
"""More than the largest QR code (2953 bytes) holds."""
_MAX_PARAMETERS: Final = 64
_MAX_WRITTEN_ADDRESSES: Final = 8
"""More make a QR code that a camera reads badly; the words find the peer anyway."""
_MAX_READ_ADDRESSES: Final = 32
_ADDRESS: Final = re.compile(r"/[!-~]{1,255}")

PROVIDER_PREFIX: Final = bytes.fromhex("1220")
"""Start of a sha2-256 multihash, the one form of key that js, py and rust DHT servers all store."""


@dataclass(frozen=True, repr=False)
class CodeKeys:
    """What is derived from a code.

    route_key      32 bytes, secret; finds the session that a frame is for, and proves nothing
    auth_key       32 bytes, secret; proves that a side knows the code
    provider_key   34 bytes, public; the DHT key under which the initiator is announced
    mdns_instance  16 hex digits, public; its instance name in mDNS
    """

    route_key: bytes
    auth_key: bytes
    provider_key: bytes
    mdns_instance: str

    def __repr__(self) -> str:
        return "<CodeKeys>"


def derive(entropy: bytes) -> CodeKeys:
    """Return the keys of a code. Raises ValueError unless `entropy` has 16 bytes."""
    if len(entropy) != 16:
        raise ValueError("a code has 16 bytes")
    root = keys.extract(keys.PROTOCOL_LABEL, entropy)
    return CodeKeys(
        route_key=keys.expand(root, keys.ROUTE),
        auth_key=keys.expand(root, keys.AUTH),
        provider_key=PROVIDER_PREFIX + keys.sha256(keys.expand(root, keys.RENDEZVOUS)),
        mdns_instance=keys.expand(root, keys.MDNS, 8).hex(),
    )


def code_id(route_key: bytes, initiator: bytes, joiner: bytes) -> bytes:
    """Return the 16 bytes that name a code between these two peers, in these roles, and nowhere else."""
    return keys.mac(route_key, keys.lp(initiator) + keys.lp(joiner))[:16]


def qr_payload(entropy: bytes, peer: bytes, addresses: Sequence[str]) -> str:
    """Return the text of a QR code: the words, the peer id, and at most eight of the addresses as hints.

    `addresses` are multiaddrs without a trailing /p2p component.
    """
    parts = ["v=2", "w=" + "-".join(words_of(entropy)), "p=" + peer_id_text(peer)]
    parts += ["a=" + quote(address, safe="/:") for address in addresses[:_MAX_WRITTEN_ADDRESSES]]
    return _HEAD + "&".join(parts)


def parse_code(text: str) -> tuple[bytes, tuple[PeerAddresses, ...]]:
    """Return the 16 bytes of a code, given as twelve words or as a QR text, and the hints of the latter.

    There is at most one hint: the initiator's peer id and at most 32 addresses. A hint that cannot be read is
    left out, because hints are never needed. Raises CodeError when the words are not a code.
    """
    stripped = text.strip()
    qr = _BARE_QR.fullmatch(stripped) or _QR_IN_TEXT.search(stripped)
    if qr:
        return _parse_qr(qr[1])
    return parse_words(stripped), ()


def _parse_qr(text: str) -> tuple[bytes, tuple[PeerAddresses, ...]]:
    if len(text) > _MAX_QR_CHARACTERS:
        raise CodeError("This QR code is too long for a pairing code.")
    text = _without_wrapping(text)
    if _HEAD.startswith(text.lower()):
        raise _cut_off()
    if text[: len(_HEAD)].lower() != _HEAD:
        raise CodeError("This is a Spacedrive QR code, but not one for pairing.")
    fields = [part.partition("=") for part in text[len(_HEAD) :].split("&", _MAX_PARAMETERS)]
    if len(fields) > _MAX_PARAMETERS:
        raise CodeError("This QR code has too many parts for a pairing code.")
    values: dict[str, list[str]] = {}
    for name, _, value in fields:
        values.setdefault(name.lower(), []).append(unquote(value))
    if values.get("v") != ["2"]:
        raise CodeError("This QR code is of another version of pairing; update the older of the two devices.")
    words = values.get("w", [])
    if not words:
        raise _cut_off()
    if len(words) != 1:
        raise CodeError("This QR code does not contain one pairing code.")
    return parse_words(words[0]), _hints(values.get("p", []), values.get("a", []))


def _without_wrapping(text: str) -> str:
    """Return a QR text without what mail, shells and terminals put around and into it.

    A writer encodes all these characters, so nothing of the text itself is lost.
    """
    text = _INVISIBLE.sub("", text)
    while (shorter := text.strip().rstrip(_BEHIND_QR)) != text:
        text = shorter
    return _ESCAPED.sub(r"\1", _LINE_BREAK.sub("", text)).replace("&amp;", "&")


def _cut_off() -> CodeError:
    return CodeError(
        "This QR text does not contain one pairing code, only its beginning is here. "
        "A shell cuts it at the first &: put it in quotes."
    )


def _hints(peers: list[str], addresses: list[str]) -> tuple[PeerAddresses, ...]:
    if len(peers) != 1:
        return ()
    try:
        peer = peer_id_from_text(peers[0])
    except ValueError:
        return ()
    suffix = "/p2p/" + peers[0]
    bare = (address.removesuffix(suffix) for address in addresses)
    kept = [address for address in bare if _ADDRESS.fullmatch(address)]
    return (PeerAddresses(peer, tuple(dict.fromkeys(kept))[:_MAX_READ_ADDRESSES]),)
