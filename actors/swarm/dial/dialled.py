"""The connections that this node has dialled: to which address each, from where, and which of several stays.

Dials to a peer that is away wait beside each other, for one caller gives up and the next begins; when the
peer is back, all of them may reach it at once. Each connection costs both sides a place, and over WebRTC a
socket, for as long as both live, and only the newest is used. So the first stays, and who comes later takes
that. Only what was dialled is compared: if both sides dialled and each dropped its own, none would be left.
Never closes a connection: the dialer does.
"""

from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from ..library.connections import connection_kind, is_alive
from .addresses import Endpoint


class DialledConnections:
    """Holds nothing of a connection that is gone."""

    def __init__(self) -> None:
        self._endpoints: WeakKeyDictionary[Any, Endpoint] = WeakKeyDictionary()
        self._from_listening_port: WeakSet[Any] = WeakSet()

    def note(self, connection: Any, endpoint: Endpoint) -> None:
        """Note that a connection was dialled to this address."""
        self._endpoints[connection] = endpoint

    def endpoint_of(self, connection: Any) -> Endpoint | None:
        """Return the address that was dialled for a connection; None if the peer has made it."""
        return self._endpoints.get(connection)

    def note_listening_port(self, connection: Any) -> None:
        """Note that a connection leaves from the port that is listened on."""
        self._from_listening_port.add(connection)

    def is_from_listening_port(self, connection: Any) -> bool:
        """Return whether a connection was dialled from the port that is listened on."""
        return connection in self._from_listening_port

    def first_beside(self, connection: Any, of_peer: Sequence[Any]) -> Any | None:
        """Return which of the peer's connections, oldest first, stays in place of one that was just dialled.

        None: it stays itself. One over a relay never stays in place of a direct one. That which stays is
        young: nobody dials while one is alive, so it was made while this one was being dialled.
        """
        for one in of_peer:
            if one is connection:
                return None
            is_as_good = connection_kind(one) in ("direct", connection_kind(connection))
            if one in self._endpoints and is_as_good and is_alive(one):
                return one
        return None
