"""The gateway actor: takes clients from the control socket and tells them what becomes of sessions.

Owns the accepting end of the control socket (docs/interfaces.md) and who may use it: the same user or
root. Keeps no state of its own: a restarted gateway is told everything again by standing messages.
"""

import os
import socket
import struct
from contextlib import suppress

import trio

from ...messages.actor_configs import GatewayConfig
from ...messages.actor_configs import decoder as config_decoder
from ...messages.base import CONTROL_LIMIT, encode, frame
from ...messages.child_protocol import Start
from ...messages.control_protocol import Error
from ...messages.to_gateway import GatewayInbox, decode
from ...messages.to_supervisor import ListActors
from ..base import ActorChannel, FatalActorError, Mailbox, now, run_live_actor
from .actor_requests import Exchange, RequestRefusedError
from .client_connection import Connection
from .handlers import Settings
from .node_state import Board

CLIENTS = 128
_DRAIN = 0.5
_OUT_OF_FILES = 0.1
_decode_config = config_decoder(GatewayConfig)


async def main(channel: ActorChannel) -> None:
    """Run the gateway over its channel with the supervisor."""
    await run_live_actor(channel, decode, _run)


async def _run(mailbox: Mailbox[GatewayInbox], start: Start) -> None:
    config = _decode_config(start.config)
    try:
        # The supervisor keeps the socket itself; it is there again for the next incarnation.
        listener = trio.socket.from_stdlib_socket(socket.socket(fileno=os.dup(config.socket_fd)))
    except OSError as error:
        raise FatalActorError(f"the control socket cannot be used: {error.strerror}") from error
    with listener:
        await Gateway(mailbox, config, listener).run()


def may_use(uid: int, own: int) -> bool:
    """Say whether a process of user `uid` may control a node of user `own`."""
    return uid in (own, 0)


def peer_uid(sock: trio.socket.SocketType) -> int:
    """Return the user of the process that connected (SO_PEERCRED)."""
    size = struct.calcsize("3i")
    _pid, uid, _gid = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return int(uid)


class Gateway:
    """The accept loop, the inbox loop, and the connections between them."""

    def __init__(
        self, mailbox: Mailbox[GatewayInbox], config: GatewayConfig, listener: trio.socket.SocketType
    ) -> None:
        self._mailbox = mailbox
        self._listener = listener
        self._settings = Settings(code_lifetime=config.code_lifetime)
        self._exchange = Exchange(mailbox, Board(config.version))
        self._connections: set[Connection] = set()

    async def run(self) -> None:
        """Serve until the node stops."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._exchange.pump)
            nursery.start_soon(self._accept)
            async for incoming in self._mailbox:
                for session in self._exchange.take(incoming):
                    self._publish(session)
            await self._drain()
            nursery.cancel_scope.cancel()

    def _publish(self, session: str) -> None:
        state = self._exchange.board.state(session, now())
        if state is not None:
            for connection in self._connections:
                connection.publish(state)

    async def _drain(self) -> None:
        """The node stops: let the clients have what they are owed, the outcomes above all."""
        for session in self._exchange.board.abandon():
            self._publish(session)
        for connection in self._connections:
            connection.stop()
        with trio.move_on_after(_DRAIN):
            for connection in list(self._connections):
                await connection.written()

    async def _accept(self) -> None:
        await self._catch_up()
        async with trio.open_nursery() as nursery:
            while True:
                try:
                    sock, _address = await self._listener.accept()
                except ConnectionAbortedError:
                    continue
                except OSError:
                    # No file descriptor is free; nothing announces that a client's has become so.
                    await trio.sleep(_OUT_OF_FILES)
                    continue
                nursery.start_soon(self._serve, sock)

    async def _catch_up(self) -> None:
        """Answer nobody before the standing messages are in: a session would seem unknown.

        They come first, so they are in when the answer to a question of ours is.
        """
        try:
            await self._exchange.ask("supervisor", ListActors)
        except RequestRefusedError:
            return

    async def _serve(self, sock: trio.socket.SocketType) -> None:
        with sock:
            uid = peer_uid(sock)
            if not may_use(uid, os.geteuid()):
                await self._mailbox.log("warning", "control socket refused", uid=uid)
                return
            if len(self._connections) >= CLIENTS:
                refusal = Error(0, "busy", f"the node serves {CLIENTS} clients at once; try again later")
                # An empty send buffer takes it at once; whoever filled it gets the end of the stream only.
                gone = suppress(trio.BrokenResourceError, trio.ClosedResourceError)
                with trio.move_on_after(1), gone:
                    await trio.SocketStream(sock).send_all(frame(encode(refusal), CONTROL_LIMIT))
                return
            connection = Connection(trio.SocketStream(sock), self._exchange, self._settings)
            self._connections.add(connection)
            try:
                await connection.run()
            finally:
                self._connections.discard(connection)
