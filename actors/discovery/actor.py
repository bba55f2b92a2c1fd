"""The discovery actor: one task that drives core.Discovery with messages, time and the nodes of this host.

Owns the I/O of discovery: its mailbox and the registration files. Keeps nothing over a restart: the
supervisor delivers the standing messages of sessions and the swarm again (docs/architecture.md, "Steps").
"""

import math
from pathlib import Path

import trio

from ...messages.actor_configs import DiscoveryConfig, decoder
from ...messages.child_protocol import Start
from ...messages.to_discovery import DiscoveryInbox, decode
from ...messages.types import Addresses, Instant
from ..base import IDENTITY_IN_USE, ActorChannel, Incoming, Mailbox, now, run_live_actor
from .core import Discovery
from .same_host import POLL_INTERVAL_BUSY_SECONDS, POLL_INTERVAL_IDLE_SECONDS, SameHost

# No wait is longer, so that time spent in suspend, which trio's clock does not count, is noticed.
_MAX_WAIT_SECONDS = 5.0

OWN_BOOTSTRAP = "a bootstrap peer is this node itself, and is left out: see --bootstrap"

# A restart brings the messages of a thousand sessions at once, and each poll looks at all of them.
_MAX_MESSAGES_PER_POLL = 256

# A candidate with 32 long addresses, all of them hearsay, has some 17 KiB, and a frame at most 1 MiB.
_MAX_MESSAGES_PER_FRAME = 32


async def main(channel: ActorChannel) -> None:
    """Run discovery until the node stops."""
    await run_live_actor(channel, decode, _run)


async def _run(mailbox: Mailbox[DiscoveryInbox], start: Start) -> None:
    config = decoder(DiscoveryConfig)(start.config)
    actor = _DiscoveryActor(mailbox, config)
    try:
        await actor.run()
    finally:
        actor.close()


class _DiscoveryActor:
    def __init__(self, mailbox: Mailbox[DiscoveryInbox], config: DiscoveryConfig) -> None:
        self._mailbox = mailbox
        self._core = Discovery(config, mailbox.incarnation)
        self._same_host = SameHost(Path(config.runtime_dir)) if config.same_host else None
        self._next_scan_at: Instant = -math.inf
        self._last_error = ""
        self._directory_was_usable = False
        """Whether this process has been able to use the directory of nodes."""
        self._twin_reported = False
        self._own_bootstrap_reported = False

    def close(self) -> None:
        """Remove the registration of this node."""
        if self._same_host is not None:
            self._same_host.close()

    async def run(self) -> None:
        """Alternate between polling the core and waiting for a message or for time to pass."""
        while True:
            await self._scan_same_host()
            await self._report_own_bootstrap()
            sends = self._core.poll(now())
            for begin in range(0, len(sends), _MAX_MESSAGES_PER_FRAME):
                await self._mailbox.send_all(sends[begin : begin + _MAX_MESSAGES_PER_FRAME])
            try:
                self._handle_all(await self._next())
            except trio.EndOfChannel:
                return

    async def _next(self) -> Incoming[DiscoveryInbox] | None:
        """Return the next message, or None if it is time to poll without one."""
        wake_at = self._core.wake_at()
        if self._same_host is not None:
            wake_at = min(wake_at, self._next_scan_at)
        with trio.move_on_after(min(max(wake_at - now(), 0.0), _MAX_WAIT_SECONDS)):
            return await self._mailbox.receive()
        return None

    def _handle_all(self, incoming: Incoming[DiscoveryInbox] | None) -> None:
        """Handle a message, and what has arrived behind it."""
        handled = 0
        while incoming is not None:
            self._handle(incoming)
            handled += 1
            incoming = self._mailbox.receive_nowait() if handled < _MAX_MESSAGES_PER_POLL else None

    def _handle(self, incoming: Incoming[DiscoveryInbox]) -> None:
        # A new session, or a new address of this node: register and look for other nodes without delay.
        was_busy, was_up = self._core.busy, self._core.swarm_up
        self._core.handle(incoming.sender, incoming.message, now())
        if self._core.swarm_up is not was_up or (self._core.busy and not was_busy):
            self._next_scan_at = -math.inf

    async def _scan_same_host(self) -> None:
        """Register this node and read who else is there, if it is time to.

        A failure affects no other finder.
        """
        moment = now()
        if self._same_host is None or moment < self._next_scan_at:
            return
        busy = self._core.busy
        self._next_scan_at = moment + (POLL_INTERVAL_BUSY_SECONDS if busy else POLL_INTERVAL_IDLE_SECONDS)
        swarm = self._core.swarm_up
        error_text = ""
        try:
            if swarm is not None:
                self._same_host.register(swarm.peer, swarm.local_addresses or swarm.addresses)
            self._core.set_same_host(self._same_host.others(moment, busy=busy), moment)
            self._directory_was_usable = True
            await self._report_twin(self._same_host.twin)
            if self._same_host.twin_suspected:
                self._next_scan_at = moment + POLL_INTERVAL_BUSY_SECONDS
        except OSError as error:
            if self._directory_was_usable and isinstance(error, PermissionError):
                # The directory was removed, and the sandbox forbids to create it; a restart creates it.
                raise
            error_text = f"{type(error).__name__}: {error.strerror or error}"
        if error_text and error_text != self._last_error:
            await self._mailbox.log("warning", "nodes on this host cannot be found", reason=error_text)
        self._last_error = error_text

    async def _report_own_bootstrap(self) -> None:
        """Warn, once, that a bootstrap peer is this node itself."""
        own = self._core.own_bootstrap
        if own and not self._own_bootstrap_reported:
            self._own_bootstrap_reported = True
            await self._mailbox.log("warning", OWN_BOOTSTRAP, at=", ".join(own))

    async def _report_twin(self, twin: Addresses | None) -> None:
        """Warn, once, while another node of this host has this node's identity."""
        if twin is not None and not self._twin_reported:
            await self._mailbox.log("warning", IDENTITY_IN_USE, at=", ".join(twin), seen="on this host")
        self._twin_reported = twin is not None
