"""How many round trips a connection through a relay costs, and the first request on it: counted.

The delay is between the side that dials and the relay: everything that crosses it once is one round trip.
"""

import trio

from spacedrive_node.actors.swarm.library import streams
from spacedrive_node.actors.swarm.library.connections import connection_kind
from spacedrive_node.protocol.multiaddrs import parse
from spacedrive_node.tests.harness.flight_relay import FlightRelay
from spacedrive_node.tests.harness.library_hosts import PROTOCOL
from spacedrive_node.tests.harness.relay_hosts import DEADLINE, relay_hosts


async def test_a_connection_through_a_relay_costs_two_round_trips_to_it_and_two_through_it() -> None:
    """Two for the connection with the relay, one for the circuit, one for Noise; a request costs one more."""
    async with relay_hosts() as hosts:
        with trio.fail_after(DEADLINE):
            relay = await hosts.relay()
            target, source = await hosts.client(relay), await hosts.client()
            assert target.client is not None
            (circuit,) = map(parse, target.client.circuits)
            wire = FlightRelay(hosts.nursery)
            far = str(circuit.with_port(await wire.carry_tcp(circuit.port)))
            connection = await source.dialer.connect(target.peer, (far,))
            assert connection_kind(connection) == "relayed"
            assert wire.round_trips == 4
            async with streams.open_stream(connection, PROTOCOL, b"hello") as stream:
                assert await streams.read_exactly(stream, 5) == b"hello"
                assert wire.round_trips == 5

            await source.dialer.drop(connection)
            before = wire.round_trips
            again = await source.dialer.connect(target.peer, (far,))
            assert connection_kind(again) == "relayed"
            assert wire.round_trips == before + 2  # the connection with the relay is still there
