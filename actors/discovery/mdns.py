"""The finder mdns: has lan announce the codes that are shown, and look for those that were entered.

Owns what lan has been told. Never sends anything; `poll` returns what to send. Without mDNS in the
configuration there is no lan, and nothing is told.
"""

from collections.abc import Iterable

from ...messages.base import Message
from ...messages.to_discovery import SwarmUp
from ...messages.to_lan import Announce, Browse, StopAnnouncing, StopBrowsing
from ..base import Send


class Mdns:
    """The codes that lan announces and looks for."""

    def __init__(self, *, enabled: bool) -> None:
        self._enabled = enabled
        self._announced: dict[str, Announce] = {}
        self._browsed: set[str] = set()
        self._sends: list[Send] = []

    def announce(self, instances: Iterable[str], swarm_up: SwarmUp | None) -> None:
        """Have these codes announced, and no others; none before the swarm listens."""
        wanted = {}
        if swarm_up is not None and swarm_up.listening:
            wanted = {one: Announce(one, swarm_up.peer, swarm_up.listening) for one in instances}
        for instance in self._announced.keys() - wanted.keys():
            self._send(instance, StopAnnouncing(instance))
        for instance, message in wanted.items():
            if self._announced.get(instance) != message:
                self._send(instance, message)
        self._announced = wanted

    def browse(self, instances: Iterable[str]) -> None:
        """Have these codes looked for, and no others."""
        wanted = set(instances)
        for instance in sorted(self._browsed - wanted):
            self._send(instance, StopBrowsing(instance))
        for instance in sorted(wanted - self._browsed):
            self._send(instance, Browse(instance))
        self._browsed = wanted

    def browse_again(self, instance: str) -> None:
        """Have a code looked for that another search looks for already, and what was found reported again."""
        if instance in self._browsed:
            self._send(instance, Browse(instance))

    def poll(self) -> list[Send]:
        """Return what to send to lan now."""
        sends, self._sends = self._sends, []
        return sends

    def _send(self, instance: str, message: Message) -> None:
        if self._enabled:
            self._sends.append(Send("lan", message, instance.encode()))
