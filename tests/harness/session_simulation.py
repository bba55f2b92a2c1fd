"""Simulates nodes in one virtual time: real session machines, a faulty network, a vault that checks.

Everything random comes from one seed. Each node plays the supervisor of its session: it applies each step as
a whole, and can crash the session at any step. Then nothing of the step has happened; the machine is rebuilt
from its last checkpoint and gets the same input again. It can also crash the node's swarm at any time, which
loses all that was under way.
"""

import heapq
import itertools
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from spacedrive_node.actors.base import Effects, Incoming
from spacedrive_node.actors.session.machine import SessionMachine
from spacedrive_node.messages import to_discovery, to_gateway, to_metrics, to_session, to_swarm, to_vault
from spacedrive_node.messages.actor_configs import SessionConfig
from spacedrive_node.messages.base import encode
from spacedrive_node.messages.peer_protocol import DecisionReceived, Refused, decode_wire
from spacedrive_node.protocol import peer_ids
from spacedrive_node.tests.harness.simulated_vault_and_swarm import SimulatedSwarm, SimulatedVault

DECODERS = {
    "swarm": to_swarm.decode,
    "vault": to_vault.decode,
    "discovery": to_discovery.decode,
    "gateway": to_gateway.decode,
    "metrics": to_metrics.decode,
}


@dataclass
class Faults:
    """Probabilities of faults of the network, and the largest delay of a frame in seconds."""

    loss: float = 0.0
    duplicate: float = 0.0
    delay: float = 0.02


class Simulation:
    """The virtual time, the network and all nodes."""

    def __init__(self, seed: int = 0, faults: Faults | None = None, config: SessionConfig | None = None):
        self.random = random.Random(seed)
        self.faults = faults or Faults()
        self.config = config or SessionConfig()
        self.now = 1000.0
        self.nodes: dict[bytes, Node] = {}
        self.log: list[str] = []
        self._order = itertools.count()
        self._events: list[tuple[float, int, Callable[[], None]]] = []

    def node(self, name: str) -> "Node":
        """Add a node and return it."""
        node = Node(self, name)
        self.nodes[node.peer] = node
        return node

    def schedule(self, delay: float, action: Callable[[], None]) -> None:
        """Do `action` after `delay` seconds."""
        heapq.heappush(self._events, (self.now + delay, next(self._order), action))

    def run(self, until: Callable[[], bool] | None = None, limit: float = 400.0) -> None:
        """Let time pass until `until`, or until `limit` seconds have passed or nothing is left to do."""
        end = self.now + limit
        for _ in range(200_000):
            if until is not None and until():
                return
            timers = [(node.wake_at(), index, node) for index, node in enumerate(self.nodes.values())]
            wake, _index, sleeper = min(timers)
            event = self._events[0][0] if self._events else float("inf")
            if min(wake, event) > end:
                self.now = end
                return
            if event <= wake:
                self.now, _number, action = heapq.heappop(self._events)
                action()
            else:
                self.now = max(self.now, wake)
                sleeper.tick()
        raise AssertionError("the simulation does not come to rest")

    # Network

    def draw_delay(self) -> float:
        return self.random.random() * self.faults.delay

    def draw_loss(self) -> bool:
        return self.random.random() < self.faults.loss


