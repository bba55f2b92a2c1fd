"""Tells the service manager how the node is: sd_notify(3), for systemd's Type=notify and WatchdogSec.

READY=1 when the node takes pairings, RELOADING=1 and READY=1 around a reload, STOPPING=1 when it stops,
STATUS for `systemctl status` as it changes,
and WATCHDOG=1 from the supervisor's own loop: a supervisor that hangs sends none, and systemd starts the
node again. No library does this better than these lines.

Owns the notification socket's address. Never waits: a datagram that finds no room is dropped.
"""

import os
import socket
import time
from contextlib import suppress

import trio

_TURNS_PER_TIMEOUT = 3
"""WATCHDOG=1 so many times within WatchdogSec."""
_MICROSECONDS = 1_000_000


class ServiceManager:
    """The service manager that started this process; without one, every call does nothing."""

    def __init__(self) -> None:
        # Taken out of the environment, which every process started from here on inherits.
        address = os.environ.pop("NOTIFY_SOCKET", "")
        timeout = os.environ.pop("WATCHDOG_USEC", "")
        watched = os.environ.pop("WATCHDOG_PID", "") in ("", str(os.getpid()))
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._status = ""
        self._timeout = int(timeout) / _MICROSECONDS if watched and timeout.isdecimal() else 0.0

    @property
    def is_there(self) -> bool:
        """Whether a service manager wants to be told."""
        return bool(self._address)

    def ready(self, status: str) -> None:
        """Say that the node takes pairings; `status` is one line for people."""
        self._status = status
        self._send("READY=1", f"STATUS={status}")

    def reloading(self, begins: bool) -> None:
        """Say that the node changes its settings, or has changed them; before it is ready, nothing."""
        if not self._status:
            return
        if begins:
            now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
            self._send("RELOADING=1", f"MONOTONIC_USEC={now}")
        else:
            self._send("READY=1", f"STATUS={self._status}")

    def status(self, line: str) -> None:
        """Say in one line how the node is now, if that has changed."""
        if line != self._status:
            self._status = line
            self._send(f"STATUS={line}")

    async def run(self, stop: trio.Event) -> None:
        """Say at once that the node starts, then in time that the loop runs, and once that it stops."""
        if not self._address:
            return
        self._send("STATUS=starting")
        async with trio.open_nursery() as nursery:
            if self._timeout > 0:
                nursery.start_soon(self._watchdog)
            await stop.wait()
            self._send("STOPPING=1", "STATUS=stopping")

    async def _watchdog(self) -> None:
        while True:
            self._send("WATCHDOG=1")
            await trio.sleep(self._timeout / _TURNS_PER_TIMEOUT)

    def _send(self, *assignments: str) -> None:
        if not self._address:
            return
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.sendto("\n".join(assignments).encode(), self._address)
