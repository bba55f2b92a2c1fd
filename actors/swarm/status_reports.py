"""Tells the gateway and metrics what has changed in the swarm, at most once a second.

Owns the measurements of this incarnation of the swarm, and what was sent last. Never sends what is as it was.
"""

from collections.abc import Callable

import trio

from ...messages.to_gateway import SwarmStatus
from ...messages.to_metrics import MetricName, Observed
from ...messages.to_swarm import SwarmInbox
from ..base import Mailbox, Send
from .metrics import Measurements

_INTERVAL_S = 1.0


class StatusReports:
    """The reports of one node: of what is counted here, and of all else that `mark_changed` tells of."""

    def __init__(self) -> None:
        self._measurements = Measurements()
        self._changed = trio.Event()

    def mark_changed(self) -> None:
        """Something that is reported has changed."""
        self._changed.set()

    def count_handshake(self, transport: str, seconds: float, succeeded: bool) -> None:
        """Count one set-up of a connection, in either direction."""
        self._measurements.handshake(transport, seconds, succeeded)
        self.mark_changed()

    def count(self, metric: MetricName, outcome: str) -> None:
        """Count one event of a metric whose only label is its outcome."""
        self._measurements.count(metric, outcome)
        self.mark_changed()

    def count_refusal(self, reason: str) -> None:
        """Count one request that the swarm itself refused."""
        self._measurements.refusal(reason)
        self.mark_changed()

    async def run(
        self,
        mailbox: Mailbox[SwarmInbox],
        status: Callable[[], SwarmStatus],
        observed: Callable[[Measurements], Observed],
    ) -> None:
        """Report for as long as the node runs. `observed` puts the measurements together with what is now."""
        sent_status, sent_observed = status(), Observed()
        while True:
            await self._changed.wait()
            self._changed = trio.Event()
            status_now, observed_now = status(), observed(self._measurements)
            sends = [Send("gateway", status_now)] if status_now != sent_status else []
            sends += [Send("metrics", observed_now)] if observed_now != sent_observed else []
            if sends:
                await mailbox.send_all(sends)
            sent_status, sent_observed = status_now, observed_now
            await trio.sleep(_INTERVAL_S)  # not a wait for an event: the pace of reports
