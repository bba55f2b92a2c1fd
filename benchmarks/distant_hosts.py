"""Network namespaces with a delay between them, for benchmarks of distance. Needs root and /dev/net/tun.

Each namespace has one interface, a TUN device; the module itself, run as a process, holds all of them and
passes packets on, each as late as the wire is long. (`tc netem` would do the same, where the kernel has it.)
Nothing outside of these namespaces is touched, and they vanish with their processes.

Run as `distant_hosts SECONDS PID=ADDRESS …`: SECONDS one way, PID of a process in each namespace.
"""

import ctypes
import fcntl
import heapq
import os
import select
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from .json_processes import module_command

_TUN = Path("/dev/net/tun")
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
_CLONE_NEWNET = 0x40000000
_PACKET_BYTES = 2048
_MAX_UNDER_WAY = 20_000


class NoNamespacesError(Exception):
    """Namespaces or TUN devices cannot be made here. The text says what is missing."""


@dataclass(frozen=True, slots=True)
class DistantHost:
    """A host: what stands before a command that runs on it, and its IPv4 address."""

    enter: tuple[str, ...]
    address: str


@contextmanager
def distant_hosts(number: int, one_way_s: float) -> Iterator[list[DistantHost]]:
    """Make so many hosts with a delay between any two. Raises NoNamespacesError."""
    if os.geteuid() != 0 or not _TUN.exists():
        raise NoNamespacesError(f"network namespaces with a delay need root and {_TUN}")
    with ExitStack() as stack:
        pids = [stack.enter_context(_held("unshare", "--net", "sh", "-c", "echo here; exec cat")) for _ in
                range(number)]  # fmt: skip
        hosts = [
            DistantHost(("nsenter", f"--target={pid}", "--net"), f"10.77.0.{place}")
            for place, pid in enumerate(pids, 1)
        ]
        named = [f"{pid}={host.address}" for pid, host in zip(pids, hosts, strict=True)]
        stack.enter_context(_held(*module_command("distant_hosts", str(one_way_s), *named)))
        for host in hosts:
            for setting in (
                ("link", "set", "lo", "up"),
                ("address", "add", f"{host.address}/24", "dev", "wire"),
                ("link", "set", "wire", "up"),
            ):
                subprocess.run([*host.enter, "ip", *setting], check=True, capture_output=True)
        yield hosts


@contextmanager
def _held(*command: str) -> Iterator[int]:
    """Run a process that prints one line and ends with its input; give its pid. Raises NoNamespacesError."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            if not process.stdout.readline():
                raise NoNamespacesError(f"{command[0]} {command[1]} failed")
            yield process.pid
        finally:
            process.kill()


def _open_tun(pid: int) -> int:
    """Return a TUN device named `wire` in the namespace of a process."""
    with open(f"/proc/{pid}/ns/net", "rb") as namespace:
        if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
    fd = os.open(_TUN, os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", b"wire", _IFF_TUN | _IFF_NO_PI))
    return fd


def _carry(one_way_s: float, fds: dict[bytes, int]) -> None:
    """Pass on packets of IPv4 until the standard input ends. What is too much is dropped, as by a router."""
    under_way: list[tuple[float, int, int, bytes]] = []
    poll = select.poll()
    for fd in (0, *fds.values()):
        poll.register(fd, select.POLLIN)
    count = 0
    while True:
        wait = max(0.0, under_way[0][0] - time.monotonic()) if under_way else 1.0
        ready = [fd for fd, _events in poll.poll(1000 * wait)]
        if 0 in ready:
            return
        for fd in ready:
            for packet in _packets(fd):
                to = fds.get(packet[16:20])
                if to is not None and packet[0] >> 4 == 4 and len(under_way) < _MAX_UNDER_WAY:
                    count += 1
                    heapq.heappush(under_way, (time.monotonic() + one_way_s, count, to, packet))
        while under_way and under_way[0][0] <= time.monotonic():
            _at, _number, to, packet = heapq.heappop(under_way)
            os.write(to, packet)


def _packets(fd: int) -> Iterator[bytes]:
    for _ in range(64):
        try:
            yield os.read(fd, _PACKET_BYTES)
        except BlockingIOError:
            return


def main(arguments: Sequence[str]) -> None:
    """Be the wire."""
    fds = {}
    for named in arguments[1:]:
        pid, _, address = named.partition("=")
        fds[bytes(map(int, address.split(".")))] = _open_tun(int(pid))
    print("here", flush=True)
    _carry(float(arguments[0]), fds)


if __name__ == "__main__":
    main(sys.argv[1:])
