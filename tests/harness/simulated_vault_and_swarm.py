"""The simulated vault and swarm of a session: the vault checks what it stores, the swarm forgets at a crash.

They keep the contract that sessions rely on (messages/to_vault.py, messages/to_swarm.py) and nothing more.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from spacedrive_node.messages import to_session, to_swarm, to_vault
from spacedrive_node.messages.base import encode
from spacedrive_node.messages.from_supervisor import ActorRestarted
from spacedrive_node.messages.peer_protocol import (
    ChallengeResponse,
    PairingDecision,
    PairingRequest,
    Refused,
    decode_wire,
)
from spacedrive_node.protocol import identity, keys
from spacedrive_node.protocol.attempt import ProtocolError
from spacedrive_node.protocol.code import code_id

if TYPE_CHECKING:
    from spacedrive_node.tests.harness.session_simulation import Node


@dataclass
class StoredDevice:
    """A device in a simulated vault."""

    store: to_vault.StoreDevice
    state: str


class SimulatedVault:
    """Signs what it has assembled, and checks what it stores, as a vault does for sessions."""

    def __init__(self, node: "Node") -> None:
        self.node = node
        self.key = Ed25519PrivateKey.from_private_bytes(node.simulation.random.randbytes(32))
        self.public_key = self.key.public_key().public_bytes_raw()
        self.accepted: set[tuple[bytes, bytes]] = set()
        self.signed_th = b""
        self.records: dict[bytes, StoredDevice] = {}
        self.refuse_stores = False
        self.full = False
        """It cannot make a record paired."""
        self.silent = False
        self.held: list[Any] | None = None
        """What has come to a vault that is slow: a list, until :meth:`release`."""
        self.stores = 0

    def take(self, message: Any) -> None:
        if self.silent:
            return
        if self.held is not None:
            self.held.append(message)
            return
        match message:
            case to_vault.SignIdentity():
                self.signed_th = message.th
                info = identity.make_info(
                    public_key=self.public_key,
                    name=self.node.name,
                    os="test",
                    app_version="1",
                    nonce=message.nonce,
                )
                signed = identity.signing_input(message.role, message.th, self.node.peer, info)
                self._answer(to_session.Signed(message.request, info, self.key.sign(signed)))
            case to_vault.StoreDevice():
                self._answer(self._store(message))
            case to_vault.ConfirmDevice():
                found = [one for one in self.records.values() if one.store.th3 == message.th3]
                if not found:
                    self._answer(to_session.StoreRefused(message.request, "no such device is stored"))
                    return
                if not self.full:
                    found[0].state = "paired"
                self._answer(to_session.Stored(message.request, "unconfirmed" if self.full else "paired"))

    def forget(self, other: "Node") -> None:
        """Forget a device, and end the pairing with it: what was signed before is not stored."""
        self.records.pop(other.peer, None)
        self.refuse_stores = True
        device_id = identity.device_id(other.vault.public_key)
        self.node.deliver("vault", to_session.DeviceForgotten(device_id))

    def release(self) -> None:
        """Handle now what has come while the vault was slow."""
        held, self.held = self.held or [], None
        for message in held:
            self.take(message)

    def _store(self, message: to_vault.StoreDevice) -> to_session.Stored | to_session.StoreRefused:
        try:
            info = identity.verify(
                message.role,
                message.th,
                message.peer,
                message.info,
                message.signature,
                own_public_key=self.public_key,
                own_peer=self.node.peer,
            )
        except ProtocolError as error:
            return to_session.StoreRefused(message.request, str(error))
        if self.refuse_stores or (info.public_key, message.th3) not in self.accepted:
            return to_session.StoreRefused(message.request, "not accepted")
        if self.node.simulation.now >= message.deadline:
            return to_session.StoreRefused(message.request, "it took too long")
        assert message.peer not in self.records, "stored twice"
        th1, th2 = (message.th, self.signed_th) if message.role == "joiner" else (self.signed_th, message.th)
        assert keys.th_next(th1, message.response) == th2
        assert keys.th_next(th2, message.confirmation) == message.th3
        self.stores += 1
        if message.acknowledged and self.full:
            return to_session.StoreRefused(message.request, "the store cannot be written")
        state: Literal["paired", "unconfirmed"] = "paired" if message.acknowledged else "unconfirmed"
        self.records[message.peer] = StoredDevice(message, state)
        return to_session.Stored(message.request, state)

    def _answer(self, message: Any) -> None:
        self.node.simulation.schedule(
            self.node.simulation.draw_delay(), lambda: self.node.deliver("vault", message)
        )

    def settle(self, peer: bytes, frame: bytes) -> bytes | None:
        """Return the stored reply to a decision that belongs to no live session, None if there is none."""
        record = self.records.get(peer)
        if record is None or record.store.peer_decision != frame:
            return None
        return record.store.reply  # which alone does not make this side's own entry `paired`

    def state(self, peer: bytes) -> str | None:
        record = self.records.get(peer)
        return None if record is None else record.state


@dataclass
class Ask:
    """An Ask under way."""

    message: to_swarm.Ask
    done: bool = False


class SimulatedSwarm:
    """Answers each Ask once and routes requests by code_id, as a swarm does. Nothing survives a crash."""

    def __init__(self, node: "Node") -> None:
        self.node = node
        self.simulation = node.simulation
        self.serve: to_swarm.Serve | None = None
        self.incarnation = 1
        self.asks: list[Ask] = []
        self.requests: dict[int, Callable[[bytes], None]] = {}
        self.numbers = itertools.count(1)
        self.connected: set[bytes] = set()
        self.up = True
        self.seen: list[tuple[str, bytes]] = []
        self.last: to_swarm.Ask | None = None

    def crash(self) -> None:
        """Lose everything under way, and deliver ActorRestarted to the session."""
        self.incarnation += 1
        self.asks, self.requests, self.numbers = [], {}, itertools.count(1)
        for other in self.connected:
            self.simulation.nodes[other].swarm.connected.discard(self.node.peer)
        self.connected = set()
        self.node.deliver("supervisor", ActorRestarted("swarm"))

    def take(self, message: Any) -> None:
        match message:
            case to_swarm.Serve():
                self.serve = message
            case to_swarm.Ask():
                self._ask(Ask(message))
            case to_swarm.PeerReply():
                reply = self.requests.pop(message.request, None)
                if reply is not None:
                    reply(message.frame)

    def _ask(self, ask: Ask) -> None:
        self.asks.append(ask)
        self.last = message = ask.message
        self.seen.append((type(decode_wire(message.frame)).__name__, message.frame))
        self.simulation.schedule(message.timeout, lambda: self._unreachable(ask, "timeout"))
        target = self.simulation.nodes.get(message.peer)
        reachable = target is not None and target.swarm.up and self.up
        if not reachable or (not message.addresses and message.peer not in self.connected):
            self.simulation.schedule(
                self.simulation.draw_delay(), lambda: self._unreachable(ask, "no address works")
            )
            return
        assert target is not None
        self.connected.add(message.peer)
        target.swarm.connected.add(self.node.peer)
        copies = 1 + (self.simulation.random.random() < self.simulation.faults.duplicate)
        for _ in range(copies):
            if self.simulation.draw_loss():
                if self.simulation.random.random() < 0.5:
                    self.simulation.schedule(
                        self.simulation.draw_delay(), lambda: self._unreachable(ask, "stream reset")
                    )
            else:
                self.simulation.schedule(self.simulation.draw_delay(), lambda: self._arrive(target, ask))

    def _arrive(self, target: "Node", ask: Ask) -> None:
        incarnation = target.swarm.incarnation

        def reply(frame: bytes) -> None:
            if target.swarm.incarnation != incarnation:
                return
            if self.simulation.draw_loss():
                self.simulation.schedule(
                    self.simulation.draw_delay(), lambda: self._unreachable(ask, "stream reset")
                )
            else:
                self.simulation.schedule(self.simulation.draw_delay(), lambda: self._answered(ask, frame))

        target.swarm.arrive(self.node.peer, ask.message.frame, reply)

    def arrive(self, peer: bytes, frame: bytes, reply: Callable[[bytes], None]) -> None:
        """Handle a frame of `peer` that has arrived."""
        message = decode_wire(frame)
        assert isinstance(message, PairingRequest | ChallengeResponse | PairingDecision)
        if self.serve is not None and not self.node.ended:
            initiator, joiner = (
                (self.node.peer, peer) if self.serve.role == "initiator" else (peer, self.node.peer)
            )
            if code_id(self.serve.route_key, initiator, joiner) == message.code_id:
                number = next(self.numbers)
                self.requests[number] = reply
                self.node.deliver("swarm", to_session.PeerRequest(number, peer, frame, "direct"))
                return
        if isinstance(message, PairingDecision):
            kept = self.node.vault.settle(peer, frame)
            reply(kept or encode(Refused(message.code_id, message.attempt, "closed")))
        else:
            reply(encode(Refused(message.code_id, message.attempt, "unavailable")))

    def _finish(self, ask: Ask) -> bool:
        if ask.done or ask not in self.asks:
            return False
        ask.done = True
        self.asks.remove(ask)
        return True

    def _answered(self, ask: Ask, frame: bytes) -> None:
        if self._finish(ask):
            self.node.deliver("swarm", to_session.PeerAnswer(ask.message.request, frame, "direct"))

    def _unreachable(self, ask: Ask, reason: str) -> None:
        if self._finish(ask):
            self.node.deliver("swarm", to_session.PeerUnreachable(ask.message.request, reason))
