"""Peers whose UDP gets no answer: hosts that listen on TCP, beside sockets of UDP that only count.

`python -m spacedrive_node.tests.harness.silent_udp IP NUMBER`, in the network namespace of a host. It prints
the addresses of each peer, as a list of QR hints; then, for each line that it reads, how many datagrams and
how many connections each peer has had since the line before, as a list of pairs.
"""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, contextmanager, suppress
from typing import Any, cast

import trio
from multiaddr import Multiaddr

from spacedrive_node.actors.swarm.library import host_lifecycle
from spacedrive_node.actors.swarm.library.notifications import ConnectionEvents
from spacedrive_node.tests.harness.library_hosts import our_host


class _Peer:
    def __init__(self, udp: socket.socket, host: Any) -> None:
        self.udp, self.connections = udp, 0
        host.get_network().register_notifee(ConnectionEvents(self._connected, lambda _connection: None))

    def _connected(self, _connection: Any) -> None:
        self.connections += 1

    def counts(self) -> tuple[int, int]:
        datagrams = 0
        with suppress(BlockingIOError):
            while self.udp.recv(2048):
                datagrams += 1
        connections, self.connections = self.connections, 0
        return datagrams, connections


async def _main(ip: str, number: int) -> None:
    async with AsyncExitStack() as hosts:
        with ExitStack() as sockets:
            peers, hints = [], []
            for n in range(1, number + 1):
                udp = sockets.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                udp.setblocking(False)
                udp.bind((ip, 0))
                host = our_host(n)
                await hosts.enter_async_context(host_lifecycle.run_host(host))
                await host.get_network().listen(Multiaddr(f"/ip4/{ip}/tcp/0"))
                tcp = str(host.get_transport_addrs()[0])
                quic = f"/ip4/{ip}/udp/{udp.getsockname()[1]}/quic-v1"
                peers.append(_Peer(udp, host))
                hints.append(f"p={host.get_id()}&a={quic}&a={tcp}")
            print(json.dumps(hints), flush=True)
            async for _line in trio.lowlevel.FdStream(0):
                print(json.dumps([peer.counts() for peer in peers]), flush=True)


@contextmanager
def silent_udp_peers(
    ip: str, number: int, enter: Sequence[str]
) -> Iterator[tuple[list[str], "subprocess.Popen[bytes]"]]:
    """Run so many peers in the namespaces that the command `enter` enters."""
    process = subprocess.Popen(
        [*enter, sys.executable, "-m", __spec__.name if __spec__ else __name__, ip, str(number)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield json.loads(process.stdout.readline()), process
    finally:
        process.kill()
        process.stdin.close()
        process.stdout.close()
        process.wait()


def counts(process: "subprocess.Popen[bytes]") -> list[tuple[int, int]]:
    """Return (datagrams, connections) of each peer since the last call."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"counts\n")
    return cast(list[tuple[int, int]], [tuple(pair) for pair in json.loads(process.stdout.readline())])


if __name__ == "__main__":
    trio.run(_main, sys.argv[1], int(sys.argv[2]))
