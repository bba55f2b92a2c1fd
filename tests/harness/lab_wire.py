"""The wire of a NAT laboratory: it carries packets late, and loses some. (`tc netem`, where there is none.)

A process of its own holds a TUN device in each namespace that is attached, passes packets of IPv4 and IPv6
on by where they go, and drops what goes elsewhere. What is lost follows from a seed and the order of packets.
Needs root and /dev/net/tun. Everything ends with the process, and that with its standard input.

Run as a module with ONE-WAY-SECONDS LOSS SEED. Each line of input, PID INTERFACE ADDRESS …, attaches one.
"""

import ctypes
import fcntl
import heapq
import ipaddress
import os
import random
import select
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

_TUN = "/dev/net/tun"
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
_CLONE_NEWNET = 0x40000000
_PACKET_BYTES = 2048
_BATCH_PACKETS = 64
_MAX_UNDER_WAY = 20_000
_IPV6_PREFIX_BYTES = 6
"""An address of IPv6 stands for its /48: a whole home."""


@dataclass(frozen=True, slots=True)
class Weather:
    """How a wire is: the round trip between any two that are attached, and the share of packets it loses."""

    round_trip_s: float = 0.0
    loss: float = 0.0
    seed: int = 1


@dataclass
class LabWire:
    """A running wire."""

    process: "subprocess.Popen[str]"

    def attach(self, pid: int, interface: str, *addresses: str) -> None:
        """Make an interface in the namespace of a process; packets to these addresses come out there."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(" ".join([str(pid), interface, *addresses]) + "\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "attached\n"


@contextmanager
def open_wire(weather: Weather) -> Iterator[LabWire]:
    """Run a wire."""
    settings = (weather.round_trip_s / 2, weather.loss, weather.seed)
    command = [sys.executable, "-m", __name__, *map(str, settings)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            yield LabWire(process)
        finally:
            process.kill()


@dataclass
class _Carrier:
    """The packets that are under way."""

    one_way_s: float
    loss: float
    draw: random.Random
    _ends: dict[bytes, int] = field(default_factory=dict)
    """Descriptors by the address of IPv4, or the first bytes of one of IPv6."""
    _under_way: list[tuple[float, int, int, bytes]] = field(default_factory=list)
    _count: int = 0

    def attach(self, fd: int, addresses: Sequence[str]) -> None:
        for text in addresses:
            self._ends[_end_of(ipaddress.ip_address(text).packed)] = fd

    def take(self, packet: bytes) -> None:
        """Take a packet from a device."""
        version = packet[0] >> 4
        destination = packet[16:20] if version == 4 else packet[24:40]
        to = self._ends.get(_end_of(destination))
        is_lost = self.loss > 0 and self.draw.random() < self.loss
        if to is None or is_lost or len(self._under_way) >= _MAX_UNDER_WAY:
            return
        self._count += 1
        heapq.heappush(self._under_way, (time.monotonic() + self.one_way_s, self._count, to, packet))

    def deliver(self) -> float:
        """Pass on what is due; return the seconds until more is."""
        while self._under_way and self._under_way[0][0] <= time.monotonic():
            _at, _number, to, packet = heapq.heappop(self._under_way)
            try:
                os.write(to, packet)
            except OSError:  # the device is down, not yet up, or gone: so is the packet
                continue
        return max(0.0, self._under_way[0][0] - time.monotonic()) if self._under_way else 60.0


def _end_of(destination: bytes) -> bytes:
    return destination if len(destination) == 4 else destination[:_IPV6_PREFIX_BYTES]


def _open_tun(pid: int, interface: str) -> int:
    with open(f"/proc/{pid}/ns/net", "rb") as namespace:
        if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
    fd = os.open(_TUN, os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", interface.encode(), _IFF_TUN | _IFF_NO_PI))
    return fd


def _packets(fd: int) -> Iterator[bytes]:
    for _ in range(_BATCH_PACKETS):
        try:
            yield os.read(fd, _PACKET_BYTES)
        except OSError:  # none is left, or the device is down
            return


def main(arguments: Sequence[str]) -> None:
    """Be the wire, until the standard input ends."""
    one_way_s, loss, seed = arguments
    carrier = _Carrier(float(one_way_s), float(loss), random.Random(int(seed)))
    poll = select.poll()
    poll.register(sys.stdin.fileno(), select.POLLIN)
    wait_s = 60.0
    while True:
        for fd, events in poll.poll(1000 * wait_s):
            if fd == sys.stdin.fileno():
                line = sys.stdin.readline()
                if not line:
                    return
                pid, interface, *addresses = line.split()
                made = _open_tun(int(pid), interface)
                carrier.attach(made, addresses)
                poll.register(made, select.POLLIN)
                print("attached", flush=True)
            elif events & (select.POLLERR | select.POLLNVAL):
                poll.unregister(fd)  # its namespace is gone
            else:
                for packet in _packets(fd):
                    carrier.take(packet)
        wait_s = carrier.deliver()


if __name__ == "__main__":
    main(sys.argv[1:])
