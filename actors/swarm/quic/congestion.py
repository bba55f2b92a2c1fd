"""How fast a connection sends: aioquic's own rules, where they are wrong on short paths.

Each class names its defect in aioquic 1.7.2. Pure; bounded_quic.py puts them in their places.
"""

from typing import Final

from aioquic.quic.congestion.base import K_INITIAL_WINDOW, QuicRttMonitor
from aioquic.quic.recovery import QuicPacketPacer

LEAST_INCREASE_S: Final = 0.004
"""By which a round trip grows at least if it grows because a queue does (RFC 9406, 4.2: MIN_RTT_THRESH)."""


class Pacer(QuicPacketPacer):
    """Spreads packets over a round trip, but for a burst of the first window's size.

    Defect (quic/recovery.py:104): of the first packets after the first round trip two leave at once, and each
    further one a tenth of a round trip later, among them the request for which a connection is made. Here as
    many leave at once as before it, which is the burst that RFC 9002, 7.7 allows.
    """

    def update_rate(self, congestion_window: int, smoothed_rtt: float) -> None:
        """Take the new size of the window and time of a round trip."""
        super().update_rate(congestion_window, smoothed_rtt)
        self.bucket_max = max(self.bucket_max, K_INITIAL_WINDOW * (self.packet_time or 0.0))


class RttMonitor(QuicRttMonitor):
    """Says when round trips grow, so that the window no longer doubles with each of them.

    Defect (quic/congestion/base.py:120): a quarter more is taken for growth, which on a short path is but
    the other side's being busy for a moment. The window then stays at a dozen packets, and each
    round trip adds one. Here the growth is four milliseconds at least.
    """

    def is_rtt_increasing(self, *, now: float, rtt: float) -> bool:
        """Take a round trip; return whether they grow."""
        return super().is_rtt_increasing(now=now, rtt=max(rtt, 4 * LEAST_INCREASE_S))
