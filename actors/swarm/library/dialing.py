"""Switches off the library's own dialing rules: dial/dialer.py decides whom to dial, and when.

The library's `connect` and `new_stream` stay unused; dial/dialer.py uses `dial_addr`, one address at a time.
"""

from typing import Any

import libp2p.network.swarm as library_swarm
from libp2p.network.config import RetryConfig

HEAD_START_S = 0.02


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
