"""WebSocket listeners with a handler of the test, clients that send what they like, and certificates."""

import datetime
import ipaddress
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from multiaddr import Multiaddr

from spacedrive_node.actors.swarm.websocket.stream import WebSocketStream
from spacedrive_node.actors.swarm.websocket.transport import WebSocketTransport
from spacedrive_node.actors.swarm.websocket.wire import WebSocketOptions
from spacedrive_node.protocol.multiaddrs import parse

DEADLINE = 20.0
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
"""The example of RFC 6455, 1.3, whose answer is s3pPLMBiTxaQ9kYGzzhZRbK+xOo=."""


def request(path: str = "/", *more: str, method: str = "GET", host: str = "test") -> bytes:
    """A request for a WebSocket, with more lines of header."""
    lines = [
        f"{method} {path} HTTP/1.1",
        f"Host: {host}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {KEY}",
        *more,
    ]
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode()


def masked(first: int, payload: bytes, mask: bytes = b"mask", length: int | None = None) -> bytes:
    """A frame of a client: its first byte, and its payload; `length` is what it says of itself."""
    size = len(payload) if length is None else length
    if size < 126:
        head = bytes([first, 0x80 | size])
    elif size < 1 << 16:
        head = bytes([first, 0x80 | 126]) + size.to_bytes(2, "big")
    else:
        head = bytes([first, 0x80 | 127]) + size.to_bytes(8, "big")
    return head + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))


class Served:
    """A listener, and the connections that it has accepted."""

    def __init__(self, transport: WebSocketTransport, nursery: trio.Nursery) -> None:
        self.transport = transport
        self.nursery = nursery
        self.connections: list[WebSocketStream] = []
        self.dialled: list[WebSocketStream] = []
        self.address = ""
        self.close_at_end: list[Callable[[], None]] = []
        self._news = trio.Event()

    @property
    def port(self) -> int:
        return parse(self.address).port

    async def accepted(self, number: int = 1) -> WebSocketStream:
        """The connection with this number, from 1 on."""
        with trio.fail_after(DEADLINE):
            while len(self.connections) < number:
                await self._news.wait()
        return self.connections[number - 1]

    def add(self, connection: WebSocketStream) -> None:
        self.connections.append(connection)
        self._news.set()
        self._news = trio.Event()

    async def open(self, data: bytes = b"") -> trio.SocketStream:
        """A TCP connection to the listener, on which `data` was sent."""
        stream = await trio.open_tcp_stream("127.0.0.1", self.port)
        self.close_at_end.append(stream.socket.close)
        await stream.send_all(data)
        return stream

    async def upgraded(self, *more: str) -> trio.SocketStream:
        """A TCP connection on which frames are spoken."""
        stream = await self.open(request("/", *more))
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += await receive(stream)
        assert answer.startswith(b"HTTP/1.1 101 ")
        return stream

    async def dial(self, address: str = "") -> WebSocketStream:
        """This project's own client."""
        connection = await self.transport.dial(Multiaddr(address or self.address))
        self.dialled.append(connection.stream)
        return self.dialled[-1]


@asynccontextmanager
async def served(
    options: WebSocketOptions | None = None,
    *,
    address: str = "/ip4/127.0.0.1/tcp/0/ws",
    handler: Callable[[WebSocketStream], Awaitable[None]] | None = None,
) -> AsyncIterator[Served]:
    """Listen; without a handler, a connection is kept until it is closed, and nobody reads."""
    transport = WebSocketTransport(options or WebSocketOptions())
    async with trio.open_nursery() as nursery:
        transport.set_background_nursery(nursery)
        made = Served(transport, nursery)

        async def accept(connection: WebSocketStream) -> None:
            made.add(connection)
            await (connection._closed.wait() if handler is None else handler(connection))

        listener = transport.create_listener(accept)
        await listener.listen(Multiaddr(address))
        made.address = str(listener.get_addrs()[0])
        try:
            yield made
        finally:
            with trio.CancelScope(shield=True):
                await listener.close()
                for connection in (*made.connections, *made.dialled):
                    await connection.close()
            for close in made.close_at_end:
                close()
            nursery.cancel_scope.cancel()


async def receive(stream: trio.abc.ReceiveStream, size: int = 65536) -> bytes:
    """What comes next, within the deadline; b"" at the end, also after a reset."""
    with trio.fail_after(DEADLINE):
        try:
            return bytes(await stream.receive_some(size))
        except trio.BrokenResourceError:
            return b""


async def receive_all(stream: trio.abc.ReceiveStream) -> bytes:
    """Everything until the end."""
    found = b""
    while data := await receive(stream):
        found += data
    return found


def make_certificate(folder: Path, names: Sequence[str]) -> WebSocketOptions:
    """Options with a new certificate for names or IP addresses, which is its own root."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    others: list[x509.GeneralName] = []
    for one in names:
        try:
            others.append(x509.IPAddress(ipaddress.ip_address(one)))
        except ValueError:
            others.append(x509.DNSName(one))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(others), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "certificate.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    file = str(folder / "certificate.pem")
    return WebSocketOptions(certificate=file, key=str(folder / "key.pem"), ca=file)
