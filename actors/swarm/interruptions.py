"""Begins anew when this host is in another network, in the same one again, or awake again.

The node closes what is dead instead of waiting for each, tells its new addresses, renews its reservations at
relays, asks again whom it had stopped asking, and shows itself to those with whom its user is pairing. Owns
this order; network_watch.py notices the change. Implements docs/protocol.md, "Interruptions".
"""

from collections.abc import Awaitable, Callable, Collection
from typing import Any

import trio

from ...messages.to_discovery import NetworkChanged
from ..base import Mailbox
from .dial import addresses
from .dial.dialer import Dialer, UnreachableError
from .host import Host
from .library.dead_connections import (
    SupersededConnections,
    close_silent,
    close_vanished,
    made_before,
)
from .library.identify import push_identify
from .network_watch import NetworkWatch
from .relay.relaying import Relaying
from .roles import Roles

_SHOW_TIMEOUT_S = 10.0
"""As long as an exchange: by then the peer has dialled itself."""


class Interruptions:
    """What one node does about them. `tell_addresses` tells discovery what is announced now."""

    def __init__(
        self,
        mailbox: Mailbox[Any],
        host: Host,
        dialer: Dialer,
        roles: Roles,
        relaying: Relaying,
        tell_addresses: Callable[[], Awaitable[None]],
        start_task: Callable[..., None],
    ) -> None:
        self._mailbox = mailbox
        self._host = host
        self._dialer = dialer
        self._roles = roles
        self._relaying = relaying
        self._tell_addresses = tell_addresses
        self._start_task = start_task
        self._superseded = SupersededConnections(host.network)

    async def run(self, waiting: Callable[[], Collection[bytes]]) -> None:
        """Watch, until cancelled. `waiting` returns the peers that wait for this node where it was."""

        async def changed() -> None:
            self._start_task(self._begin_anew, waiting())

        await NetworkWatch(changed).run()

    def connected(self, connection: Any) -> None:
        """There is a new connection; the peer may have lost the ones before, and nobody has told this node.

        An exchange waits for it otherwise, and circuits through a connection that is dead.
        """
        if made_before(self._host.network, connection):
            self._start_task(self._superseded.question, connection)

    async def _begin_anew(self, waiting: Collection[bytes]) -> None:
        await self._mailbox.log("info", "the network has changed")
        former = {one: self._dialer.reached_at(one) for one in waiting}
        self._dialer.network_changed()
        self._host.read_interfaces()
        self._roles.network_changed()
        await close_vanished(self._host.network, {str(ip) for ip in addresses.own_addresses()})
        self._relaying.network_changed()
        self._show(former)
        await self._tell_addresses()
        await self._mailbox.send("discovery", NetworkChanged())
        await close_silent(self._host.network)
        self._roles.interrupted()
        self._relaying.network_changed()
        self._show(former)
        await push_identify(self._host.libp2p)

    def _show(self, former: dict[bytes, tuple[str, ...]]) -> None:
        """Dial those peers with whom there is no connection any more, where they were reached before."""
        for peer, texts in former.items():
            if self._dialer.existing(peer) is None:
                self._start_task(self._show_to, peer, texts)

    async def _show_to(self, peer: bytes, texts: tuple[str, ...]) -> None:
        with trio.move_on_after(_SHOW_TIMEOUT_S):
            try:
                await self._dialer.connect(peer, texts, texts)
            except UnreachableError:
                return  # it dials again itself, when its exchange has had no answer
