"""Switches off the library's own dialing rules: dial/dialer.py decides whom to dial, and when.

The library's `connect` and `new_stream` stay unused; dial/dialer.py uses `dial_addr`, one address at a time.
"""

from typing import Any

import libp2p.network.swarm as library_swarm
from libp2p.network.config import RetryConfig
from libp2p.security.noise.exceptions import PeerIDMismatchesPubkey

from ....protocol.peer_ids import peer_id_from_text

HEAD_START_S = 0.02
_MAX_CAUSES = 8


def forget_failed_dials(network: Any) -> None:
    """Dial a peer again however recently a dial of it failed.

    Defect (0.8.1, network/swarm.py, _negative_peer_cache): a peer whose dial failed once is refused for 60 s,
    though it may be back.
    Test: tests/swarm/test_dialing.py.
    """
    network._negative_peer_cache = library_swarm._NegativePeerCache(ttl=0.0)


def never_dial_by_itself(network: Any) -> None:
    """Disable the auto-connector.

    Defect (0.8.1, network/auto_connector.py:262): it dials peers of the peer store whenever there are fewer
    connections than half of the high watermark, even if the low watermark is zero.
    Test: tests/swarm/test_dialing.py.
    """

    async def nothing() -> None:
        return

    network.auto_connector.maybe_connect = nothing


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
        cause = cause.__cause__ or cause.__context__
    if not isinstance(cause, PeerIDMismatchesPubkey):
        return None
    try:
        return peer_id_from_text(str(cause).rpartition("remote_peer_id_from_pubkey=")[2])
    except ValueError:
        return None
