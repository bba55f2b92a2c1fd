"""The entry point of lan: drives lan.Lan with messages, packets, time and what the kernel says of interfaces.

Beside it runs what opens ports of the gateway (mapping_sockets.py). One poll(2) waits for all, without an
event loop, which would cost a third of this process's memory (docs/decisions/0007). The sockets are open
only while there is something to do with them. It keeps nothing over a restart: the supervisor delivers the
standing messages of discovery and the swarm again.

Owns the I/O of this actor.
"""

import math
import random
import select
from collections.abc import Sequence
from contextlib import suppress

import trio

from ...messages.actor_configs import LanConfig
from ...messages.actor_configs import decoder as config_decoder
from ...messages.child_protocol import Deliver, LogLevel, Ping, Pong, Ready, Start, Stop, ToChild
from ...messages.to_gateway import LanStatus
from ...messages.to_lan import MapPorts, decode
from ...messages.types import Instant
from ...protocol.multiaddrs import IpAddress
from ...supervisor.channel import BlockingChannel
from ..base import (
    Effects,
    Send,
    decode_delivery,
    log_frame,
    malformed_delivery_log,
    now,
    require_start,
    set_log_level,
    step_frame,
)
from ..netlink import INTERFACE_CHANGES, ChangeWatch
from .interfaces import Interface
from .lan import Lan
from .mapping_sockets import PortMappingDriver, register
from .sockets import MdnsSockets, read_interfaces, receive

_BATCH_PACKETS = 64
"""Read from a socket before messages get their turn."""
_PACKETS_PER_SECOND = 20_000
"""Read from the sockets, also to be dropped: beyond it the kernel drops them, and the processor is left to
others."""
_SETTLE_SECONDS = 0.1
"""Interfaces change in several steps: after one change, those that follow are waited for."""
_MAX_WAIT_SECONDS = 5.0
"""No wait is longer, so that time spent in suspend, which poll(2) does not count, is noticed."""

_decode_config = config_decoder(LanConfig)


class LanEntry:
    """The entry of lan, which runs in a process of its own only."""

    def serve(self, channel: BlockingChannel[ToChild]) -> None:
        """Run until the node stops."""
        try:
            while isinstance(first := channel.receive(), Ping):
                channel.send(Pong())
            start = require_start(first)
            channel.send(Ready())
            _Loop(channel, _decode_config(start.config)).run()
        except trio.EndOfChannel:
            return  # the supervisor is gone


main = LanEntry()


