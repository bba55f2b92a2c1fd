"""WebSocket as a transport of the library: listens on and dials /tcp/<port>/ws and /tcp/<port>/tls/ws.

Owns the listening sockets, and what becomes of a connection until its HTTP upgrade has ended: who may come,
how many at once, for how long. From there on it is a stream like one of TCP, with Noise and Yamux on it, and
the limits of all connections. Implements docs/protocol.md, "Transports".
"""

import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import trio
from libp2p.abc import IListener, ITransport
from libp2p.network.connection.raw_connection import RawConnection
from multiaddr import Multiaddr

from ....messages.types import Transport
from ....protocol.multiaddrs import AddressError, Endpoint, parse
from ..dial.addresses import IpAddress, block_of, ip_of
from ..library.connection_limits import Gate
from ..library.connections import SecureWebSocketAddress, WebSocketAddress
from ..library.tcp_sockets import zone_of
from . import tls
from .forwarded import client_address
from .http_upgrade import BAD_REQUEST, ClientUpgrade, RefusedRequestError, ServerUpgrade
from .stream import WebSocketStream
from .upgrade_limits import UPGRADE_TIMEOUT_S, UpgradeLimits
from .wire import WebSocketError, WebSocketOptions

_BACKLOG = 128
_READ_BYTES = 16 * 1024
_ANSWER_TIMEOUT_S = 0.2
_ADDRESS: dict[Transport, type[WebSocketAddress]] = {"ws": WebSocketAddress, "wss": SecureWebSocketAddress}

Handler = Callable[[Any], Awaitable[None]]
"""Gets an inbound connection, and returns when that has ended."""


class WebSocketTransport(ITransport):  # type: ignore[misc]
    """The transport of one host. Raises CertificateFileError when a configured file cannot be used."""

    def __init__(self, options: WebSocketOptions) -> None:
        self.options = options
        self.upgrades = UpgradeLimits()
        self.gate: Gate | None = None
        """Who may connect. Until it is set, everybody may."""
        self.observe: Callable[[str, float, bool], None] = lambda _transport, _seconds, _ok: None
        """Gets (transport, seconds, success) of an inbound upgrade that has failed."""
        self.nursery: trio.Nursery
        self._client_tls = None if options.ca is None else tls.client_context(options)
        """Of dials; without configured roots it is made for the first one (tls.py)."""
        self.server_tls = None if options.certificate is None else tls.server_context(options)

    def admit(self, gate: Gate, observe: Callable[[str, float, bool], None]) -> None:
        """Let only those connect whom `gate` allows; `observe` gets inbound upgrades that have failed."""
        self.gate, self.observe = gate, observe

    # What the library calls

    def set_background_nursery(self, nursery: trio.Nursery) -> None:
        """Run connections in the host's nursery."""
        self.nursery = nursery

    def protocols(self) -> list[str]:
        """Return the protocols of a multiaddr that are this transport's."""
        return ["ws", "wss"]

    def can_dial(self, maddr: Multiaddr) -> bool:
        """Return whether it is an IP address with /ws, /wss or /tls/ws."""
        try:
            endpoint = parse(str(maddr))
        except AddressError:
            return False
        return endpoint.transport in ("ws", "wss") and endpoint.ip is not None

    def can_listen(self, maddr: Multiaddr) -> bool:
        """Return whether `can_dial` holds."""
        return self.can_dial(maddr)

    async def dial(self, maddr: Multiaddr) -> RawConnection:
        """Return a connection. Raises WebSocketError, OSError."""
        target = parse(str(maddr)).with_zone(zone_of(maddr))
        began = trio.current_time()
        stream: trio.abc.Stream | None = None
        try:
            with trio.fail_after(UPGRADE_TIMEOUT_S):
                stream = await self._connect(target)
                if target.transport == "wss":
                    name = target.server_name or target.host
                    self._client_tls = self._client_tls or tls.client_context(self.options)
                    stream = _with_tls(stream, self._client_tls, name=name)
                    await stream.do_handshake()
                rest = await _ask(stream, target)
        except BaseException as error:
            if stream is not None:
                with trio.CancelScope(shield=True):
                    await trio.aclose_forcefully(stream)
            if isinstance(error, trio.TooSlowError | trio.BrokenResourceError):
                raise WebSocketError("no answer") from error
            raise
        remote = _ADDRESS[target.transport](target.host, target.port)
        made = WebSocketStream(stream, remote, began, is_client=True, rest=rest)
        self.nursery.start_soon(made.keep)
        return RawConnection(made, True, addresses=[Multiaddr(str(target.with_zone("")))])

    async def _connect(self, target: Endpoint) -> trio.abc.Stream:
        """Return a TCP connection. Raises OSError."""
        return await trio.open_tcp_stream(_with_zone(target), target.port)

    def create_listener(self, handler_function: Handler) -> "WebSocketListener":
        """Return a listener that does not listen yet."""
        return WebSocketListener(self, handler_function)

    async def close(self) -> None:
        """Do nothing: listeners and connections are closed by themselves."""


