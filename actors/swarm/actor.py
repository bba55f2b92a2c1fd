"""The swarm actor: waits for its identity, runs the host, and gives each message to the part it concerns.

Owns the order of start and stop. Whatever goes wrong with one request stays in that request; what ends the
actor is only what a restart may mend. Implements docs/architecture.md, "Swarm".
"""

import trio

from ...messages.actor_configs import SwarmConfig, decoder
from ...messages.child_protocol import Start, ToChild
from ...messages.from_supervisor import SessionEnded, Undeliverable
from ...messages.session_names import actor_of_session
from ...messages.to_gateway import Readiness
from ...messages.to_swarm import (
    Ask,
    Bootstrap,
    ClosestServers,
    ForgetPeer,
    KadRequest,
    KnownPeer,
    Listening,
    PeerReply,
    Serve,
    SwarmIdentity,
    SwarmInbox,
    decode,
)
from ...supervisor.channel import Channel
from ..base import Incoming, Mailbox, Send, run_live_actor
from .node import Node
from .pairing.frame_routing import TableFullError, Tables

_QUIET = 0.02
_LONGEST_START = 0.5
_MOST_WAITING = 2048

_decode_config = decoder(SwarmConfig)


async def run(channel: Channel[ToChild]) -> None:
    """Run the actor until the node stops."""
    await run_live_actor(channel, decode, _actor)


async def _actor(mailbox: Mailbox[SwarmInbox], start: Start) -> None:
    await Swarm(mailbox, _decode_config(start.config)).run()


class Swarm:
    """The actor's state: tables from the first message on, the rest once the host runs."""

    def __init__(self, mailbox: Mailbox[SwarmInbox], config: SwarmConfig) -> None:
        self._mailbox = mailbox
        self._config = config
        self._tables = Tables()
        self._former: tuple[str, ...] = ()
        self._waiting: list[Incoming[SwarmInbox]] = []

    async def run(self) -> None:
        """Wait for the identity, then serve until the mailbox ends."""
        await self._mailbox.send_all(readiness(False, "waiting for the transport key"))
        seed = await self._identity()
        if seed is None:
            return
        async with Node.open(self._mailbox, self._config, self._tables, seed, self._former) as node:
            await self._mailbox.send_all([*node.announcement(), *readiness(True, "")])
            for incoming in self._waiting:
                await self._handle(node, incoming)
            self._waiting.clear()
            async for incoming in self._mailbox:
                await self._handle(node, incoming)

    async def _identity(self) -> bytes | None:
        """Take messages until the identity is there; None: the node stops.

        After a restart the standing messages come in one burst. All of them are in the tables before the
        first peer can connect: a known peer's decision must not be answered `closed`.
        """
        seed: bytes | None = None
        try:
            while seed is None:
                seed = self._early(await self._mailbox.receive())
            if self._mailbox.incarnation > 1:
                with trio.move_on_after(_LONGEST_START):
                    while True:
                        with trio.move_on_after(_QUIET) as quiet:
                            self._early(await self._mailbox.receive())
                        if quiet.cancelled_caught:
                            break
        except trio.EndOfChannel:
            return None
        return seed

    def _early(self, incoming: Incoming[SwarmInbox]) -> bytes | None:
        match incoming.message:
            case SwarmIdentity(seed=seed):
                return seed
            case Listening(addresses=addresses):
                self._former = addresses
            case _ if not self._keep(incoming) and len(self._waiting) < _MOST_WAITING:
                self._waiting.append(incoming)
        return None

    def _keep(self, incoming: Incoming[SwarmInbox]) -> bool:
        """Take what only changes the tables; return whether that is all there is to do."""
        tables = self._tables
        try:
            match incoming.message:
                case Serve() as serve:
                    tables.serve(incoming.sender, serve)
                case KnownPeer() as known:
                    tables.know(known)
                case _:
                    return False
        except TableFullError:
            return True
        return True

    async def _handle(self, node: Node, incoming: Incoming[SwarmInbox]) -> None:
        if self._keep(incoming):
            if isinstance(incoming.message, KnownPeer):
                node.contact_if_connected(incoming.message.peer)
            return
        match incoming.message:
            case Ask() as ask:
                await node.asking.ask(incoming.sender, ask)
            case PeerReply(request=request, frame=frame):
                node.requests.answer(request, incoming.sender, frame)
            case KadRequest() as kad:
                node.start(node.kad_request, kad)
            case ClosestServers(request=request, key=key):
                await self._mailbox.send("discovery", node.servers(request, key))
            case Bootstrap(peer=peer, addresses=addresses):
                node.start(node.bootstrap, peer, addresses)
            case ForgetPeer(peer=peer):
                self._tables.known.pop(peer, None)
                node.start(node.dialer.drop_peer, peer)
            case SessionEnded(session=session, poison=poison):
                node.session_ended(actor_of_session(session), poison=poison)
            case Undeliverable(id=envelope, busy=busy):
                node.requests.undeliverable(envelope, busy)
            case _:
                return  # SwarmIdentity repeated, or the own Listening: nothing new


def readiness(ready: bool, detail: str) -> list[Send]:
    """Return the Readiness of the swarm for those who show it."""
    message = Readiness("swarm", ready, detail)
    return [Send("gateway", message, slot=b"swarm"), Send("metrics", message, slot=b"swarm")]
