"""What each actor is given at its start: plain values, no secrets.

They are known when the actor starts and do not change while it runs, though its next process may have others
(docs/decisions/0021-reload.md); everything else comes as a message. A
descriptor or a file name stands where a secret is needed.
"""

import hashlib
from typing import Annotated, dataclass_transform

import msgspec
from msgspec import Meta

from .base import Decoder, M
from .types import Address, Addresses, DeviceName, DhtMode, PeerAddresses, Seconds

__all__ = [
    "PASSPHRASE_LIMIT",
    "DiscoveryConfig",
    "GatewayConfig",
    "LanConfig",
    "MetricsConfig",
    "SessionConfig",
    "SwarmConfig",
    "VaultConfig",
    "WebConfig",
    "page_token_digest",
]

PASSPHRASE_LIMIT = 1024
"""Bytes: longer than anyone types, and short enough for the buffer of any pipe."""


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(msgspec.field,))
class ActorConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of the configurations. The supervisor sends them encoded in child_protocol.Start."""


class VaultConfig(ActorConfig):
    """For the vault: the data directory, which no other process opens, and the device's name.

    `device_name` renames the device; None keeps its name. `passphrase_fd` is a descriptor from which the
    passphrase of the identity can be read: at most PASSPHRASE_LIMIT bytes, from offset 0. The supervisor
    keeps it open, so that a vault that restarts can read it again.
    """

    data_dir: str
    passphrase_fd: int | None = None
    device_name: DeviceName | None = None
    app_version: str = ""


class SwarmConfig(ActorConfig):
    """For the swarm: where it listens, what it announces, and its limits.

    `default_port`: the user chose no port, so if this one is taken, the swarm takes a free one. `offline`: it
    speaks with this host only. `public`: its DHT is the public one. `name_servers`, as "address:port", are
    asked for /dnsaddr names in place of those of the host. `port_mapping`: there is a lan actor, to open
    ports of the gateway. `relays`: where it reserves a place; `relay_service`: whether it is a relay.
    `websocket`, `webrtc`: whether these are used, also if not listened on; the fields that begin with
    `websocket_` and `tls_` are as in config/settings.py.
    """

    listen: Annotated[tuple[Address, ...], Meta(min_length=1, max_length=16)]
    default_port: bool = False
    announce: Addresses = ()
    dht_protocol: str = "/spacedrive/kad/1.0.0"
    dht_mode: DhtMode = "auto"
    lan_only: bool = False
    offline: bool = False
    public: bool = False
    name_servers: Annotated[tuple[str, ...], Meta(max_length=3)] = ()
    port_mapping: bool = False
    max_connections: int = 512
    relays: Annotated[tuple[PeerAddresses, ...], Meta(max_length=16)] = ()
    relay_service: bool = False
    websocket: bool = False
    webrtc: bool = False
    websocket_path: str = "/"
    websocket_proxies: Annotated[tuple[str, ...], Meta(max_length=32)] = ()
    tls_certificate: str | None = None
    tls_key: str | None = None
    tls_ca: str | None = None


class DiscoveryConfig(ActorConfig):
    """For discovery: which finders run, and the directory in which nodes of this user register.

    At most 64 bootstrap peers. `mdns`: there is a lan actor.
    """

    runtime_dir: str
    bootstrap: Annotated[tuple[PeerAddresses, ...], Meta(max_length=64)] = ()
    same_host: bool = True
    mdns: bool = True


class LanConfig(ActorConfig):
    """For lan: whether it is there for mDNS and for mapping ports. What is in each, it is told by others.

    What is not wanted is not heeded either: it may be left over from before a reload.
    """

    mdns: bool = True
    port_mapping: bool = True


class SessionConfig(ActorConfig):
    """For a session: deadlines in seconds (docs/protocol.md, "Limits"). Tests shorten them.

    proof      from Challenge to a valid ChallengeResponse
    exchange   one request to a peer, until its answer
    deciding   until both users have decided
    delivery   until this side's decision is acknowledged
    """

    proof: Seconds = 10.0
    exchange: Seconds = 10.0
    deciding: Seconds = 120.0
    delivery: Seconds = 180.0


class GatewayConfig(ActorConfig):
    """For the gateway. `socket_fd` is the listening Unix socket, which the supervisor keeps open.

    `code_lifetime` is how long a code lives, in seconds, when a client does not say. The rest is told to
    clients. `mdns`: there is a lan actor.
    """

    socket_fd: int
    version: str
    code_lifetime: Seconds = 300.0
    mdns: bool = True
    lan_only: bool = False
    offline: bool = False


class MetricsConfig(ActorConfig):
    """For metrics. `socket_fd` is the listening TCP socket, kept by the supervisor; None: no HTTP."""

    socket_fd: int | None
    version: str


class WebConfig(ActorConfig):
    """For web. `socket_fd` is the listening TCP socket, kept by the supervisor.

    `token_digest` is the SHA-256 of the token that whoever uses the page has to show; the token itself, of
    256 random bits or from a file, stays with the supervisor. `run` names this run of the node, so that a
    page which stays open notices another one.
    """

    socket_fd: int
    run: Annotated[str, Meta(pattern="^[0-9a-f]{16}$")]
    token_digest: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


def page_token_digest(token: bytes) -> str:
    """Return by what the token of the page is recognized. Of a random token it says nothing."""
    return hashlib.sha256(token).hexdigest()


def decoder(config: type[M]) -> Decoder[M]:
    """Return the decoder of one configuration, which raises MalformedMessageError."""
    return Decoder(config)
