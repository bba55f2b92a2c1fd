"""Well-formed frames of the pairing protocol and of Kademlia, for tests that mutate or replay them."""

import contextlib
import json
from pathlib import Path
from typing import Any

from libp2p.kad_dht.pb.kademlia_pb2 import Message as KadMessage
from multiaddr import Multiaddr

VECTORS = Path(__file__).parents[1] / "vectors"
PEER = bytes.fromhex("002408011220") + b"\x11" * 32
ADDRESS = Multiaddr("/ip4/127.0.0.1/tcp/4001").to_bytes()


def frames_of_runs() -> list[bytes]:
    """Return every hexadecimal string in the vectors that is a MessagePack map."""
    found: list[bytes] = []

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            for inner in value.values():
                walk(inner)
        elif isinstance(value, list):
            for inner in value:
                walk(inner)
        elif isinstance(value, str):
            with contextlib.suppress(ValueError):
                data = bytes.fromhex(value)
                if data and 0x80 <= data[0] <= 0x8F:
                    found.append(data)

    walk(json.loads((VECTORS / "run.json").read_text()))
    assert len(found) > 10
    return found


FRAMES = frames_of_runs()


def kad_samples() -> list[bytes]:
    message = KadMessage()
    for _ in range(3):
        for entry in (message.closerPeers.add(), message.providerPeers.add()):
            entry.id = PEER
            entry.addrs.extend([ADDRESS, Multiaddr("/dns4/example.org/tcp/1").to_bytes()])
    crowded = KadMessage()
    for number in range(300):
        entry = crowded.providerPeers.add()
        entry.id = PEER[:-2] + number.to_bytes(2, "big")
        entry.addrs.extend([ADDRESS] * 40)
    return [bytes(message.SerializeToString()), bytes(crowded.SerializeToString())]
