"""The gateway actor: accepts clients on the control socket and publishes the states of sessions to them.

Owns the accepting end of the control socket (docs/interfaces.md, "Control socket") and who may use it:
processes of the same user or of root. Keeps no checkpoint: a restarted gateway computes its read model
(node_state.py) from the standing messages, which the supervisor delivers first, and clients connect again
to the same socket.
"""

import os
import select
import socket
import struct
from contextlib import suppress

import trio

from ...messages.actor_configs import GatewayConfig
from ...messages.actor_configs import decoder as config_decoder
from ...messages.base import CONTROL_LIMIT, encode, frame
from ...messages.child_protocol import Start
from ...messages.control_protocol import Error
from ...messages.to_gateway import FramesRead, GatewayInbox, PageFrames, decode
from ...messages.to_supervisor import ListActors
from ..base import ActorChannel, FatalActorError, Mailbox, now, run_live_actor
from .actor_requests import ActorClient, RequestRefusedError
from .client_connection import ClientConnection
from .device_changes import devices_may_have_changed
from .handlers import Settings
from .node_state import NodeState
from .page_connection import PAGE_REQUESTS, PageConnection, PageStream

MAX_CLIENTS = 128
_DRAIN_SECONDS = 0.5
_ACCEPT_RETRY_SECONDS = 0.1
_decode_config = config_decoder(GatewayConfig)


async def main(channel: ActorChannel) -> None:
    """Run the gateway over its channel with the supervisor."""
    await run_live_actor(channel, decode, _run)


async def _run(mailbox: Mailbox[GatewayInbox], start: Start) -> None:
    config = _decode_config(start.config)
    try:
        # A duplicate: the supervisor keeps the listening socket open for the next incarnation.
        listener = socket.socket(fileno=os.dup(config.socket_fd))
        listener.setblocking(False)
    except OSError as error:
        raise FatalActorError(f"the control socket cannot be used: {error.strerror}") from error
    with listener:
        await Gateway(mailbox, config, listener).run()


def may_use(uid: int, own_uid: int) -> bool:
    """Return whether a process of user `uid` may control a node that runs as user `own_uid`."""
    return uid in (own_uid, 0)


def peer_uid(sock: trio.socket.SocketType) -> int:
    """Return the user id of the process that connected (unix(7), SO_PEERCRED)."""
    size = struct.calcsize("3i")
    _pid, uid, _gid = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return int(uid)


def _is_shut_down(listener: socket.socket) -> bool:
    """Return whether no client can come any more: accept(2) does not say so of a socket that never blocks."""
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    return any(events & select.POLLHUP for _, events in poll.poll(0))


class Gateway:
    """The accept loop, the inbox loop, and the connections between them."""

    def __init__(
        self, mailbox: Mailbox[GatewayInbox], config: GatewayConfig, listener: socket.socket
    ) -> None:
        self._mailbox = mailbox
        self._listener = listener
        self._settings = Settings(code_lifetime=config.code_lifetime)
        self._actors = ActorClient(
            mailbox,
            NodeState(config.version, mdns=config.mdns, lan_only=config.lan_only, offline=config.offline),
        )
        self._connections: set[ClientConnection] = set()
        self._page = PageConnection(self._actors.send, self._serve_page)
        self._is_complete = trio.Event()
        """The read model is: all standing messages have been applied."""

    async def run(self) -> None:
        """Serve until the node stops."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._actors.run_writer)
            nursery.start_soon(self._accept, nursery.cancel_scope)
            async for incoming in self._mailbox:
                if isinstance(incoming.message, PageFrames | FramesRead):
                    self._page.handle(incoming.message, nursery)
                    continue
                changed = self._actors.handle(incoming)
                for session in changed:
                    self._publish(session)
                if devices_may_have_changed(incoming.message, changed, self._actors.state.sessions):
                    for connection in self._connections:
                        connection.publish_device_change()
            self._page.close()  # its messages are read no more
            await self._drain()
            nursery.cancel_scope.cancel()

    def _publish(self, session: str) -> None:
        state = self._actors.state.sessions.state(session, now())
        if state is not None:
            for connection in self._connections:
                connection.publish(state)

    async def _drain(self) -> None:
        """The node stops: give the clients what is queued for them, above all the outcomes."""
        for session in self._actors.state.sessions.end_all():
            self._publish(session)
        for connection in self._connections:
            connection.stop()
        with trio.move_on_after(_DRAIN_SECONDS):
            for connection in list(self._connections):
                await connection.flush()

    async def _accept(self, scope: trio.CancelScope) -> None:
        """Accept clients. End the gateway, by `scope`, when another socket has taken this one's place.

        The supervisor shuts it down then (config/node_sockets.py); the next incarnation gets the other one.
        """
        await self._wait_for_standing_messages()
        self._is_complete.set()
        async with trio.open_nursery() as nursery:
            while True:
                await trio.lowlevel.wait_readable(self._listener)
                try:
                    sock, _address = self._listener.accept()
                except BlockingIOError:  # the client has gone again, or there will be none
                    if _is_shut_down(self._listener):
                        scope.cancel()
                except ConnectionAbortedError:
                    continue
                except OSError:
                    # No file descriptor is free, and there is no event for one that becomes free.
                    await trio.sleep(_ACCEPT_RETRY_SECONDS)
                else:
                    nursery.start_soon(self._serve, trio.socket.from_stdlib_socket(sock))

    async def _wait_for_standing_messages(self) -> None:
        """Return when the read model is complete. A client answered earlier would find its session unknown.

        A restarted actor gets all standing messages first, in the order of its mailbox. So once any request
        of this incarnation has its answer, they have all been applied. ListActors changes nothing.
        """
        try:
            await self._actors.call("supervisor", lambda number: ListActors(number, memory=False))
        except RequestRefusedError:
            return

    async def _serve(self, sock: trio.socket.SocketType) -> None:
        with sock:
            uid = peer_uid(sock)
            if not may_use(uid, os.geteuid()):
                await self._mailbox.log("warning", "control socket refused", uid=uid)
                return
            if len(self._connections) >= MAX_CLIENTS:
                refusal = Error(0, "busy", f"the node serves {MAX_CLIENTS} clients at once; try again later")
                # The send buffer of a new socket takes it at once; a client that is gone gets nothing.
                gone = suppress(trio.BrokenResourceError, trio.ClosedResourceError)
                with trio.move_on_after(1), gone:
                    await trio.SocketStream(sock).send_all(frame(encode(refusal), CONTROL_LIMIT))
                return
            await self._serve_client(ClientConnection(trio.SocketStream(sock), self._actors, self._settings))

    async def _serve_page(self, stream: PageStream) -> None:
        await self._is_complete.wait()
        await self._serve_client(
            ClientConnection(stream, self._actors, self._settings, allowed=PAGE_REQUESTS)
        )

    async def _serve_client(self, connection: ClientConnection) -> None:
        self._connections.add(connection)
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)