class _Loop:
    def __init__(self, channel: BlockingChannel[ToChild], config: LanConfig) -> None:
        self._channel = channel
        self._config = config
        self._lan = Lan(random.random)
        self._ports = PortMappingDriver(random.random)
        self._sockets = MdnsSockets()
        self._watch: ChangeWatch | None = None
        self._open = False
        self._heard_on: tuple[Interface, ...] = ()
        """Where the groups are joined."""
        self._blocked: tuple[IpAddress, ...] = ()
        """Whose packets the kernel drops."""
        self._interfaces_change: Instant = math.inf
        """When the interfaces are read again."""
        self._read_again: Instant = -math.inf
        """When packets are read again, after more than there is time for."""
        self._problem = ""
        self._status: LanStatus | None = None
        """As the gateway knows it."""

    def run(self) -> None:
        """Handle what comes until Stop; then take back what was announced."""
        self._flush()
        stopping = False
        while not stopping:
            ready = self._wait()
            if self._channel.fileno() in ready:
                stopping = self._read_messages()
            if self._watch is not None and self._watch.socket.fileno() in ready:
                self._watch.drain()
                self._interfaces_change = min(self._interfaces_change, now() + _SETTLE_SECONDS)
            self._read_packets(ready)
            self._ports.serve(ready, now())
            if now() >= self._interfaces_change:
                with suppress(OSError):  # the next change brings the next try
                    self._read_interfaces()
            self._flush()
        self._lan.take_all_back()
        self._flush()
        self._ports.stop(now())

    def _wait(self) -> set[int]:
        """Wait for a message, a packet, a change of interfaces or the time; return what can be read."""
        moment = now()
        poll = select.poll()
        poll.register(self._channel.fileno(), select.POLLIN)
        wake_at = min(self._lan.wake_at(), self._interfaces_change, self._ports.wake_at())
        register(poll, self._ports)
        if moment >= self._read_again:
            for sock in self._sockets.by_version.values():
                poll.register(sock, select.POLLIN)
        else:
            wake_at = min(wake_at, self._read_again)
        if self._watch is not None:
            poll.register(self._watch.socket, select.POLLIN)
        seconds = min(max(wake_at - moment, 0.0), _MAX_WAIT_SECONDS)
        return {descriptor for descriptor, _events in poll.poll(math.ceil(1000 * seconds))}

    def _read_messages(self) -> bool:
        """Handle the messages that have come; return whether the node stops."""
        for frame in self._channel.receive_batch(0.0):
            match frame:
                case Deliver():
                    incoming = decode_delivery(frame, decode)
                    if incoming is None:
                        self._channel.send(malformed_delivery_log(frame))
                    elif isinstance(incoming.message, MapPorts):
                        if self._config.port_mapping:
                            self._ports.want(incoming.message, now())
                    elif self._config.mdns:
                        self._lan.handle(incoming.message, now())
                case Ping():
                    self._channel.send(Pong())
                case LogLevel(debug=debug):
                    set_log_level(debug)
                case Stop():
                    return True
                case Start():
                    raise RuntimeError("a second Start")
        if self._lan.busy and not self._open:
            self._open_sockets()
        return False

    def _read_packets(self, ready: set[int]) -> None:
        began, count = now(), 0
        for sock in list(self._sockets.by_version.values()):
            if sock.fileno() not in ready:
                continue
            for packet in receive(sock, _BATCH_PACKETS):
                count += 1
                found = self._lan.handle_packet(
                    packet.data, packet.sender, packet.port, packet.interface, began
                )
                self._send([Send("discovery", peer) for peer in found])
        if count:
            self._read_again = began + count / _PACKETS_PER_SECOND

    def _read_interfaces(self) -> None:
        self._interfaces_change = math.inf
        found = read_interfaces()
        self._sockets.set_interfaces(found)
        self._lan.set_interfaces(found, now())

    def _open_sockets(self) -> None:
        self._open = True
        problems = self._sockets.open()
        try:
            self._watch = ChangeWatch(INTERFACE_CHANGES)
            self._read_interfaces()
        except OSError as error:
            problems.append(error)
        problem = "; ".join(dict.fromkeys(error.strerror or type(error).__name__ for error in problems))
        if problem and problem != self._problem:
            self._channel.send(log_frame("warning", "mDNS is not fully usable", {"reason": problem}))
        self._problem = problem

    def _close_sockets(self) -> None:
        self._open = False
        self._sockets.close()
        if self._watch is not None:
            self._watch.close()
            self._watch = None
        self._blocked = ()
        self._heard_on = ()
        self._interfaces_change = math.inf
        self._lan.set_interfaces((), now())

    def _flush(self) -> None:
        """Send what is to be sent now, and close the sockets when that was the last of it."""
        moment = now()
        heard_on = self._lan.heard_on()
        if heard_on != self._heard_on:
            self._heard_on = heard_on
            self._sockets.join(heard_on)
        for packet in self._lan.poll(moment):
            self._sockets.send(packet)
        blocked = self._lan.blocked(moment)
        if blocked != self._blocked:
            self._blocked = blocked
            self._sockets.drop(blocked)
        if self._open and not self._lan.busy:
            self._close_sockets()
        status = self._lan.status()
        if status != self._status:
            self._status = status
            self._send([Send("gateway", status)])
        self._send(self._ports.flush(moment))
        report = self._lan.report(moment, self._ports.samples(moment))
        if report is not None:
            self._send([Send("metrics", report)])

    def _send(self, sends: Sequence[Send]) -> None:
        if sends:
            self._channel.send(step_frame(0, Effects(out=list(sends))))