class WebSocketListener(IListener):  # type: ignore[misc]
    """One address on which a host listens."""

    def __init__(self, transport: WebSocketTransport, handler: Handler) -> None:
        self._transport = transport
        self._handler = handler
        self._socket: trio.SocketListener | None = None
        self._address: Endpoint
        self._scope = trio.CancelScope()

    async def listen(self, maddr: Multiaddr) -> None:
        """Bind the socket. Raises OSError, AddressError."""
        wanted = parse(str(maddr)).with_zone(zone_of(maddr))
        if wanted.transport == "wss" and self._transport.server_tls is None:
            raise WebSocketError("to listen on TLS a certificate is needed")
        self._socket = await _listening_socket(wanted)
        self._address = wanted.with_zone("").with_port(int(self._socket.socket.getsockname()[1]))
        self._transport.nursery.start_soon(self._serve, self._socket)

    def get_addrs(self) -> tuple[Multiaddr, ...]:
        """Return the address on which it listens, with the true port; nothing when it does not."""
        return () if self._socket is None else (Multiaddr(str(self._address)),)

    async def close(self) -> None:
        """Take no more connections."""
        self._scope.cancel()
        if self._socket is not None:
            listening, self._socket = self._socket, None
            await listening.aclose()

    async def _serve(self, listening: trio.SocketListener) -> None:
        with self._scope, suppress(trio.ClosedResourceError):
            await trio.serve_listeners(self._accept, [listening], handler_nursery=self._transport.nursery)

    async def _accept(self, stream: trio.SocketStream) -> None:
        try:
            await self._serve_one(stream)
        except Exception:  # as with TCP, what goes wrong concerns this connection alone
            await trio.aclose_forcefully(stream)

    async def _serve_one(self, stream: trio.SocketStream) -> None:
        """Serve one accepted socket until it is closed."""
        transport = self._transport
        name = stream.socket.getpeername()
        ip = ip_of(str(name[0]))
        is_proxy = ip is not None and transport.options.is_proxy(ip)
        block = None if is_proxy else block_of(str(name[0]))
        if ip is None or not (is_proxy or transport.gate is None or transport.gate.allows(str(ip))):
            await trio.aclose_forcefully(stream)
            return
        began = trio.current_time()
        connection: WebSocketStream | None = None
        try:
            with transport.upgrades.one(block):
                connection = await self._upgrade(stream, ip, int(name[1]), began)
        finally:
            if connection is None:
                transport.observe(self._address.transport, trio.current_time() - began, False)
                with trio.CancelScope(shield=True):
                    await trio.aclose_forcefully(stream)
        if connection is not None:
            await self._run(connection)

    async def _upgrade(
        self, stream: trio.abc.Stream, peer: IpAddress, port: int, began: float
    ) -> WebSocketStream | None:
        """Do TLS and HTTP; return the connection, or None when it was refused."""
        kind: Transport = self._address.transport
        options, gate = self._transport.options, self._transport.gate
        if kind == "wss":
            context = self._transport.server_tls
            assert context is not None
            stream = _with_tls(stream, context)
            await stream.do_handshake()
        upgrade = ServerUpgrade(options.path)
        try:
            while not upgrade.receive(bytes(await stream.receive_some(_READ_BYTES))):
                continue
            client = client_address(peer, upgrade.forwarded, options)
        except RefusedRequestError as error:
            await _refuse(stream, error.answer)
            return None
        except WebSocketError:
            await _refuse(stream, BAD_REQUEST)
            return None
        if gate is not None and client != peer and not gate.allows(str(client)):
            return None
        await stream.send_all(upgrade.accept())
        remote = _ADDRESS[kind](str(client), port if client == peer else 0)
        return WebSocketStream(stream, remote, began, is_client=False, rest=b"")

    async def _run(self, connection: WebSocketStream) -> None:
        """Hand a connection to the library, which closes it; keep it alive until then."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connection.keep)
            try:
                await self._handler(connection)
            except BaseException:
                await connection.close()
                raise


async def _ask(stream: trio.abc.Stream, target: Endpoint) -> bytes:
    """Ask for a WebSocket; return what came after the answer. Raises WebSocketError, BrokenResourceError."""
    host = target.server_name or target.host
    host = f"[{host}]" if ":" in host else host
    upgrade = ClientUpgrade(f"{host}:{target.port}")
    await stream.send_all(upgrade.request())
    while (rest := upgrade.receive(bytes(await stream.receive_some(_READ_BYTES)))) is None:
        continue
    return rest


async def _refuse(stream: trio.abc.Stream, answer: bytes) -> None:
    """Answer a request that is refused, if its sender takes the answer at once."""
    with trio.move_on_after(_ANSWER_TIMEOUT_S):
        await stream.send_all(answer)


def _with_tls(
    stream: trio.abc.Stream, context: ssl.SSLContext, *, name: str | None = None
) -> "trio.SSLStream[trio.abc.Stream]":
    """Return the stream with TLS on it: as client, with the name of the server, or as server."""
    return trio.SSLStream(
        stream, context, server_hostname=name, server_side=name is None, https_compatible=True
    )


def _with_zone(endpoint: Endpoint) -> str:
    """Return the IP address as sockets take it."""
    return f"{endpoint.host}%{endpoint.zone}" if endpoint.zone else endpoint.host


async def _listening_socket(wanted: Endpoint) -> trio.SocketListener:
    """Return a socket that listens. Raises OSError."""
    is_v6 = ipaddress.ip_address(wanted.host).version == 6
    made = trio.socket.socket(trio.socket.AF_INET6 if is_v6 else trio.socket.AF_INET, trio.socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if is_v6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        await made.bind((_with_zone(wanted), wanted.port))
        made.listen(_BACKLOG)
    except BaseException:
        made.close()
        raise
    return trio.SocketListener(made)
