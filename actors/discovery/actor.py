"""The discovery actor: one task that drives core.Discovery with messages, time and the state of this host.

Owns the I/O of discovery: its mailbox and the registration files. It keeps nothing over a restart, since
the standing messages of sessions and swarm tell it everything again.
"""

import math
from pathlib import Path

import trio

from ...messages.actor_configs import DiscoveryConfig, decoder
from ...messages.child_protocol import Start
from ...messages.to_discovery import DiscoveryInbox, decode
from ...messages.types import Instant
from ..base import ActorChannel, Incoming, Mailbox, now, run_live_actor
from .core import Discovery
from .same_host import POLL_BUSY, POLL_IDLE, SameHost

# A wait never lasts longer, so that time spent in suspend, which trio's clock does not count, is noticed.
_LONGEST_WAIT = 5.0

# A message with 32 long addresses has some 8 KiB; one frame may have 1 MiB.
_SENDS_AT_ONCE = 64


async def main(channel: ActorChannel) -> None:
    """Run discovery until the node stops."""
    await run_live_actor(channel, decode, _run)


async def _run(mailbox: Mailbox[DiscoveryInbox], start: Start) -> None:
    config = decoder(DiscoveryConfig)(start.config)
    actor = _Actor(mailbox, config)
    try:
        await actor.run()
    finally:
        actor.close()


class _Actor:
    def __init__(self, mailbox: Mailbox[DiscoveryInbox], config: DiscoveryConfig) -> None:
        self._mailbox = mailbox
        self._core = Discovery(config, mailbox.incarnation)
        self._same_host = SameHost(Path(config.runtime_dir)) if config.same_host else None
        self._look_at: Instant = -math.inf
        self._trouble = ""
        self._looked = False
        """Whether the directory of nodes has been there for this process."""

    def close(self) -> None:
        if self._same_host is not None:
            self._same_host.close()

    async def run(self) -> None:
        while True:
            await self._look_around()
            sends = self._core.poll(now())
            for begin in range(0, len(sends), _SENDS_AT_ONCE):
                await self._mailbox.send_all(sends[begin : begin + _SENDS_AT_ONCE])
            try:
                incoming = await self._next()
            except trio.EndOfChannel:
                return
            if incoming is not None:
                self._take(incoming)

    async def _next(self) -> Incoming[DiscoveryInbox] | None:
        """Return the next message, or None when there is something to do without one."""
        wake_at = self._core.wake_at()
        if self._same_host is not None:
            wake_at = min(wake_at, self._look_at)
        with trio.move_on_after(min(max(wake_at - now(), 0.0), _LONGEST_WAIT)):
            return await self._mailbox.receive()
        return None

    def _take(self, incoming: Incoming[DiscoveryInbox]) -> None:
        was_busy, was_up = self._core.busy, self._core.up
        self._core.take(incoming.sender, incoming.message, now())
        if self._core.up is not was_up or (self._core.busy and not was_busy):
            self._look_at = -math.inf

    async def _look_around(self) -> None:
        """Register this node and look for others, when that is due; a failure ends only this finder."""
        moment = now()
        if self._same_host is None or moment < self._look_at:
            return
        busy = self._core.busy
        self._look_at = moment + (POLL_BUSY if busy else POLL_IDLE)
        up = self._core.up
        trouble = ""
        try:
            if up is not None:
                self._same_host.register(up.peer, up.local_addresses or up.addresses)
            self._core.same_host(self._same_host.others(moment, busy=busy), moment)
            self._looked = True
        except OSError as error:
            if self._looked and isinstance(error, PermissionError):
                # The directory has been removed, and this process may make none: the next one is given one.
                raise
            trouble = f"{type(error).__name__}: {error.strerror or error}"
        if trouble and trouble != self._trouble:
            await self._mailbox.log("warning", "nodes on this host cannot be found", reason=trouble)
        self._trouble = trouble
