"""Asks name servers for TXT records: those of resolv.conf(5), or those that were configured.

Over UDP from a socket that takes packets of that server alone, and over TCP where the answer does not fit.
Owns the sockets and the times; each lookup has one task, one socket at a time, a bounded number of packets
and an end. No thread, and no library that would read what a stranger may have written (docs/decisions/0017).
"""

import ipaddress
import random
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import trio

from ....messages.errors import SpacedriveNodeError
from ..dial.resolver import ResolverFilesReplacedError
from .txt_messages import MAX_TCP_BYTES, MAX_UDP_BYTES, Answer, DnsError, query, question_of, read_answer

ANSWER_TIMEOUT_S: Final = 2.0
"""How long one server has; then the next one is asked."""
MAX_SERVERS: Final = 3
"""As many as resolv.conf(5) allows."""
ROUNDS: Final = 2
MAX_PACKETS: Final = 16
"""Packets that are read of a server for one question; others may forge some."""
_MAX_FILE_BYTES: Final = 64 * 1024
_PORT: Final = 53
_RESOLV_CONF: Final = Path("/etc/resolv.conf")

Server = tuple[str, int]


class NameLookupError(SpacedriveNodeError):
    """A name has no answer; the text says why."""


class NameServers:
    """The name servers of this host, or `configured` ones, each as "ADDRESS:PORT"."""

    def __init__(self, configured: Sequence[str] = (), file: Path = _RESOLV_CONF) -> None:
        self._configured = [_server(text) for text in configured][:MAX_SERVERS]
        self._file = file
        self._random = random.SystemRandom()

    async def texts(self, name: str) -> tuple[str, ...]:
        """Return the TXT records of a name. Raises NameLookupError, ResolverFilesReplacedError."""
        try:
            question = question_of(name)
        except DnsError:
            raise NameLookupError("not a name") from None
        servers = self._servers()
        if not servers:
            raise NameLookupError("this host has no name server")
        for server in servers * ROUNDS:
            answer: Answer | None = None
            with trio.move_on_after(ANSWER_TIMEOUT_S):
                try:
                    answer = await self._ask(server, question)
                except (OSError, DnsError, trio.BrokenResourceError):
                    continue
            if answer is not None and answer.is_final:
                return answer.texts
        raise NameLookupError("no name server answers")

    def _servers(self) -> list[Server]:
        if self._configured:
            return self._configured
        try:
            with self._file.open("rb") as file:
                return servers_in(file.read(_MAX_FILE_BYTES).decode("ascii", "replace"))
        except PermissionError:
            raise ResolverFilesReplacedError from None
        except OSError:
            return []

    async def _ask(self, server: Server, question: bytes) -> Answer | None:
        """Return what a server answers over UDP or, where that is cut, over TCP; None if it says nothing."""
        number = self._random.getrandbits(16)
        with trio.socket.socket(_family(server), trio.socket.SOCK_DGRAM) as udp:
            await udp.connect(server)  # the kernel drops what comes from elsewhere
            await udp.send(query(number, question))
            for _packet in range(MAX_PACKETS):
                try:
                    answer = read_answer(await udp.recv(MAX_UDP_BYTES), number, question)
                except DnsError:
                    continue
                return await self._ask_again(server, question) if answer.is_cut else answer
        return None

    async def _ask_again(self, server: Server, question: bytes) -> Answer:
        number = self._random.getrandbits(16)
        message = query(number, question)
        async with trio.SocketStream(trio.socket.socket(_family(server), trio.socket.SOCK_STREAM)) as stream:
            await stream.socket.connect(server)
            await stream.send_all(len(message).to_bytes(2, "big") + message)
            size = int.from_bytes(await _exactly(stream, 2), "big")
            if size > MAX_TCP_BYTES:
                raise DnsError("too long")
            return read_answer(await _exactly(stream, size), number, question)


def servers_in(text: str) -> list[Server]:
    """Return the name servers in the text of resolv.conf(5)."""
    found: list[Server] = []
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == "nameserver":
            try:
                ipaddress.ip_address(words[1])
            except ValueError:
                continue
            found.append((words[1], _PORT))
    return found[:MAX_SERVERS]


def _server(text: str) -> Server:
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def _family(server: Server) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in server[0] else socket.AF_INET


async def _exactly(stream: trio.SocketStream, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = await stream.receive_some(size - len(data))
        if not part:
            raise DnsError("cut off")
        data += part
    return data
