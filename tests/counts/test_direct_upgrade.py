"""How many round trips over the relay it takes until a relayed connection can be direct: counted."""

import pytest
import trio

from spacedrive_node.actors.swarm.dial.plan import ROUND_TRIPS
from spacedrive_node.messages.types import Transport
from spacedrive_node.protocol.multiaddrs import parse
from spacedrive_node.tests.harness.flight_relay import FlightRelay
from spacedrive_node.tests.harness.punch_hosts import punch_hosts
from spacedrive_node.tests.harness.relay_hosts import DEADLINE

MOST = 5


@pytest.mark.parametrize("transport", ["tcp", "quic"])
async def test_a_connection_is_direct_at_most_five_round_trips_after_the_circuit_stands(
    transport: Transport,
) -> None:
    """Two over the relay: half for the end of Noise, one for CONNECT there and back, half for SYNC.

    Then those of the dial, which does not cross this wire. Counted until it begins: identify goes on over the
    relay, and without a NAT a listener that has the connection over TCP first looks for a while who begins
    (library/inbound_roles.py).
    """
    async with punch_hosts() as hosts:
        reached, dialling = await hosts.make(transport, reserves=True), await hosts.make(transport)
        (circuit,) = map(parse, reached.client.circuits)
        wire = FlightRelay(hosts.nursery)
        far = str(circuit.with_port(await wire.carry_tcp(circuit.port)))
        with trio.fail_after(DEADLINE):
            await dialling.dialer.connect(reached.peer, (far,))
            began = wire.round_trips
            await dialling.until(lambda one: bool(one.dialled))
            took = wire.round_trips - began
            await dialling.until(lambda one: "direct" in one.kinds(reached))
        assert took == pytest.approx(2, abs=0.5)
        assert took + ROUND_TRIPS[transport] <= MOST
