"""What lan accepts: which codes to announce on the local network by mDNS, and which to look for there."""

from .base import Decoder, Message
from .from_supervisor import ActorRestarted
from .types import Addresses, MdnsInstance, PeerId


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


LanInbox = Announce | StopAnnouncing | Browse | StopBrowsing | ActorRestarted
decode: Decoder[LanInbox] = Decoder(LanInbox)
