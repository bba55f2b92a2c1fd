"""Other devices on the local network: one that listens, ones that say useless things, and one that asks.

`python -m spacedrive_node.tests.harness.lan_stranger MODE`, in the network namespace of a host. Each mode
says in one line that it has begun; `listen` and `ask` then print a line for each packet, in hex.

    listen   prints what is said to the groups of mDNS
    flood    answers to the groups as fast as it can, about codes that nobody looks for
    garbage  answers to the groups that are mutated, loop or are cut off, and to each question a bare pointer
    ask      asks for the service as plain DNS does, and prints the answer
    zeroconf python-zeroconf, a program with mDNS and a service of its own; prints which codes it hears of
"""

import itertools
import os
import random
import select
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from spacedrive_node.actors.lan.dns_messages import PTR, Question, query, response
from spacedrive_node.actors.lan.service import SERVICE, encoded_records, strings_of
from spacedrive_node.tests.harness.hostile_bytes import hostile_samples
from spacedrive_node.tests.harness.sample_frames import PEER

PORT = 5353
GROUP4, GROUP6 = "224.0.0.251", "ff02::fb"
INTERFACE = "eth0"
BEGUN = "begun"
_GARBAGE_INTERVAL_SECONDS = 0.02


def _sockets(port: int = PORT) -> list[tuple[socket.socket, tuple[object, ...]]]:
    """Return a socket that is joined to each group, with the address of the group."""
    index = socket.if_nametoindex(INTERFACE)
    four = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    six = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    for sock in (four, six):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    six.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    four.bind(("", port))
    six.bind(("::", port))
    here = struct.pack("@i", index)
    four.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(GROUP4) + bytes(4) + here)
    four.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, bytes(8) + here)
    six.setsockopt(
        socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, socket.inet_pton(socket.AF_INET6, GROUP6) + here
    )
    return [(four, (GROUP4, PORT)), (six, (GROUP6, PORT, 0, index))]


def _say(line: str) -> None:
    print(line, flush=True)


def listen() -> None:
    sockets = [sock for sock, _ in _sockets()]
    _say(BEGUN)
    while True:
        for sock in select.select(sockets, [], [])[0]:
            _say(sock.recv(9000).hex())


def flood() -> None:
    sockets = _sockets()
    said = [
        response(encoded_records(f"{number:016x}", strings_of(PEER, ["/ip4/10.77.0.1/tcp/1"])) * 5)
        for number in range(100)
    ]
    for count, data in enumerate(itertools.cycle(said)):
        if count == 1000:
            _say(BEGUN)
        for sock, group in sockets:
            _send(sock, data, group)


def garbage() -> None:
    sockets = _sockets()
    one = encoded_records("0" * 16, strings_of(PEER, ["/ip4/0.0.0.0/tcp/0", "/ip4/127.0.0.1/tcp/1"]))
    looping = response([one[0]])[:12] + b"\x10_spacedrive-pair\xc0\x0c" + bytes(12)
    rng = random.Random(1)
    _say(BEGUN)
    for seed in itertools.count():
        for data in (*hostile_samples(seed, 20, [response(one), looping]), looping, rng.randbytes(9000)):
            for sock, group in sockets:
                _send(sock, data, group)
                _send(sock, response(one[:1]), group)
            time.sleep(_GARBAGE_INTERVAL_SECONDS)


def ask() -> None:
    sockets = _sockets(port=0)
    _say(BEGUN)
    for sock, group in sockets:
        _send(sock, query([Question(SERVICE, PTR)]), group)
    while True:
        for sock in select.select([sock for sock, _ in sockets], [], [])[0]:
            _say(sock.recv(9000).hex())


def zeroconf() -> None:
    from zeroconf import IPVersion, ServiceBrowser, ServiceInfo, Zeroconf  # it takes a while

    def heard(name: str, **_: object) -> None:
        _say(name)

    with Zeroconf(ip_version=IPVersion.V4Only) as other:
        service = "_http._tcp.local."
        other.register_service(ServiceInfo(service, f"of-{os.getpid()}.{service}", 80, server="other.local."))
        ServiceBrowser(other, ".".join(label.decode() for label in SERVICE) + ".", handlers=[heard])
        _say(BEGUN)
        while True:
            time.sleep(60)


def _send(sock: socket.socket, data: bytes, group: tuple[object, ...]) -> None:
    try:
        sock.sendto(data, group)
    except OSError:  # no address of this IP version, or no room
        time.sleep(0)


@contextmanager
def stranger(mode: str, enter: Sequence[str]) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a mode in the namespaces that the command `enter` enters. Yields when it has begun."""
    process = subprocess.Popen(
        [*enter, sys.executable, "-m", __spec__.name if __spec__ else __name__, mode],
        stdout=subprocess.PIPE,
        bufsize=0,  # so that select tells whether a line is there
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == f"{BEGUN}\n".encode()
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


if __name__ == "__main__":
    {"listen": listen, "flood": flood, "garbage": garbage, "ask": ask, "zeroconf": zeroconf}[sys.argv[1]]()