class Node:
    """One node with one session machine. Plays its supervisor, its gateway and its user."""

    def __init__(self, simulation: Simulation, name: str) -> None:
        self.simulation = simulation
        self.name = name
        transport = Ed25519PrivateKey.from_private_bytes(simulation.random.randbytes(32))
        self.peer = peer_ids.peer_id_of(transport.public_key().public_bytes_raw())
        self.vault = SimulatedVault(self)
        self.swarm = SimulatedSwarm(self)
        self.machine = self._rebuild(None)
        self.checkpoint: bytes | None = None
        self.steps = 0
        self.crash_at: set[int] = set()
        self.rebuild_always = False
        self.swarm_crash_at: set[int] = set()
        self.views: list[to_gateway.SessionView] = []
        self.observed: list[to_metrics.Observed] = []
        self.finding: to_discovery.Find | None = None
        self.provided: list[to_discovery.StartProviding] = []
        self.withdrawn: list[str] = []
        self.ends: list[str] = []
        self.decision: bool | None = None
        self.decide_by: Callable[[to_gateway.Confirmation], bool | None] = lambda _confirmation: None
        self.decide_delay = 0.0
        self.asked = False
        self.refused = Counter[str]()

    def _rebuild(self, checkpoint: bytes | None) -> SessionMachine:
        return SessionMachine(self.simulation.config, self.simulation.random.randbytes, checkpoint)

    # Supervisor

    @property
    def ended(self) -> bool:
        return bool(self.ends)

    def wake_at(self) -> float:
        return float("inf") if self.ended else self.machine.wake_at()

    def deliver(self, sender: str, message: Any) -> None:
        """Deliver one message as one input."""
        if self.ended:
            return
        incarnation = self.swarm.incarnation if sender == "swarm" else 1
        incoming = Incoming(sender, incarnation, self.simulation.random.randbytes(16), message)
        self._step(lambda machine: machine.step(incoming, self.simulation.now))

    def tick(self) -> None:
        self._step(lambda machine: machine.tick(self.simulation.now))

    def _step(self, take: Callable[[SessionMachine], Effects | None]) -> None:
        self.steps += 1
        effects = take(self.machine)
        if self.steps in self.crash_at:
            # Killed before the step left: none of it has happened, and the same input comes again.
            self.machine = self._rebuild(self.checkpoint)
            effects = take(self.machine)
        if effects is not None:
            self._apply(effects)
        if self.rebuild_always and not self.ended:
            self.machine = self._rebuild(self.checkpoint)
        if self.steps in self.swarm_crash_at:
            self.simulation.schedule(0.0, self.swarm.crash)

    def _apply(self, effects: Effects) -> None:
        if effects.checkpoint is not None:
            self.checkpoint = effects.checkpoint
        if effects.end is not None:
            self.ends.append(effects.end)
        for send in effects.out:
            body = msgspec.Raw(encode(send.message))
            self._route(send.to, DECODERS[send.to](body))

    def _route(self, to: str, message: Any) -> None:
        match to, message:
            case "vault", _:
                self.vault.take(message)
            case "swarm", _:
                if isinstance(message, to_swarm.PeerReply):
                    answer = decode_wire(message.frame)
                    if isinstance(answer, Refused):
                        self.refused[answer.reason] += 1
                self.swarm.take(message)
            case "gateway", to_gateway.SessionView():
                self._show(message)
            case "metrics", to_metrics.Observed():
                self.observed.append(message)
            case "discovery", to_discovery.Find():
                self.finding = message
            case "discovery", to_discovery.StartProviding():
                self.provided.append(message)
            case "discovery", _:
                self.withdrawn.append(type(message).__name__)
            case _:
                raise AssertionError(f"{type(message).__name__} to {to}")

    # User

    def _show(self, view: to_gateway.SessionView) -> None:
        self.views.append(view)
        if view.confirmation is not None and not self.asked:
            self.asked = True
            choice = self.decide_by(view.confirmation)
            if choice is not None:
                self.simulation.schedule(self.decide_delay, lambda: self.decide(choice))

    def decide(self, accept: bool) -> None:
        """Decide as the gateway does: first the vault, then the session, in one step."""
        confirmation = self.views[-1].confirmation
        assert confirmation is not None
        if self.decision is None:
            self.decision = accept
        if accept:
            self.vault.accepted.add((confirmation.device.public_key, confirmation.th3))
        self.deliver("gateway", to_session.Decide(accept))

    def start(self, lifetime: float = 300.0) -> bytes:
        """Start as initiator; return the code."""
        message = to_session.StartPairing("0123456789abcdef", lifetime, self.peer, self.vault.public_key)
        self.deliver("gateway", message)
        code = self.views[-1].code
        assert code is not None
        return code

    def join(self, code: bytes, timeout: float = 60.0) -> None:
        """Start as joiner with a code."""
        self.deliver(
            "gateway",
            to_session.JoinPairing(
                "fedcba9876543210", code, self.peer, self.vault.public_key, timeout=timeout
            ),
        )

    def find(self, other: "Node | bytes", finders: tuple[Any, ...] = ("dht",), **more: Any) -> None:
        """Deliver a candidate, as discovery does."""
        peer = other if isinstance(other, bytes) else other.peer
        self.deliver("discovery", to_session.CandidateFound(peer, ("/ip4/127.0.0.1/tcp/1",), finders))

    def cancel(self, *, node_stops: bool = False) -> None:
        sender = "supervisor" if node_stops else "gateway"
        self.deliver(sender, to_session.CancelPairing(node_stops=node_stops))

    @property
    def view(self) -> to_gateway.SessionView:
        return self.views[-1]

    @property
    def outcome(self) -> str | None:
        return self.ends[0] if self.ends else None


@dataclass
class Pair:
    """An initiator and a joiner in one simulation."""

    simulation: Simulation
    initiator: Node
    joiner: Node
    nodes: tuple[Node, Node] = field(init=False)
    joiner_code: bytes = b""

    def __post_init__(self) -> None:
        self.nodes = (self.initiator, self.joiner)

    def begin(self, lifetime: float = 300.0, timeout: float = 60.0) -> None:
        code = self.initiator.start(lifetime)
        self.joiner_code = code
        self.joiner.join(code, timeout)
        self.simulation.schedule(self.simulation.draw_delay(), lambda: self.joiner.find(self.initiator))

    def run(self, limit: float = 400.0) -> None:
        self.simulation.run(lambda: self.initiator.ended and self.joiner.ended, limit)

    @property
    def outcomes(self) -> tuple[str | None, str | None]:
        return self.initiator.outcome, self.joiner.outcome

    def stored(self) -> tuple[str | None, str | None]:
        return self.initiator.vault.state(self.joiner.peer), self.joiner.vault.state(self.initiator.peer)


def pair(
    seed: int = 0,
    faults: Faults | None = None,
    config: SessionConfig | None = None,
    accept: tuple[bool | None, bool | None] = (True, True),
) -> Pair:
    """Return two nodes whose users decide as `accept` says. A user with None never decides."""
    simulation = Simulation(seed, faults, config)
    made = Pair(simulation, simulation.node("initiator"), simulation.node("joiner"))
    for node, choice in zip(made.nodes, accept, strict=True):
        node.decide_by = lambda _confirmation, choice=choice: choice
    return made


def settle(one: Node, other: Node) -> None:
    """Do what both vaults do at their next contact (docs/protocol.md, "Settling")."""
    for here, there in ((one, other), (other, one)):
        record = here.vault.records.get(there.peer)
        if record is None or record.state != "unconfirmed":
            continue
        reply = there.vault.settle(here.peer, record.store.decision)
        if reply is None:
            del here.vault.records[there.peer]
            continue
        answer = decode_wire(reply)
        assert isinstance(answer, DecisionReceived)
        assert answer.mac == record.store.expected_mac
        record.state = "paired"
