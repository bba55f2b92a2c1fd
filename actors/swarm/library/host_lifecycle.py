"""Runs a host and closes it in order; finds out whether a port is taken before a host listens on it."""

import errno
import ipaddress
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio

from ....messages.errors import SpacedriveNodeError
from .connections import close_connection, close_quietly

_CLOSE_TIMEOUT_S = 0.9


class AddressTakenError(SpacedriveNodeError, OSError):
    """Another socket listens there."""


@asynccontextmanager
async def run_host(host: Any) -> AsyncIterator[None]:
    """Run a host without listeners; at the end close all of it within about a second, also when cancelled.

    Defect (0.8.1, network/swarm.py:424): cancelling host.run() leaks the connections and the listening
    socket, and close() takes at least 0.1 s for each connection, one after another.
    Here the host runs in a task that is shielded from cancellation outside. When the body is left, this task
    closes everything at once, with a deadline.
    Test: tests/swarm/test_host_lifecycle.py.
    """
    body_left = trio.Event()

    async def hold(task_status: Any) -> None:
        with trio.CancelScope(shield=True) as scope:
            async with host.run([]):
                task_status.started()
                await body_left.wait()
                scope.deadline = trio.current_time() + _CLOSE_TIMEOUT_S
                await _close_all(host)

    async with trio.open_nursery() as nursery:
        await nursery.start(hold)
        try:
            yield
        finally:
            body_left.set()


async def _close_all(host: Any) -> None:
    network = host.get_network()
    async with trio.open_nursery() as nursery:
        for listener in list(network.listeners.values()):
            nursery.start_soon(close_quietly, listener.close)
        for connection in list(network.get_connections()):
            nursery.start_soon(close_connection, connection)
    await close_quietly(host.close)


def check_port_is_free(host: str, port: int, zone: int = 0, *, datagrams: bool = False) -> int:
    """Return the port, or any free one for 0. Raises AddressTakenError when another socket listens there.

    Any other OSError of socket(2) or bind(2) comes as it is. `zone` is the number of an interface;
    `datagrams` stands for UDP, otherwise it is TCP.
    Defect (0.8.1, transport/tcp/tcp.py): a listen failure is silent, and with SO_REUSEPORT two hosts share a
    port, each of which gets half of the connections. So a socket without SO_REUSEPORT is bound first.
    Test: tests/swarm/test_host_lifecycle.py.
    """
    is_ip4 = ipaddress.ip_address(host).version == 4
    kind = socket.SOCK_DGRAM if datagrams else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET if is_ip4 else socket.AF_INET6, kind) as probe:
        if not datagrams:  # of UDP it would let two sockets share the port
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if not is_ip4:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            probe.bind((host, port) if is_ip4 else (host, port, 0, zone))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise AddressTakenError(error.errno, "another program listens there") from error
            raise
        free: int = probe.getsockname()[1]
        return free
