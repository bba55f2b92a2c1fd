"""The settings of a node: NodeConfig, which holds them, and the table that says how each is named and read.

Owns the defaults and the names (docs/interfaces.md, "sdnode up"); a new setting is a field of NodeConfig
and a line of SETTINGS. Where values come from is loading.py's, what a right value is values.py's.
"""

import ipaddress
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from ..messages.types import MAX_CODE_LIFETIME_SECONDS, MIN_CODE_LIFETIME_SECONDS, DhtMode
from ..protocol.multiaddrs import Endpoint, parse
from .extras import INSTALL_WEBRTC, has_webrtc
from .multiaddrs import announce_address, bootstrap_address, is_loopback_address, listen_address
from .values import (
    absolute_path,
    choice,
    device_name,
    endpoint,
    integer,
    list_of,
    name_server,
    network,
    number,
    protocol_id,
    socket_path,
    split_endpoint,
    switch,
    url_path,
)

DEFAULT_LISTEN = ("/ip4/0.0.0.0/tcp/7520", "/ip6/::/tcp/7520")
DEFAULT_QUIC_LISTEN = ("/ip4/0.0.0.0/udp/7520/quic-v1", "/ip6/::/udp/7520/quic-v1")
OFFLINE_LISTEN = ("/ip4/127.0.0.1/tcp/7520", "/ip6/::1/tcp/7520")
OFFLINE_QUIC_LISTEN = ("/ip4/127.0.0.1/udp/7520/quic-v1", "/ip6/::1/udp/7520/quic-v1")
DEFAULT_DHT_PROTOCOL = "/spacedrive/kad/1.0.0"
PUBLIC_DHT_PROTOCOL = "/ipfs/kad/1.0.0"
"""Of the public libp2p network (libp2p specs, kad-dht)."""
PUBLIC_BOOTSTRAP = (
    "/dnsaddr/bootstrap.libp2p.io/p2p/QmNnooDu7bfjPFoTZYxMNLWUQJyrVwtbZg5gBMjTezGAJN",
    "/dnsaddr/bootstrap.libp2p.io/p2p/QmQCU2EcMqAqQPR2i9bChDtGNJchTbq5TbXJJ16u19uLTa",
    "/dnsaddr/bootstrap.libp2p.io/p2p/QmbLHAnMoJPWSCR5Zhtx6BHJX9KiKNN6tpvbUcqanj75Nb",
    "/dnsaddr/bootstrap.libp2p.io/p2p/QmcZf59bWwK5XFi76CZX8cbJ4BhTzzA3gU1ZjYZcYW3dwt",
)
"""Its servers that everybody begins with (go-libp2p-kad-dht, DefaultBootstrapPeers)."""
DEFAULT_METRICS = "127.0.0.1:9464"
ENVIRONMENT_PREFIX = "SDNODE_"

LogFormat = Literal["console", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]


def _endpoints(addresses: Iterable[str]) -> list[Endpoint]:
    """Return configured addresses, without names whose addresses are not known before they are looked up."""
    return [parse(address) for address in addresses if not address.startswith("/dnsaddr/")]


def _is_loopback_host(host: str) -> bool:
    return host == "localhost" or ipaddress.ip_address(host).is_loopback


class NodeConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings of a node. Holds no secret. The defaults suit a computer at home.

    data_dir: None for the platform's user data directory.
    control: path of the control socket; None for the one that follows from the data directory (paths.py).
    passphrase_file: where `sdnode up` finds the passphrase of the identity.
    listen: multiaddrs; empty for DEFAULT_LISTEN, offline for OFFLINE_LISTEN, or a free port when one of these
    is taken.
    port_mapping: whether the home's router is asked to open the ports of the node.
    offline: no socket but loopback and Unix ones.
    quic: whether DEFAULT_QUIC_LISTEN belongs to the default too. A node dials what it listens on.
    websocket_path: what the request of a WebSocket asks for. websocket_proxies: addresses and networks of
    reverse proxies, which may say for whom a request is.
    tls_certificate, tls_key: files for listeners with /tls/ws. tls_ca: a file with more roots for dials.
    public: whether the DHT is the public one of libp2p. Then bootstrap, if it is empty, is PUBLIC_BOOTSTRAP.
    dns: name servers that are asked for /dnsaddr names, as "address:port"; empty for those of the host.
    relay: relays at which this node keeps a reservation. relay_service: whether it is a relay for others.
    metrics_listen: "host:port"; None for no HTTP.
    metrics_fallback: whether a free port replaces that of DEFAULT_METRICS when it is taken; False when the
    user has asked for exactly that one.
    web: "host:port" of the page, on loopback; None for no page. web_token_file: a file with its token, in
    place of one that is made at each start.
    code_lifetime: seconds that a code may be used.
    """

    data_dir: str | None = None
    passphrase_file: str | None = None
    name: str | None = None
    control: str | None = None
    metrics_listen: str | None = DEFAULT_METRICS
    metrics_fallback: bool = True
    web: str | None = None
    web_token_file: str | None = None
    listen: tuple[str, ...] = ()
    quic: bool = True
    websocket_path: str = "/"
    websocket_proxies: tuple[str, ...] = ()
    tls_certificate: str | None = None
    tls_key: str | None = None
    tls_ca: str | None = None
    announce: tuple[str, ...] = ()
    bootstrap: tuple[str, ...] = ()
    public: bool = False
    dns: tuple[str, ...] = ()
    relay: tuple[str, ...] = ()
    relay_service: bool = False
    dht_protocol: str = DEFAULT_DHT_PROTOCOL
    dht_mode: DhtMode = "auto"
    mdns: bool = True
    same_host: bool = True
    lan_only: bool = False
    offline: bool = False
    port_mapping: bool = True
    max_sessions: int = 256
    code_lifetime: float = 300.0
    log_format: LogFormat = "console"
    log_level: LogLevel = "info"

    @property
    def metrics_endpoint(self) -> tuple[str, int, bool] | None:
        """Host, port, and whether a free port will do when that one is taken; None for no HTTP."""
        if self.metrics_listen is None:
            return None
        host, port = split_endpoint(self.metrics_listen)
        return host, port, self.metrics_fallback and self.metrics_listen == DEFAULT_METRICS

    @property
    def web_endpoint(self) -> tuple[str, int] | None:
        """Host and port of the page; None for no page."""
        return None if self.web is None else split_endpoint(self.web)

    @property
    def listen_addresses(self) -> tuple[str, ...]:
        """Where the node listens: as configured, or by default."""
        if self.listen:
            return self.listen
        tcp, quic = (
            (OFFLINE_LISTEN, OFFLINE_QUIC_LISTEN) if self.offline else (DEFAULT_LISTEN, DEFAULT_QUIC_LISTEN)
        )
        return tcp + quic if self.quic else tcp

    @property
    def uses_quic(self) -> bool:
        """Whether the node listens on QUIC; then it dials it too."""
        return any(parse(address).transport == "quic" for address in self.listen_addresses)

    @property
    def uses_websocket(self) -> bool:
        """Whether the node listens on WebSocket, announces it or has a bootstrap peer or relay there.

        So it dials.
        """
        named = (*self.listen, *self.announce, *self.bootstrap, *self.relay)
        return any(one.transport in ("ws", "wss") for one in _endpoints(named))

    @property
    def bootstrap_addresses(self) -> tuple[str, ...]:
        """Through whom the node joins the DHT: as configured, or by default."""
        return self.bootstrap or (PUBLIC_BOOTSTRAP if self.public else ())

    @property
    def used_dht_protocol(self) -> str:
        """The protocol id of the DHT that the node joins."""
        return PUBLIC_DHT_PROTOCOL if self.public else self.dht_protocol

    @property
    def maps_ports(self) -> bool:
        """Whether the gateway is asked to open the node's ports: of IPv4, and not if others are announced."""
        if not self.port_mapping or self.lan_only or self.offline or self.announce:
            return False
        return any(
            not is_loopback_address(text) and parse(text).family == "ip4" for text in self.listen_addresses
        )

    @property
    def needs_lan(self) -> bool:
        """Whether the node has a lan actor."""
        return (self.mdns and not self.offline) or self.maps_ports

    @property
    def uses_webrtc(self) -> bool:
        """Whether the node listens on WebRTC, announces it, or has a bootstrap peer or relay there."""
        return bool(self._webrtc_keys())

    def _webrtc_keys(self) -> list[str]:
        """Return the keys of the settings that name an address of WebRTC."""
        named = {
            "listen": self.listen,
            "announce": self.announce,
            "bootstrap": self.bootstrap,
            "relay": self.relay,
        }
        return [
            key
            for key, addresses in named.items()
            if any(one.transport == "webrtc" for one in _endpoints(addresses))
        ]

    def contradictions(self) -> list[tuple[str, str]]:
        """Return what is wrong with settings that are right by themselves: (key, what would be right)."""
        found = []
        endpoints = [parse(address) for address in self.listen_addresses]
        if (self.tls_certificate is None) != (self.tls_key is None):
            key = "tls-key" if self.tls_certificate is None else "tls-certificate"
            found.append((key, "tls-certificate and tls-key belong together: give both"))
        elif self.tls_certificate is None and any(one.transport == "wss" for one in endpoints):
            found.append(("listen", "/tls/ws needs a certificate and its key: tls-certificate and tls-key"))
        if not has_webrtc():
            found += [
                (key, f"/webrtc-direct needs packages that are missing: {INSTALL_WEBRTC}")
                for key in self._webrtc_keys()
            ]
        sockets = [(one.host, one.port, one.is_udp) for one in endpoints if one.port]
        for host, port, is_udp in dict.fromkeys(one for one in sockets if sockets.count(one) > 1):
            name = f"{'udp' if is_udp else 'tcp'} port {port} of {host}"
            found.append(("listen", f"two transports cannot share {name}: give each its own"))
        if self.public and self.dht_protocol not in (DEFAULT_DHT_PROTOCOL, PUBLIC_DHT_PROTOCOL):
            text = "--public and --dht-protocol exclude each other: the public network has an id of its own"
            found.append(("dht-protocol", f"{text}; leave one of them out"))
        if self.public and self.lan_only:
            text = "--public and --lan-only exclude each other: the public network is beyond the local one"
            found.append(("public", f"{text}; leave one of them out"))
        if self.lan_only and not self.offline:
            what = [("relay", bool(self.relay)), ("relay-service", self.relay_service)]
            reason = "nobody knows where the other end of a circuit is"
            found += [
                (key, f"--lan-only and --{key} exclude each other: {reason}; leave one of them out")
                for key, is_wrong in what
                if is_wrong
            ]
        if self.web_endpoint is not None and not _is_loopback_host(self.web_endpoint[0]):
            text = "the page has no TLS and listens on loopback only, as on 127.0.0.1:7521"
            found.append(("web", f"{text}; from elsewhere it is reached through a tunnel (ssh -L)"))
        return found + (self._beyond_this_host() if self.offline else [])

    def _beyond_this_host(self) -> list[tuple[str, str]]:
        """Return what a node that is offline cannot do, as `contradictions` does."""
        host = self.metrics_endpoint[0] if self.metrics_endpoint else "localhost"
        wrong = {
            "bootstrap": bool(self.bootstrap),
            "public": self.public,
            "announce": bool(self.announce),
            "relay": bool(self.relay),
            "relay-service": self.relay_service,
            "listen": not all(is_loopback_address(text) for text in self.listen),
            "metrics-listen": not _is_loopback_host(host),
        }
        reasons = {
            "bootstrap": "a node that is offline has no DHT beyond this host",
            "public": "a node that is offline has no DHT beyond this host",
            "announce": "a node that is offline can be reached by nobody else",
            "relay": "a node that is offline can be reached by nobody else",
            "relay-service": "a node that is offline can be reached by nobody else",
            "listen": "a node that is offline listens on loopback only, as on /ip4/127.0.0.1/tcp/7520",
            "metrics-listen": "a node that is offline listens on loopback only, as on 127.0.0.1:9464",
        }
        return [
            (key, f"--offline and --{key} exclude each other: {reasons[key]}; leave one of them out")
            for key, is_wrong in wrong.items()
            if is_wrong
        ]

    def to_argv(self) -> list[str]:
        """Return the flags of `sdnode up` that give this configuration; defaults are left out."""
        argv: list[str] = []
        default = NodeConfig()
        for setting in SETTINGS.values():
            value = getattr(self, setting.field)
            strict_metrics = setting.key == "metrics-listen" and not self.metrics_fallback
            if value == getattr(default, setting.field) and not strict_metrics:
                continue
            if isinstance(value, bool):
                argv.append(setting.flag if value else f"--no-{setting.key}")
            elif isinstance(value, tuple):
                for item in value:
                    argv += [setting.flag, item]
            else:
                argv += [setting.flag, "off" if value is None else number_text(value)]
        return argv


