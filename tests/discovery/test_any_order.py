"""Whatever comes, in whatever order: discovery does not fail, and says only what its receivers understand."""

import random

import pytest

from spacedrive_node.actors.base import Send
from spacedrive_node.actors.discovery.core import Discovery
from spacedrive_node.messages import to_gateway, to_lan, to_metrics, to_session, to_swarm
from spacedrive_node.messages.actor_configs import DiscoveryConfig
from spacedrive_node.messages.base import encode
from spacedrive_node.messages.from_supervisor import ActorRestarted, SessionEnded
from spacedrive_node.messages.to_discovery import (
    DiscoveryInbox,
    Find,
    KadFailed,
    KadReply,
    LanPeer,
    ServerJoined,
    Servers,
    StartProviding,
    StopFinding,
    StopProviding,
    SwarmUp,
)
from spacedrive_node.messages.types import PeerAddresses
from spacedrive_node.supervisor.routes import find_route
from spacedrive_node.tests.harness.simulated_dht import INSTANCE, OWN, peer

DECODE = {
    "swarm": to_swarm.decode,
    "lan": to_lan.decode,
    "gateway": to_gateway.decode,
    "metrics": to_metrics.decode,
    "session": to_session.decode,
}
SESSIONS = [f"{number:016x}" for number in range(4)]
KEYS = [bytes([number]) * 34 for number in range(3)]


class RandomMessages:
    """Random messages to one Discovery, most of them answers, some of them to nothing."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.open: list[int] = [0, 1 << 40]

    def peers(self) -> tuple[PeerAddresses, ...]:
        ids = [OWN, *(peer(number) for number in range(60))]
        long = "/dns4/" + "x" * 230 + "/tcp/1"
        return tuple(
            PeerAddresses(
                self.random.choice(ids), tuple(f"{long}{n}" for n in range(self.random.choice([0, 1, 32])))
            )
            for _ in range(self.random.choice([0, 1, 5, 64]))
        )

    def message(self) -> tuple[str, DiscoveryInbox]:
        choose = self.random.choice
        session = "session-" + choose(SESSIONS)
        request = (
            self.open.pop(self.random.randrange(len(self.open))) if len(self.open) > 2 else choose(self.open)
        )
        named = self.peers()
        return choose(
            [
                (session, StartProviding(choose(KEYS), INSTANCE)),
                (session, StopProviding()),
                (session, Find(choose(KEYS), INSTANCE, named[:4])),
                (session, StopFinding()),
                ("supervisor", SessionEnded(choose(SESSIONS), "joiner", "expired")),
                ("supervisor", ActorRestarted(choose(["swarm", "vault"]))),
                ("swarm", SwarmUp(OWN, (), (), choose([(), ("/ip4/0.0.0.0/tcp/1",)]))),
                ("lan", LanPeer(INSTANCE, bytes(4), (*named, PeerAddresses(peer("new")))[0])),
                ("swarm", ServerJoined((*named, PeerAddresses(peer("new")))[0])),
                *[("swarm", KadReply(request, named, self.peers()))] * 6,
                *[("swarm", KadFailed(request, "gone"))] * 3,
                *[("swarm", Servers(request, named))] * 3,
            ]
        )


def check(send: Send) -> None:
    """The receiver may get it, and decodes it."""
    kind = type(send.message).__name__
    assert find_route(kind, "discovery", send.to) is not None
    assert DECODE[send.to.partition("-")[0]](encode(send.message)) == send.message
    assert len(send.slot) <= 80


@pytest.mark.parametrize("seed", range(12))
def test_any_order(seed: int) -> None:
    """400 messages: every output can be routed and decoded, and time always leads on."""
    messages = RandomMessages(seed)
    core = Discovery(DiscoveryConfig(runtime_dir="/nowhere", bootstrap=(PeerAddresses(peer("b")),)), 1)
    now = 0.0
    for _ in range(400):
        if messages.random.random() < 0.1:
            core.set_same_host(messages.peers()[:3], now)
        core.handle(*messages.message(), now)
        for send in core.poll(now):
            check(send)
            request = getattr(send.message, "request", None)
            if request is not None:
                messages.open.append(request)
        now = messages.random.choice([now, now + 0.01, max(now, min(core.wake_at(), now + 700.0))])
    for session in SESSIONS:
        core.handle("supervisor", SessionEnded(session, "joiner", "expired"), now)
    core.poll(now)
    assert not core.busy
