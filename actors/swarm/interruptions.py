"""Begins anew when this host is in another network, in the same one again, or awake again.

The node tells its new addresses, finds out which connections are left instead of waiting for each, renews its
reservations at relays and asks again whom it had stopped asking. Owns this order; network_watch.py notices
the change. Implements docs/protocol.md, "Interruptions".
"""

from collections.abc import Awaitable, Callable
from typing import Any

from ...messages.to_discovery import NetworkChanged
from ..base import Mailbox
from .dial import addresses
from .dial.dialer import Dialer
from .host import Host
from .library.dead_connections import close_dead, close_unless_answered, made_before
from .library.identify import push_identify
from .network_watch import NetworkWatch
from .relay.relaying import Relaying
from .roles import Roles


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

    async def run(self) -> None:
        """Watch, until cancelled."""
        await NetworkWatch(self._changed).run()

    def connected(self, connection: Any) -> None:
        """There is a new connection; the peer may have lost the ones before, and nobody has told this node.

        What runs over a relay waits for it otherwise: the circuits through a connection that is dead.
        """
        older = made_before(self._host.network, connection)
        if older:
            self._start_task(close_unless_answered, older)

    async def _changed(self) -> None:
        self._start_task(self._begin_anew)

    async def _begin_anew(self) -> None:
        await self._mailbox.log("info", "the network has changed")
        self._dialer.network_changed()
        self._host.read_interfaces()
        self._roles.network_changed()
        await self._tell_addresses()
        self._relaying.network_changed()
        await self._mailbox.send("discovery", NetworkChanged())
        await close_dead(self._host.network, {str(ip) for ip in addresses.own_addresses()})
        self._relaying.network_changed()
        await push_identify(self._host.libp2p)
