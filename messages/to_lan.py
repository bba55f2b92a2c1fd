"""What lan accepts: which codes to announce on the local network and to look for, which ports to map."""

from typing import Annotated

from msgspec import Meta

from .base import Decoder, Message
from .from_supervisor import ActorRestarted
from .secret_struct import RedactedStruct
from .types import Addresses, MdnsInstance, PeerId, PortNumber, PortProtocol


class Announce(Message):
    """From discovery (standing, `slot` is the instance): say on the LAN that `peer` shows this code.

    `listening` are the addresses that this node listens on. Those of each interface take the place of
    0.0.0.0 and ::.
    """

    instance: MdnsInstance
    peer: PeerId
    listening: Addresses


class StopAnnouncing(Message):
    """From discovery: withdraws Announce."""

    instance: MdnsInstance


class Browse(Message):
    """From discovery (standing, `slot` is the instance): send a LanPeer for each device that shows this code.

    Sent again it begins anew: what has been reported is reported again.
    """

    instance: MdnsInstance


class StopBrowsing(Message):
    """From discovery: withdraws Browse."""

    instance: MdnsInstance


class PortToMap(RedactedStruct, frozen=True):
    """A port on which this node listens. `nonce` names the mapping at the gateway, also after a restart."""

    protocol: PortProtocol
    port: PortNumber
    nonce: Annotated[bytes, Meta(min_length=12, max_length=12)]


class MapPorts(Message):
    """From the swarm (standing): have the gateway open these ports, and no others.

    Answer, whenever it changes: to_swarm.PortMappings.
    """

    ports: Annotated[tuple[PortToMap, ...], Meta(max_length=8)]


LanInbox = Announce | StopAnnouncing | Browse | StopBrowsing | MapPorts | ActorRestarted
decode: Decoder[LanInbox] = Decoder(LanInbox)
