"""What the state machines of this actor and its sockets exchange: packets, and where one came from."""

from dataclasses import dataclass
from typing import Final

from ...protocol.multiaddrs import IpAddress

MDNS_PORT: Final = 5353
GROUPS: Final = {4: "224.0.0.251", 6: "ff02::fb"}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a packet came from: the number of the interface, the sender's address and port."""

    interface: int
    ip: IpAddress
    port: int


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet to send on an interface: to the groups of mDNS, or to one place."""

    interface: int
    data: bytes
    to: Place | None = None
