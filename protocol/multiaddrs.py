"""The multiaddr forms of this node, a closed set: what it dials, listens on, announces, is configured with.

Allowed are /ip4, /ip6, /dns, /dns4 and /dns6 with /tcp/<port>, /udp/<port>/quic-v1, /tcp/<port>/ws,
/tcp/<port>/tls/ws or /tcp/<port>/wss, and /udp/<port>/webrtc-direct, which /certhash/<hash> follows where it
is dialled; with or without a trailing /p2p; a link-local /ip6 may follow /ip6zone/<interface>. One of these
with /p2p/<relay>/p2p-circuit behind it is the way through that relay. The settings and the swarm read
addresses with the same `parse`, so that what one accepts the other can use. Pure; without libp2p's parser,
which strangers' texts never reach.
"""

import ipaddress
import re
from dataclasses import dataclass, replace
from typing import Literal, cast

from ..messages.errors import SpacedriveNodeError
from ..messages.types import Transport
from .peer_ids import peer_id_from_any_text, peer_id_text

MAX_ADDRESS_CHARACTERS = 256
_FORM = re.compile(
    r"(?:/ip6zone/([A-Za-z0-9._:@-]{1,15}))?"
    r"/(ip4|ip6|dns|dns4|dns6)/([A-Za-z0-9.:_-]{1,253})"
    r"/(?:tcp/([0-9]{1,5})(/ws|/wss|/tls(?:/sni/([A-Za-z0-9._-]{1,253}))?/ws)?"
    r"|udp/([0-9]{1,5})/(?:quic-v1|(webrtc-direct)(?:/certhash/([A-Za-z0-9_=-]{1,100}))?))"
    r"(?:/p2p/([A-Za-z0-9]{1,128})(/p2p-circuit(?:/p2p/[A-Za-z0-9]{1,128})?)?)?"
)
_HOST_NAME = re.compile(
    r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?(?:\.[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)*\.?"
)

_FORMS: dict[Transport, str] = {
    "tcp": "/tcp/{}",
    "quic": "/udp/{}/quic-v1",
    "ws": "/tcp/{}/ws",
    "wss": "/tcp/{}/tls/ws",
    "webrtc": "/udp/{}/webrtc-direct",
}

Family = Literal["ip4", "ip6", "dns", "dns4", "dns6"]
IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


class AddressError(SpacedriveNodeError, ValueError):
    """Not one of the multiaddr forms that this node uses."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One parsed address. `host` is an IP address in canonical text or a host name.

    `zone` is the interface behind which a link-local IPv6 address is, by name or number; "" if none is named.
    `server_name`: of `wss` at an IP address, the name for which the certificate has to be, if it is not for
    the address itself. `certhash`: of `webrtc`, the certificate that the listener has, as multibase. `relay`:
    peer id, as text, of the relay that is there and leads on to the peer meant.
    """

    family: Family
    host: str
    port: int
    transport: Transport = "tcp"
    zone: str = ""
    server_name: str | None = None
    certhash: str = ""
    relay: str | None = None

    def __str__(self) -> str:
        zone = f"/ip6zone/{self.zone}" if self.zone else ""
        form = _FORMS[self.transport]
        if self.server_name is not None:
            form = f"/tcp/{{}}/tls/sni/{self.server_name}/ws"
        certhash = f"/certhash/{self.certhash}" if self.certhash else ""
        circuit = "" if self.relay is None else f"/p2p/{self.relay}/p2p-circuit"
        return f"{zone}/{self.family}/{self.host}{form.format(self.port)}{certhash}{circuit}"

    @property
    def is_udp(self) -> bool:
        """Whether the port is one of UDP."""
        return self.transport in ("quic", "webrtc")

    @property
    def ip(self) -> IpAddress | None:
        """The IP address, or None for a name."""
        return ipaddress.ip_address(self.host) if self.family in ("ip4", "ip6") else None

    @property
    def direct(self) -> "Endpoint":
        """Where a connection is made: of a circuit, the address of the relay."""
        return self if self.relay is None else replace(self, relay=None)

    def through(self, relay: str) -> "Endpoint":
        """Return the way through the relay that is at this address."""
        return replace(self, relay=relay)

    def with_port(self, port: int) -> "Endpoint":
        """Return the same host with another port."""
        return replace(self, port=port)

    def with_zone(self, zone: str) -> "Endpoint":
        """Return the same address behind another interface, or behind none that is named."""
        return replace(self, zone=zone)

    def with_certhash(self, certhash: str) -> "Endpoint":
        """Return the same address with another certificate, or with none that is named."""
        return replace(self, certhash=certhash)

    def with_ip(self, ip: IpAddress) -> "Endpoint":
        """Return the same port at `ip`, behind no interface that is named.

        A name stays as the one for which the certificate has to be.
        """
        name = self.server_name
        if name is None and self.transport == "wss" and self.ip is None:
            name = self.host
        family: Family = "ip4" if ip.version == 4 else "ip6"
        return replace(self, family=family, host=str(ip), zone="", server_name=name)


def parse(text: str) -> Endpoint:
    """Parse one multiaddr; a trailing /p2p component, of the peer itself, is dropped. Raises AddressError.

    An IPv4 address that is mapped into IPv6 is the IPv4 address.
    """
    match = _FORM.fullmatch(text) if len(text) <= MAX_ADDRESS_CHARACTERS else None
    if match is None:
        raise AddressError(
            "only /ip4, /ip6 or /dns with /tcp/<port>, /udp/<port>/quic-v1, /tcp/<port>/ws or "
            "/udp/<port>/webrtc-direct is supported"
        )
    zone, family, host = match[1] or "", cast(Family, match[2]), match[3]
    port, name = int(match[4] or match[7]), match[6]
    transport: Transport = "tcp" if match[4] else "quic"
    certhash = match[9] or ""
    if match[8]:
        transport = "webrtc"
    elif match[5]:
        transport = "ws" if match[5] == "/ws" else "wss"
    if name is not None and _HOST_NAME.fullmatch(name) is None:
        raise AddressError("not a server name")
    if port > 65535:
        raise AddressError("no such port")
    relay = _relay(match[10]) if match[11] else None
    if family in ("ip4", "ip6"):
        try:
            ip = ipaddress.IPv4Address(host) if family == "ip4" else ipaddress.IPv6Address(host)
        except ValueError:
            raise AddressError("not an IP address") from None
        if zone and not is_zoned(ip):
            raise AddressError("a zone belongs to a link-local IPv6 address")
        plain = Endpoint(family, str(ip), port, transport, server_name=name, certhash=certhash, relay=relay)
        return plain.with_ip(unmapped(ip)).with_zone(zone)
    if zone or _HOST_NAME.fullmatch(host) is None:
        raise AddressError("not a host name")
    return Endpoint(family, host, port, transport, server_name=name, certhash=certhash, relay=relay)


def _relay(text: str) -> str:
    try:
        return peer_id_text(peer_id_from_any_text(text))
    except ValueError:
        raise AddressError("the relay has no peer id as this node knows them") from None


def unmapped(ip: IpAddress) -> IpAddress:
    """Return the IPv4 address inside an IPv4-mapped IPv6 address, otherwise `ip`."""
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return ip if mapped is None else mapped


def is_zoned(ip: IpAddress) -> bool:
    """Return whether `ip` leads nowhere without the interface behind which it is."""
    return ip.version == 6 and ip.is_link_local
