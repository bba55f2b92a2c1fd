"""A process with one QUIC endpoint on a given port, to be killed: `python -m … PORT NAME`."""

import sys

import trio

from spacedrive_node.tests.harness.quic_endpoints import Peer, identity


async def main(port: int, name: str) -> None:
    async with trio.open_nursery() as nursery:
        peer = Peer(name, identity(name))
        peer.endpoint.open("127.0.0.1", port, nursery)
        print(peer.address[1], flush=True)
        await trio.sleep_forever()


trio.run(main, int(sys.argv[1]), sys.argv[2])
