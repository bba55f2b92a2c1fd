"""The messages of DCUtR (libp2p specs, relay/DCUtR.md): CONNECT with addresses, and SYNC. Pure.

Everything that comes in is bounded here before it is parsed. What goes out has its length in front. The
protobuf class is the library's; its hole punching is not used (docs/decisions/0018-direct-upgrade.md).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import varint
from google.protobuf.message import DecodeError
from libp2p.relay.circuit_v2.pb.dcutr_pb2 import HolePunch
from multiaddr import Multiaddr

from ....messages.errors import SpacedriveNodeError
from ..dial.addresses import Endpoint, usable

PROTOCOL: Final = "/libp2p/dcutr"
MAX_MESSAGE_BYTES: Final = 4096
"""As the specification says."""


class PunchMessageError(SpacedriveNodeError):
    """The bytes are no message of DCUtR."""


@dataclass(frozen=True, slots=True)
class Connect:
    """Where its sender may be reached by who dials at the same time. What cannot be dialled is left out."""

    endpoints: tuple[Endpoint, ...] = ()


@dataclass(frozen=True, slots=True)
class Sync:
    """Dial now."""


Message = Connect | Sync


def connect(endpoints: Sequence[Endpoint]) -> bytes:
    """Return a CONNECT message."""
    return _framed(
        HolePunch(type=HolePunch.CONNECT, ObsAddrs=[Multiaddr(str(one)).to_bytes() for one in endpoints])
    )


def sync() -> bytes:
    """Return a SYNC message."""
    return _framed(HolePunch(type=HolePunch.SYNC))


def read(data: bytes) -> Message:
    """Read a message, without its length. Raises PunchMessageError."""
    message = HolePunch()
    try:
        message.ParseFromString(data)
    except DecodeError:
        raise PunchMessageError("not a message of DCUtR") from None
    if not message.HasField("type"):  # without it, or with a number that is none, `type` reads as CONNECT
        raise PunchMessageError("neither CONNECT nor SYNC")
    if message.type == HolePunch.SYNC:
        return Sync()
    return Connect(tuple(usable(_texts(message.ObsAddrs))))


def _framed(message: HolePunch) -> bytes:
    data = bytes(message.SerializeToString())
    return bytes(varint.encode(len(data))) + data


def _texts(entries: Sequence[bytes]) -> list[str]:
    found = []
    for entry in entries:
        try:
            found.append(str(Multiaddr(bytes(entry))))
        except Exception:  # noqa: S112 - the parser raises many unrelated types; the address is left out
            continue
    return found
