"""The swarm actor: waits for the transport key, runs the node, and hands it each message of the mailbox.

Owns the order of start and stop. A request that fails never ends the actor; only a failure that a restart may
repair does. Implements docs/architecture.md, "Swarm".
"""

from functools import partial

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
    PortMappings,
    ReachabilityEvidence,
    RecalledPeers,
    Serve,
    SwarmIdentity,
    SwarmInbox,
    decode,
)
from ...supervisor.channel import Channel
from ..base import Incoming, Mailbox, Send, run_live_actor
from .listening import still_wanted
from .node import SwarmNode
from .pairing.frame_routing import FrameRouting, TableFullError

_BURST_PAUSE_S = 0.02
_BURST_TIMEOUT_S = 0.5
_MAX_WAITING_MESSAGES = 2048

_decode_config = decoder(SwarmConfig)


async def run(channel: Channel[ToChild]) -> None:
    """Run the actor until the node stops."""
    await run_live_actor(channel, decode, _actor)


async def _actor(mailbox: Mailbox[SwarmInbox], start: Start) -> None:
    await SwarmActor(mailbox, _decode_config(start.config)).run()


class SwarmActor:
    """The routing of frames from the first message on, and the node once its identity is there."""

    def __init__(self, mailbox: Mailbox[SwarmInbox], config: SwarmConfig) -> None:
        self._mailbox = mailbox
        self._config = config
        self._routing = FrameRouting()
        self._former: tuple[str, ...] = ()
        self._evidence: ReachabilityEvidence | None = None
        self._waiting: list[Incoming[SwarmInbox]] = []

    async def run(self) -> None:
        """Wait for the identity, then run the node until the mailbox ends."""
        # No step before the host listens: a taken port has to be fatal, and is so only before the first step.
        seed = await self._receive_identity()
        if seed is None:
            return
        async with SwarmNode.open(self._mailbox, self._config, self._routing, seed, self._former) as node:
            if self._evidence is not None:
                node.roles.resume(self._evidence)
            await self._mailbox.send_all([*node.announcement(seed), *readiness(True, "")])
            for incoming in self._waiting:
                await self._handle(node, incoming)
            self._waiting.clear()
            async for incoming in self._mailbox:
                await self._handle(node, incoming)

    async def _receive_identity(self) -> bytes | None:
        """Handle messages until the identity is there; return its seed, or None when the node stops.

        After a restart the supervisor sends the standing messages in one burst. All of them have to be in the
        routing before the first peer can connect: otherwise a known peer's decision would be refused as
        `closed`. The burst has ended when nothing has come for 20 ms.
        """
        seed: bytes | None = None
        try:
            while seed is None:
                seed = self._handle_early(await self._mailbox.receive())
            if self._mailbox.incarnation > 1:
                with trio.move_on_after(_BURST_TIMEOUT_S):
                    while True:
                        with trio.move_on_after(_BURST_PAUSE_S) as pause:
                            self._handle_early(await self._mailbox.receive())
                        if pause.cancelled_caught:
                            break
        except trio.EndOfChannel:
            return None
        return seed

    def _handle_early(self, incoming: Incoming[SwarmInbox]) -> bytes | None:
        """Handle a message before the node runs; return the seed if it is the identity."""
        match incoming.message:
            case SwarmIdentity(seed=seed):
                return seed
            case Listening() as listening:
                self._former = still_wanted(listening, self._config)
            case ReachabilityEvidence() as evidence:
                self._evidence = evidence
            case _ if not self._update_routing(incoming) and len(self._waiting) < _MAX_WAITING_MESSAGES:
                self._waiting.append(incoming)
        return None

    def _update_routing(self, incoming: Incoming[SwarmInbox]) -> bool:
        """Handle a message that only changes the routing; return whether it was one."""
        try:
            match incoming.message:
                case Serve() as serve:
                    self._routing.add_served(incoming.sender, serve)
                case KnownPeer() as known:
                    self._routing.add_known(known)
                case _:
                    return False
        except TableFullError:
            return True
        return True

    async def _handle(self, node: SwarmNode, incoming: Incoming[SwarmInbox]) -> None:
        if self._update_routing(incoming):
            if isinstance(incoming.message, KnownPeer):
                node.remembering.device_known(incoming.message.peer)
                node.settle_if_connected(incoming.message.peer)
            return
        match incoming.message:
            case Ask() as ask:
                await node.outbound.start(incoming.sender, ask)
            case PeerReply(request=request, frame=frame):
                # Wakes the task in inbound.py that forwarded the peer's frame to this session.
                node.inbound.pending.handle_reply(request, incoming.sender, frame)
            case KadRequest() as kad:
                node.start_task(node.kad_request, kad)
            case ClosestServers(request=request, key=key):
                await self._mailbox.send("discovery", node.servers(request, key))
            case Bootstrap(peer=peer, addresses=addresses, remembered=remembered):
                node.start_task(partial(node.bootstrap, peer, addresses, remembered=remembered))
            case RecalledPeers(peers=peers):
                await node.recall(peers)
            case ForgetPeer(peer=peer):
                self._routing.known.pop(peer, None)
                node.remembering.forget(peer)
                node.start_task(node.dialer.drop_peer, peer)
            case PortMappings(mappings=mappings):
                node.roles.set_mappings(mappings)
            case SessionEnded(session=session, poison=poison):
                node.session_ended(actor_of_session(session), poison=poison)
            case Undeliverable(id=envelope, busy=busy):
                node.inbound.pending.handle_undeliverable(envelope, busy)
            case _:
                return  # SwarmIdentity again, or what this actor tells itself: nothing new


def readiness(ready: bool, detail: str) -> list[Send]:
    """Return the messages that report the swarm's readiness to the gateway and metrics."""
    message = Readiness("swarm", ready, detail)
    return [Send("gateway", message, slot=b"swarm"), Send("metrics", message, slot=b"swarm")]
