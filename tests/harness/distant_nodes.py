"""Whole nodes as tasks of one event loop, far from each other: all that they say crosses a flight_relay.

There are three: two that may pair, and the DHT server that both know. Since all run in one loop, the relay
can tell when every one of them waits. They have no sandbox; the rest of them is real.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import trio

from spacedrive_node.messages.actor_configs import GatewayConfig, decoder
from spacedrive_node.messages.base import encode
from spacedrive_node.messages.child_protocol import Start
from spacedrive_node.protocol.peer_ids import peer_id_text
from spacedrive_node.supervisor.child_specs import ChildSpec
from spacedrive_node.supervisor.spawner import RunningChild, Spawner
from spacedrive_node.supervisor.task_spawner import TaskSpawner
from spacedrive_node.tests.harness.flight_relay import FlightRelay
from spacedrive_node.tests.harness.nodes import InterceptingSpawner, Node, free_port, running_node

FORMS = {"tcp": "/ip4/127.0.0.1/tcp/{}", "quic": "/ip4/127.0.0.1/udp/{}/quic-v1"}
UNREACHABLE = "/ip4/127.0.0.1/tcp/1"
"""Where everybody is refused at once."""
_decode_gateway_config = decoder(GatewayConfig)


@dataclass
class _Tasks(InterceptingSpawner):
    """A spawner of tasks that names the control socket to the gateway by its number in this process."""

    inner: Spawner = field(default_factory=TaskSpawner)
    _control_fd: int = -1

    async def spawn(self, spec: ChildSpec) -> RunningChild:
        if spec.kind == "gateway":
            (self._control_fd,) = spec.fds
        return await super().spawn(spec)

    def starting(self, kind: str, start: Start) -> Start:
        if kind != "gateway":
            return start
        config = msgspec.structs.replace(_decode_gateway_config(start.config), socket_fd=self._control_fd)
        return msgspec.structs.replace(start, config=msgspec.Raw(encode(config)))


@asynccontextmanager
async def distant_nodes(
    folder: Path, *transports: str, relayed: bool = False, cold: bool = False
) -> AsyncIterator[tuple[Node, Node, FlightRelay]]:
    """Run the nodes with these transports; give the two that may pair, once they are warm, and the wire.

    `relayed`: nobody reaches the two but through the DHT server, which is a relay then. `cold`: the second
    of them knows nobody and is connected with nobody.
    """
    async with trio.open_nursery() as nursery:
        relay = FlightRelay(nursery)

        @asynccontextmanager
        async def node(name: str, **settings: object) -> AsyncIterator[tuple[Node, tuple[str, ...]]]:
            port = free_port()
            carry = {"tcp": relay.carry_tcp, "quic": relay.carry_udp}
            announced = tuple([FORMS[one].format(await carry[one](port)) for one in transports])
            settings = {"announce": announced, **settings}
            listen = tuple(FORMS[one].format(port) for one in transports)
            async with running_node(folder, name, spawner=_Tasks(), listen=listen, **settings) as running:
                yield running, announced

        async with node("server", relay_service=relayed) as (server, announced):
            # As clients of the DHT the two do not connect with each other before they have to.
            known = {
                "bootstrap": tuple(f"{one}/p2p/{peer_id_text(server.ready.peer)}" for one in announced),
                "dht_mode": "client",
            }
            if relayed:
                known |= {"relay": known["bootstrap"], "announce": (UNREACHABLE,)}
            others = {"dht_mode": "client", "announce": (UNREACHABLE,)} if cold else known
            async with node("anna", **known) as (a, _), node("bruno", **others) as (b, _):
                for one in (a,) if cold else (a, b):
                    await one.spawner.wait_until_delivered("discovery", "ServerJoined", 1)
                    await one.spawner.wait_until_delivered("discovery", "SwarmUp", 2 if relayed else 1)
                while relayed and "p2p-circuit" not in str((await a.client.status()).addresses):
                    await trio.lowlevel.checkpoint()
                yield a, b, relay
        nursery.cancel_scope.cancel()
