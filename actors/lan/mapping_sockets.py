"""Carries the packets between port_mapper.py and the gateway, and finds out where the gateway is.

One socket of UDP is for questions and answers, one hears what the gateway announces to everybody; the kernel
drops what others send to either (packet_filter.py). Netlink says when the route changes. They are there only
while ports are to be opened. Owns these sockets. Never looks into a packet. Implements docs/protocol.md,
"Ports of the gateway".
"""

import math
import select
import socket
from collections.abc import Callable, Collection
from contextlib import suppress

from ...messages.to_lan import MapPorts
from ...messages.to_metrics import Sample
from ...messages.to_swarm import PortMapping, PortMappings
from ...messages.types import Instant
from .. import netlink
from ..base import Send
from . import interfaces, packet_filter, routes
from .mapping_messages import ANNOUNCEMENT_PORT, MAX_PACKET_BYTES, SERVER_PORT
from .port_mapper import Gateway, PortMapper

_BATCH_PACKETS = 16
"""Read from a socket at once: a gateway says a few, and who floods waits."""
_SETTLE_SECONDS = 0.1
"""Routes change in several steps."""
_FIRST_ANSWER_SECONDS = 10.0
"""For a gateway that answers at all."""
_RETRY_SECONDS = 60.0
"""After the kernel did not say where the gateway is, or no socket could be opened."""


class PortMappingDriver:
    """Runs one PortMapper. `serve` handles what can be read; call `flush` after it, and at `wake_at`."""

    def __init__(self, random: Callable[[], float]) -> None:
        self._mapper = PortMapper(random)
        self._watch: netlink.ChangeWatch | None = None
        self._socket: socket.socket | None = None
        """For questions and answers."""
        self._announcements: socket.socket | None = None
        self._look_at: Instant = math.inf
        """When to look where the gateway is."""
        self._told: tuple[PortMapping, ...] | None = None
        self._tell_anyhow: Instant = math.inf
        """When the swarm is told that there are none; it may know some of an earlier incarnation."""

    def want(self, message: MapPorts, now: Instant) -> None:
        """Have these ports opened, and no others."""
        self._mapper.want(message.ports, now)
        if self._mapper.wants_ports and self._watch is None:
            with suppress(OSError):
                self._watch = netlink.ChangeWatch(netlink.INTERFACE_CHANGES | netlink.IPV4_ROUTE_CHANGES)
            self._look_at = now
            self._tell_anyhow = now + _FIRST_ANSWER_SECONDS

    def sockets(self) -> list[socket.socket]:
        """Return what may become readable."""
        found = [self._socket, self._announcements, None if self._watch is None else self._watch.socket]
        return [one for one in found if one is not None]

    def serve(self, ready: Collection[int], now: Instant) -> None:
        """Read from those of the sockets that are ready, by descriptor."""
        if self._watch is not None and self._watch.socket.fileno() in ready:
            self._watch.drain()
            self._look_at = min(self._look_at, now + _SETTLE_SECONDS)
        if self._socket is not None and self._socket.fileno() in ready:
            for data in self._from_gateway(self._socket):
                self._mapper.handle_packet(data, now)
        if self._announcements is not None and self._announcements.fileno() in ready:
            for data in self._from_gateway(self._announcements):
                self._mapper.handle_announcement(data, now)

    def flush(self, now: Instant) -> list[Send]:
        """Send what is to be sent now; return what to tell the swarm, if anything has changed."""
        if now >= self._look_at:
            self._look_for_gateway(now)
        self._send(self._mapper.poll(now))
        mappings = self._mapper.mappings(now)
        is_due = self._told is None and now >= self._tell_anyhow
        if mappings == (self._told or ()) and not is_due:
            return []
        self._told, self._tell_anyhow = mappings, math.inf
        return [Send("swarm", PortMappings(mappings))]

    def samples(self, now: Instant) -> tuple[Sample, ...]:
        """Return what metrics are told."""
        if not self._mapper.wants_ports:
            return ()
        return tuple(
            Sample("port_mappings", (state,), float(count))
            for state, count in self._mapper.states(now).items()
        )

    def wake_at(self) -> Instant:
        """Return when `flush` has something to do without any event; inf: never."""
        return min(self._mapper.wake_at(), self._look_at, self._tell_anyhow)

    def stop(self, now: Instant) -> None:
        """Give everything back, and close the sockets."""
        self._mapper.release(now)
        self._send(self._mapper.poll(now))
        self._close()
        if self._watch is not None:
            self._watch.close()
            self._watch = None

    def _look_for_gateway(self, now: Instant) -> None:
        self._look_at = math.inf
        try:
            answers = netlink.ask(*interfaces.requests())
            gateway = routes.gateway(netlink.ask(routes.request()), interfaces.parse(answers))
            if gateway != self._mapper.gateway or self._socket is None:
                self._close()
                if gateway is not None and not gateway.own.is_global:
                    self._open(gateway)
                else:  # without a NAT in between there is nothing to open
                    gateway = None
        except OSError:
            gateway, self._look_at = None, now + _RETRY_SECONDS
            self._close()
        self._mapper.set_gateway(gateway, now)

    def _open(self, gateway: Gateway) -> None:
        """Raises OSError."""
        self._socket = _udp(gateway)
        self._socket.bind((str(gateway.own), 0))
        with suppress(
            OSError
        ):  # another program may have the port for itself: leases are renewed all the same
            self._announcements = _udp(gateway)
            self._announcements.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._announcements.bind(("", ANNOUNCEMENT_PORT))

    def _close(self) -> None:
        for one in (self._socket, self._announcements):
            if one is not None:
                one.close()
        self._socket = self._announcements = None

    def _send(self, packets: list[bytes]) -> None:
        gateway = self._mapper.gateway
        for packet in packets:
            if self._socket is not None and gateway is not None:
                with suppress(OSError):  # as a packet that is lost
                    self._socket.sendto(packet, (str(gateway.address), SERVER_PORT))

    def _from_gateway(self, sock: socket.socket) -> list[bytes]:
        """Return some of the packets that have come from the gateway's address and port."""
        found = []
        gateway = self._mapper.gateway
        for _ in range(_BATCH_PACKETS):
            try:
                data, sender = sock.recvfrom(MAX_PACKET_BYTES + 1)
            except OSError:
                break
            if gateway is not None and sender == (str(gateway.address), SERVER_PORT):
                found.append(data)
        return found


def register(poll: select.poll, driver: PortMappingDriver) -> None:
    """Have poll(2) wait for the sockets of a driver."""
    for one in driver.sockets():
        poll.register(one, select.POLLIN)


def _udp(gateway: Gateway) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setblocking(False)
    with suppress(OSError):  # then others' packets are dropped here
        packet_filter.attach(made, packet_filter.program_for(gateway.address))
    return made