@dataclass(frozen=True)
class Setting:
    """One setting: `key` is its name in the file and, after two dashes, its flag; `parse` reads a raw value.

    `is_path`: in a file, a relative path counts from the file's directory.
    """

    key: str
    parse: Callable[[object], Any]
    is_path: bool = False

    @property
    def field(self) -> str:
        """Name of the field of NodeConfig."""
        return self.key.replace("-", "_")

    @property
    def flag(self) -> str:
        """The flag of `sdnode up`."""
        return f"--{self.key}"

    @property
    def variable(self) -> str:
        """The environment variable."""
        return ENVIRONMENT_PREFIX + self.field.upper()


SETTINGS: dict[str, Setting] = {
    setting.key: setting
    for setting in (
        Setting("data-dir", absolute_path, is_path=True),
        Setting("passphrase-file", absolute_path, is_path=True),
        Setting("name", device_name),
        Setting("control", socket_path, is_path=True),
        Setting("metrics-listen", endpoint),
        Setting("web", endpoint),
        Setting("web-token-file", absolute_path, is_path=True),
        Setting("listen", list_of(listen_address, 16)),
        Setting("quic", switch),
        Setting("websocket-path", url_path),
        Setting("websocket-proxies", list_of(network, 32)),
        Setting("tls-certificate", absolute_path, is_path=True),
        Setting("tls-key", absolute_path, is_path=True),
        Setting("tls-ca", absolute_path, is_path=True),
        Setting("announce", list_of(announce_address, 32)),
        Setting("bootstrap", list_of(bootstrap_address, 64)),
        Setting("public", switch),
        Setting("dns", list_of(name_server, 3)),
        Setting("relay", list_of(bootstrap_address, 16)),
        Setting("relay-service", switch),
        Setting("dht-protocol", protocol_id),
        Setting("dht-mode", choice("auto", "server", "client")),
        Setting("mdns", switch),
        Setting("same-host", switch),
        Setting("lan-only", switch),
        Setting("offline", switch),
        Setting("port-mapping", switch),
        Setting("max-sessions", integer(1, 1000)),
        Setting("code-lifetime", number(MIN_CODE_LIFETIME_SECONDS, MAX_CODE_LIFETIME_SECONDS, "seconds")),
        Setting("log-format", choice("console", "json")),
        Setting("log-level", choice("debug", "info", "warning", "error")),
    )
}


def number_text(value: object) -> str:
    """Return a value as it is written in a flag or a file: a whole number of seconds has no fraction."""
    return f"{value:g}" if isinstance(value, float) else str(value)
