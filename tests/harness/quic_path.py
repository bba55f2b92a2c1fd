"""Two QUIC connections and the packets between them, in virtual time: no sockets, no clock, no chance."""

import heapq
import itertools
from collections import Counter
from collections.abc import Callable
from typing import Any

from aioquic.quic.events import QuicEvent

from spacedrive_node.actors.swarm.quic.bounded_quic import BoundedQuic
from spacedrive_node.tests.harness.quic_endpoints import identity

THERE = ("192.0.2.1", 1)


class QuicPath:
    """A path whose packets arrive in order, `delay_s` late; it may change."""

    def __init__(self, delay_s: float) -> None:
        self.now = 0.0
        self.sent: Counter[BoundedQuic] = Counter()
        """Datagrams of each side."""
        self.dials = self._side("a", is_client=True)
        first = self.dials.original_destination_connection_id
        self.listens = self._side("b", is_client=False, original_destination_connection_id=first)
        self.delay_s = delay_s
        self._under_way: list[tuple[float, int, BoundedQuic, bytes]] = []
        self._arrives_at: dict[BoundedQuic, float] = {self.dials: 0.0, self.listens: 0.0}
        self._number = itertools.count()
        self.dials.connect(THERE, now=0.0)

    @staticmethod
    def _side(name: str, **settings: Any) -> BoundedQuic:
        made = identity(name)
        return BoundedQuic(made.own, made.tokens, **settings)

    def run(self, handle: Callable[[BoundedQuic, QuicEvent], bool]) -> float:
        """Let packets and time pass until `handle` returns True of an event; return the time it has then."""
        while True:
            for side, other in ((self.dials, self.listens), (self.listens, self.dials)):
                if side is self.listens and not side.has_heard:
                    continue
                while (event := side.next_event()) is not None:
                    if handle(side, event):
                        return self.now
                self._send(side, other)
            self._pass_time()

    def _send(self, side: BoundedQuic, other: BoundedQuic) -> None:
        for datagram, _to in side.datagrams_to_send(now=self.now):
            self.sent[side] += 1
            at = self._arrives_at[other] = max(self._arrives_at[other], self.now + self.delay_s)
            heapq.heappush(self._under_way, (at, next(self._number), other, datagram))

    def _pass_time(self) -> None:
        """Go on to the next packet or timer, and take all that arrive then."""
        timers = {side: side.get_timer() for side in (self.dials, self.listens) if side.has_heard}
        times = [at for at in timers.values() if at is not None] + [one[0] for one in self._under_way[:1]]
        self.now = max(self.now, min(times))
        while self._under_way and self._under_way[0][0] <= self.now:
            _at, _number, side, datagram = heapq.heappop(self._under_way)
            side.receive_datagram(datagram, THERE, now=self.now)
        for side, at in timers.items():
            if at is not None and at <= self.now:
                side.handle_timer(now=self.now)
