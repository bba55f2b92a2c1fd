"""Bounded scalars and small records that several messages share.

Every field of a message has a bound, because its sender may be hostile or broken. Owns the bounds that are
the same everywhere; the bound of a single message is in that message.
"""

from typing import Annotated, Literal, get_args

import msgspec
from msgspec import Meta

Bytes16 = Annotated[bytes, Meta(min_length=16, max_length=16)]
Bytes32 = Annotated[bytes, Meta(min_length=32, max_length=32)]
Bytes64 = Annotated[bytes, Meta(min_length=64, max_length=64)]

SessionId = Annotated[str, Meta(pattern="^[0-9a-f]{16}$")]
"""Eight random bytes in lower-case hex, which name a pairing session on one node."""

PeerId = Annotated[bytes, Meta(min_length=34, max_length=64)]
"""Canonical binary multihash of the key that a connection proved (38 bytes for Ed25519)."""

Address = Annotated[str, Meta(min_length=1, max_length=256)]
"""A multiaddr as text, without a trailing /p2p component."""

Addresses = Annotated[tuple[Address, ...], Meta(max_length=32)]

FewAddresses = Annotated[tuple[Address, ...], Meta(max_length=8)]

WireFrame = Annotated[bytes, Meta(min_length=1, max_length=16 * 1024)]
"""One message between two devices, encoded, without its length (docs/protocol.md, "Notation")."""

RequestId = Annotated[int, Meta(ge=0, le=2**63 - 1)]
"""Chosen by the sender of a request; the answer repeats it."""

Seconds = Annotated[float, Meta(ge=0, le=1e9)]

Instant = float
"""Seconds on CLOCK_BOOTTIME: one clock for all processes of a machine, and it counts suspend."""

DeviceName = Annotated[str, Meta(min_length=1, max_length=64)]
ShortText = Annotated[str, Meta(max_length=32)]
Reason = Annotated[str, Meta(max_length=200)]
"""A short explanation for people and logs; never contains a secret."""

ProtocolId = Annotated[str, Meta(min_length=1, max_length=128)]
"""A protocol id of libp2p."""

MIN_CODE_LIFETIME_SECONDS = 60
MAX_CODE_LIFETIME_SECONDS = 3600
"""How long a code may be configured to live (docs/protocol.md, "Limits"). No search lasts longer either: by
then the code that it is for has expired."""

LogField = str | int | float | bool | None
"""A value in a log line: a short scalar, never bytes, so that no key gets into a log."""

Role = Literal["initiator", "joiner"]
ConnectionKind = Literal["direct", "relayed"]
Transport = Literal["tcp", "quic", "ws", "wss", "webrtc"]
"""What a connection runs over (docs/protocol.md, "Transports")."""
Finder = Literal["hint", "same_host", "mdns", "dht"]
MdnsState = Literal["off", "idle", "announcing", "browsing", "both"]
"""What this node does on its local networks: `idle` while no code is shown or looked for, and then silent."""
MdnsInstance = Annotated[str, Meta(pattern="^[0-9a-f]{16}$")]
"""The name of a code in mDNS (docs/protocol.md, "Code")."""
Stage = Literal["waiting", "searching", "connecting", "proving", "deciding", "storing"]
"""What users see of a running pairing, in the order in which it passes them; some are skipped.

Only this line states the order. The gateway decides that the stage shown never goes back
(actors/gateway/session_store.py).
"""
STAGE_ORDER: tuple[Stage, ...] = get_args(Stage)
Outcome = Literal[
    "paired",
    "rejected",
    "expired",
    "not_found",
    "wrong_code",
    "cancelled",
    "lost_contact",
    "crashed",
    "busy",
]
RememberedKind = Literal["server", "relay", "device"]
"""What a remembered peer is for this node: a DHT server, a relay, or where a trusted device is."""
DeviceState = Literal["paired", "unconfirmed"]
DhtMode = Literal["auto", "server", "client"]
PortProtocol = Literal["tcp", "udp"]
PortNumber = Annotated[int, Meta(ge=1, le=65535)]
Reachability = Literal["unknown", "public", "punchable", "symmetric", "private", "this host"]
"""From where this node can be reached (docs/operations.md, "Reachability").

`private`: it keeps to the local network (--lan-only); `this host`: to this host.
"""


def later_stage(one: Stage, other: Stage) -> Stage:
    """Return the later of two stages."""
    return max(one, other, key=STAGE_ORDER.index)


class PeerAddresses(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A peer and at most 32 addresses at which it may be reached; none of them is trusted.

    `hearsay` are those of the addresses that only third parties have named (actors/swarm/dial/hearsay.py).
    """

    peer: PeerId
    addresses: Addresses = ()
    hearsay: Addresses = ()


class RememberedPeer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A peer that has been of use, and the addresses at which it was reached, the newest first."""

    kind: RememberedKind
    peer: PeerId
    addresses: FewAddresses


PeerList = Annotated[tuple[PeerAddresses, ...], Meta(max_length=64)]
