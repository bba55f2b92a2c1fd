"""The service of docs/protocol.md in mDNS: its names, and what a device says of itself in a TXT record.

A device is believed about the network from which it spoke, and about nothing else: an address that it names
counts only if it lies in a network of the interface on which the packet came, and its own is the one that is
not hearsay. So nobody on the LAN makes this node knock at its loopback or at another network of its. Pure.
Implements docs/protocol.md, "Code" and "Finding and dialling".
"""

from collections.abc import Iterable, Sequence

from ...messages.types import PeerAddresses
from ...protocol.best_addresses import Place, best
from ...protocol.multiaddrs import MAX_ADDRESS_CHARACTERS, AddressError, Endpoint, IpAddress, parse
from ...protocol.peer_ids import peer_id_from_text, peer_id_text
from .dns_messages import Name, Pointer, Text, encode_record
from .interfaces import Interface

SERVICE: Name = (b"_spacedrive-pair", b"_udp", b"local")
MARK = b"\x10_spacedrive-pair"
"""What a packet about the service has in it, in lower case: its first label is never a pointer."""
TTL_SECONDS = 120
MAX_ADDRESSES = 8
"""That are believed of one device. Fewer are named of this one (protocol/best_addresses.py)."""


def instance_name(instance: str) -> Name:
    """Return the name of the instance: that of one code."""
    return (instance.encode("ascii"), *SERVICE)


def instance_of(name: Name) -> str | None:
    """Return the instance that a name stands for; None for another name."""
    if len(name) != len(SERVICE) + 1 or name[1:] != SERVICE:
        return None
    return name[0].decode("ascii", "replace")


def encoded_records(instance: str, strings: tuple[bytes, ...], ttl: int = TTL_SECONDS) -> tuple[bytes, bytes]:
    """Return what is said of one code: that it is shown (PTR), and who shows it (TXT)."""
    name = instance_name(instance)
    return encode_record(Pointer(SERVICE, name, ttl)), encode_record(Text(name, strings, ttl))


def strings_of(peer: bytes, addresses: Iterable[str]) -> tuple[bytes, ...]:
    """Return the strings of a TXT record."""
    return (b"p=" + peer_id_text(peer).encode(), *(b"a=" + address.encode() for address in addresses))


def addresses_on(interface: Interface, listening: Sequence[str]) -> tuple[str, ...]:
    """Return the addresses to name on an interface: the best four of its own ones that are listened on.

    Those of IPv4 come first, and link-local ones last. Empty: nobody there reaches this node.
    """
    own = [ip for ip in interface.addresses if not (ip.is_loopback or ip.is_unspecified)]
    own.sort(key=lambda ip: (ip.is_link_local, ip.version))
    found: list[Endpoint] = []
    for text in listening:
        try:
            endpoint = parse(text)
        except AddressError:
            continue
        if endpoint.ip is None or endpoint.relay is not None:
            continue
        for ip in own:
            if ip == endpoint.ip or (endpoint.ip.is_unspecified and ip.version == endpoint.ip.version):
                found.append(endpoint.with_ip(ip))
    found.sort(key=lambda endpoint: own.index(endpoint.ip) if endpoint.ip in own else len(own))
    return tuple(str(endpoint) for endpoint in best([Place(endpoint) for endpoint in found]))


def read_peer(strings: Sequence[bytes], source: IpAddress, interface: Interface) -> PeerAddresses | None:
    """Return the device that a TXT record names, with the addresses that `source` is believed about.

    None if it names no device, or none that can be reached there.
    """
    peers = [string[2:] for string in strings if string.startswith(b"p=")]
    if len(peers) != 1:
        return None
    try:
        peer = peer_id_from_text(peers[0].decode("ascii"))
    except ValueError:
        return None
    believed: dict[str, bool] = {}
    for string in strings:
        if string.startswith(b"a=") and len(believed) < MAX_ADDRESSES:
            text, own = _believed(string[2:], source, interface)
            if text is not None:
                believed[text] = own
    if not believed:
        return None
    hearsay = tuple(text for text, own in believed.items() if not own)
    return PeerAddresses(peer, tuple(believed), hearsay)


def _believed(text: bytes, source: IpAddress, interface: Interface) -> tuple[str | None, bool]:
    """Return an address as it is believed, or None; and whether it is the source's own.

    A link-local one is believed behind the interface on which it was named, whatever its zone over there.
    """
    try:
        endpoint = parse(text.decode("ascii"))
    except (AddressError, UnicodeDecodeError):
        return None, False
    ip = endpoint.ip
    if ip is None or endpoint.port == 0 or endpoint.relay is not None or not interface.reaches(ip):
        return None, False  # a relay is for peers that are elsewhere
    zone = f"/ip6zone/{interface.index}" if ip.version == 6 and ip.is_link_local else ""
    believed = f"{zone}{endpoint.with_ip(ip)}"
    return (believed if len(believed) <= MAX_ADDRESS_CHARACTERS else None), ip == source
