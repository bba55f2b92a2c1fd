"""The lookup of the libp2p library: a plain host with its KadDHT. Speaks JSON lines (json_processes.py):

    {"find": key, "known": [{"peer", "addresses"}, …]}  →  {"seconds", "requests", "found": n, "gave_up"}
    {"closest": key, "known": […]}                      →  the same

Each lookup has a new host, which connects with the known peers before the time begins. Dialling and Noise are
corrected as in the project; the lookup is the library's.
"""

import json
import os
import sys
import time
from typing import Any

import libp2p.kad_dht
import trio
from libp2p.custom_types import TProtocol
from libp2p.kad_dht.kad_dht import DHTMode, KadDHT
from libp2p.peer.id import ID
from libp2p.tools.anyio_service import background_trio_service
from multiaddr import Multiaddr

from ...actors.swarm.dial.dialer import Dialer
from ...actors.swarm.host import open_host
from ...messages.actor_configs import SwarmConfig

_PATIENCE = 5.0
_IDENTIFIED = 10.0
_CONNECTIONS = 512


async def _one(order: dict[str, Any]) -> dict[str, Any]:
    async with open_host(os.urandom(32), _CONNECTIONS) as host, trio.open_nursery() as nursery:
        # The library may dial here: that is what is measured (actors/swarm/library/dialing.py forbids it).
        del host.network.dial_peer, host.libp2p.connect
        dht = KadDHT(host.libp2p, DHTMode.CLIENT)
        async with background_trio_service(dht):
            dialer = Dialer(host.network, host.peer, nursery)
            for known in order["known"]:
                peer = bytes.fromhex(known["peer"])
                await dialer.connect(peer, known["addresses"])
                host.libp2p.get_peerstore().add_addrs(
                    ID(peer), [Multiaddr(text) for text in known["addresses"]], 600
                )
                with trio.fail_after(_IDENTIFIED):
                    while not await dht.add_peer(ID(peer)):
                        await trio.sleep(0.01)
            answer = await _lookup(host, dht, order)
            nursery.cancel_scope.cancel()
    return answer


async def _lookup(host: Any, dht: Any, order: dict[str, Any]) -> dict[str, Any]:
    requests = 0
    open_stream = host.libp2p.new_stream

    async def counted(peer: Any, protocols: Any) -> Any:
        nonlocal requests
        requests += 1
        return await open_stream(peer, protocols)

    host.libp2p.new_stream = counted
    found: Any = []
    began = time.monotonic()
    with trio.move_on_after(_PATIENCE) as patience:
        if "find" in order:
            found = await dht.provider_store.find_providers(bytes.fromhex(order["find"]))
        else:
            found = await dht.peer_routing.find_closest_peers_network(bytes.fromhex(order["closest"]))
    seconds = time.monotonic() - began
    return {
        "seconds": seconds,
        "requests": requests,
        "found": len(found),
        "gave_up": patience.cancelled_caught,
    }


def main() -> None:
    """Answer lines until standard input ends."""
    protocol = TProtocol(SwarmConfig(listen=("/ip4/127.0.0.1/tcp/0",)).dht_protocol)
    for name in ("common", "kad_dht", "peer_routing", "provider_store", "value_store"):
        getattr(libp2p.kad_dht, name).PROTOCOL_ID = protocol  # KadDHT(protocol_prefix=…) is ignored (0.8.1)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        try:
            answer = trio.run(_one, json.loads(line))
        except (Exception, BaseExceptionGroup) as error:
            answer = {"failed": repr(error)[:300]}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
