"""Switches off the library's own dialing: dial/dialer.py decides whom to dial, and when.

What dials in the library raises here; dial/dialer.py uses `dial_addr`, one address at a time.
"""

from typing import Any, NoReturn

import libp2p.network.swarm as library_swarm
from libp2p.network.config import RetryConfig
from libp2p.network.exceptions import SwarmException
from libp2p.security.noise.exceptions import PeerIDMismatchesPubkey

from ....messages.errors import SpacedriveNodeError
from ....protocol.peer_ids import peer_id_from_text

HEAD_START_S = 0.02
_MAX_CAUSES = 8


class DialForbiddenError(SpacedriveNodeError, SwarmException):  # type: ignore[misc]
    """The library was about to dial by itself."""


class OtherPeerAnsweredError(SpacedriveNodeError):
    """Another peer has proved its id at the address that was dialled (over a transport of this project's)."""

    def __init__(self, peer: bytes) -> None:
        super().__init__("another peer answered")
        self.peer = peer
        """Its binary peer id."""


class _NoAutoConnector:
    """Stands where the library expects its auto-connector, and does nothing."""

    async def start(self) -> None:
        """Do nothing."""

    async def stop(self) -> None:
        """Do nothing."""

    async def run_background_task(self, nursery: Any) -> None:
        """Do nothing."""

    async def maybe_connect(self) -> None:
        """Do nothing."""

    def record_disconnect(self, peer_id: Any) -> None:
        """Do nothing."""


def never_dial_by_itself(host: Any) -> None:
    """Let everything in the library raise that dials a peer by its id, and take away the auto-connector.

    Defect (0.8.1, host/basic_host.py:899, network/swarm.py:1588): opening a stream dials where there is no
    connection, by rules of the library's own: so do its lookups, and the refresh of its routing table every
    600 s. That goes past dial/dialer.py and --lan-only, to addresses that any stranger may have named.
    Defect (0.8.1, network/auto_connector.py:262): it dials peers of the peer store whenever there are fewer
    connections than half of the high watermark, even if the low watermark is zero; and it remembers every
    peer that ever disconnected.
    Test: tests/swarm/test_dialing.py.
    """

    async def refuse(*_arguments: Any, **_more: Any) -> NoReturn:
        raise DialForbiddenError("the library does not dial: dial/dialer.py does")

    network = host.get_network()
    host.connect = refuse
    network.dial_peer = refuse
    network.dial_peer_replacement = refuse
    network.dial_addr_as_responder = refuse
    network.auto_connector = _NoAutoConnector()


def shorten_dials(network: Any) -> None:
    """Cut the head start of a dial to 20 ms, for the whole process, and dial each address once.

    Defect (0.8.1, network/swarm.py:92): each successful dial waits out a head start of 250 ms, and a dead
    address is tried four times.
    Test: tests/swarm/test_dialing.py.
    """
    library_swarm._HAPPY_EYEBALLS_DELAY = HEAD_START_S
    network.retry_config = RetryConfig(max_retries=0)


def peer_that_answered(error: BaseException) -> bytes | None:
    """Return the peer id that an address proved instead of the expected one; None if a dial failed otherwise.

    Defect (0.8.1, security/noise/patterns.py:349): the exception has the peer id in its text only.
    Test: tests/mistakes/test_same_identity.py.
    """
    cause: BaseException | None = error
    for _ in range(_MAX_CAUSES):
        if cause is None or isinstance(cause, PeerIDMismatchesPubkey):
            break
        if isinstance(cause, OtherPeerAnsweredError):
            return cause.peer
        cause = cause.__cause__ or cause.__context__
    if not isinstance(cause, PeerIDMismatchesPubkey):
        return None
    try:
        return peer_id_from_text(str(cause).rpartition("remote_peer_id_from_pubkey=")[2])
    except ValueError:
        return None
