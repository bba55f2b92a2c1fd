"""A name server on loopback for tests: TXT records of any names, over UDP and TCP, honest or hostile.

Its messages are written and read by dnspython, a second implementation.
"""

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager

import dns.flags
import dns.message
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import trio

MAX_UDP_BYTES = 1232
Hostile = Callable[[bytes], Sequence[bytes]]
"""What is sent over UDP in place of an answer to a query: any number of packets."""


class NameServer:
    """The zone is a table of TXT records by name; a name that is not in it does not exist."""

    def __init__(self, zone: Mapping[str, Sequence[str]], hostile: Hostile | None = None) -> None:
        self.zone = {name.lower(): list(texts) for name, texts in zone.items()}
        self.hostile = hostile
        self.asked: list[str] = []
        """The names of all questions, those over TCP too."""
        self.over_tcp = 0
        self._questions = trio.lowlevel.ParkingLot()
        self._questions = trio.lowlevel.ParkingLot()
        self.address = ""
        """As --dns wants it."""

    def answer(self, data: bytes) -> bytes:
        """Return the answer to a query."""
        query = dns.message.from_wire(data)
        name = query.question[0].name.to_text(omit_final_dot=True).lower()
        self.asked.append(name)
        self._questions.unpark_all()
        self._questions.unpark_all()
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA
        texts = self.zone.get(name)
        if texts is None:
            response.set_rcode(dns.rcode.NXDOMAIN)
        elif texts:
            quoted = [f'"{text}"' for text in texts]
            response.answer.append(
                dns.rrset.from_text(query.question[0].name, 60, dns.rdataclass.IN, dns.rdatatype.TXT, *quoted)
            )
        return response.to_wire(max_size=65535)

    async def wait_for_question(self) -> None:
        """Wait until somebody asks something."""
        await self._questions.park()

    async def _serve_udp(self, socket: trio.socket.SocketType) -> None:
        while True:
            data, sender = await socket.recvfrom(4096)
            if self.hostile is not None:
                packets = list(self.hostile(data))
            else:
                packets = [self.answer(data)]
                if len(packets[0]) > MAX_UDP_BYTES:
                    cut = dns.message.make_response(dns.message.from_wire(data))
                    cut.flags |= dns.flags.TC
                    packets = [cut.to_wire()]
            for packet in packets:
                await socket.sendto(packet, sender)

    async def _serve_tcp(self, stream: trio.SocketStream) -> None:
        self.over_tcp += 1
        data = b""
        while len(data) < 2 or len(data) < 2 + int.from_bytes(data[:2], "big"):
            part = await stream.receive_some(4096)
            if not part:
                return
            data += part
        answer = self.answer(data[2:])
        await stream.send_all(len(answer).to_bytes(2, "big") + answer)


@asynccontextmanager
async def name_server(
    zone: Mapping[str, Sequence[str]], hostile: Hostile | None = None
) -> AsyncIterator[NameServer]:
    """Run a name server on a free port of 127.0.0.1."""
    server = NameServer(zone, hostile)
    udp, listeners = await one_port()
    server.address = f"127.0.0.1:{udp.getsockname()[1]}"
    with udp:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server._serve_udp, udp)
            nursery.start_soon(trio.serve_listeners, server._serve_tcp, listeners)
            yield server
            nursery.cancel_scope.cancel()


async def one_port() -> tuple[trio.socket.SocketType, list[trio.SocketListener]]:
    """Return sockets for UDP and TCP on one port that nobody else has."""
    while True:
        udp = trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM)
        await udp.bind(("127.0.0.1", 0))
        try:
            return udp, await trio.open_tcp_listeners(udp.getsockname()[1], host="127.0.0.1")
        except OSError:
            udp.close()


async def serve_forever(host: str, port: int, zone: Mapping[str, Sequence[str]]) -> None:
    """Serve a zone over UDP and TCP until the process is killed; say so on standard output."""
    server = NameServer(zone)
    with trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as udp:
        await udp.bind((host, port))
        listeners = await trio.open_tcp_listeners(port, host=host)
        print("ready", flush=True)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server._serve_udp, udp)
            nursery.start_soon(trio.serve_listeners, server._serve_tcp, listeners)


@contextmanager
def name_server_process(
    command: Sequence[str], host: str, zone: Mapping[str, Sequence[str]]
) -> Iterator[None]:
    """Run a name server on port 53 of an address; `command` runs it in a network namespace."""
    arguments = [*command, sys.executable, "-m", __name__, host, json.dumps(zone)]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == b"ready\n"
        yield
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


if __name__ == "__main__":
    trio.run(serve_forever, sys.argv[1], 53, json.loads(sys.argv[2]))
