"""What each actor is told at its start: plain values, no secrets but file names."""

from typing import Annotated, dataclass_transform

import msgspec
from msgspec import Meta

from .base import Decoder, M
from .types import Address, Addresses, DeviceName, DhtMode, PeerAddresses, Seconds

__all__ = [
    "PASSPHRASE_LIMIT",
    "DiscoveryConfig",
    "GatewayConfig",
    "MetricsConfig",
    "SessionConfig",
    "SwarmConfig",
    "VaultConfig",
]

PASSPHRASE_LIMIT = 1024
"""Bytes: longer than anyone types, short enough for any pipe."""


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(msgspec.field,))
class ActorConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of the configurations; encoded into frames.Start."""


class VaultConfig(ActorConfig):
    """The vault opens `data_dir` and nothing else does. `device_name` renames the device when given.

    `passphrase_fd` is a descriptor that holds the passphrase of the identity, at most PASSPHRASE_LIMIT bytes
    from offset 0. The supervisor holds it too, so that a vault that starts again can read it again.
    """

    data_dir: str
    passphrase_fd: int | None = None
    device_name: DeviceName | None = None
    app_version: str = ""


class SwarmConfig(ActorConfig):
    """Listening, announcing and limits. `default_port`: if the port is taken, a free one will do."""

    listen: Annotated[tuple[Address, ...], Meta(min_length=1, max_length=16)]
    default_port: bool = False
    announce: Addresses = ()
    dht_protocol: str = "/spacedrive/kad/1.0.0"
    dht_mode: DhtMode = "auto"
    lan_only: bool = False
    max_connections: int = 512


class DiscoveryConfig(ActorConfig):
    """Which finders run, and where nodes of this user on this host register."""

    runtime_dir: str
    bootstrap: Annotated[tuple[PeerAddresses, ...], Meta(max_length=64)] = ()
    same_host: bool = True
    mdns: bool = True


class SessionConfig(ActorConfig):
    """Deadlines of docs/protocol.md, "Limits" and "Ending", in seconds; tests shorten them."""

    proof: Seconds = 10.0
    exchange: Seconds = 10.0
    deciding: Seconds = 120.0
    delivery: Seconds = 180.0


class GatewayConfig(ActorConfig):
    """`socket_fd` is the listening Unix socket, which the supervisor holds."""

    socket_fd: int
    version: str
    code_lifetime: Seconds = 300.0


class MetricsConfig(ActorConfig):
    """`socket_fd` is the listening TCP socket, which the supervisor holds; None: no HTTP."""

    socket_fd: int | None
    version: str


def decoder(config: type[M]) -> Decoder[M]:
    """Return the decoder of one configuration."""
    return Decoder(config)
