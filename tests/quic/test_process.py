"""The swarm's process with and without QUIC: what it imports, and that nothing is imported in the sandbox."""

import json
import subprocess
import sys

from spacedrive_node.config.settings import DEFAULT_QUIC_LISTEN, NodeConfig
from spacedrive_node.node import child_specs

WITHOUT = """
import json, sys
from spacedrive_node.actors import swarm
swarm.warm_up()
print(json.dumps([name for name in sys.modules if "aioquic" in name or ".quic" in name or "x509" in name]))
"""
WITH = """
import json, sys
import trio
from spacedrive_node.actors.swarm import quic
quic.warm_up()
before = set(sys.modules)

from spacedrive_node.actors.swarm.library import dialing
from spacedrive_node.actors.swarm.quic.certificates import own_certificate
from spacedrive_node.actors.swarm.quic.endpoint import Endpoint, Identity
from spacedrive_node.actors.swarm.library.handshake_limits import RETRY_ABOVE
from spacedrive_node.actors.swarm.quic.reset_tokens import ResetTokens
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.peer.id import ID

def endpoint(letter, nursery, accepted):
    keys = create_new_key_pair(letter * 32)
    made = Endpoint(Identity(own_certificate(keys), ResetTokens(letter * 32)), accepted.append)
    made.open("127.0.0.1", 0, nursery)
    return made, ID.from_pubkey(keys.public_key).to_bytes()

async def main():
    accepted = []
    async with trio.open_nursery() as nursery:
        a, _ = endpoint(b"a", nursery, accepted)
        b, b_id = endpoint(b"b", nursery, accepted)
        for number in range(RETRY_ABOVE):
            b._identity.handshakes.begin(number, "other")
        with trio.fail_after(20):
            dialled = await a.dial(b.address, b_id)
            stream = await dialled.open_stream()
            await stream.write(bytes(300_000))
            try:
                await a.dial(b.address, b"another")
            except dialing.OtherPeerAnsweredError:
                pass
        other_version = b"\\xc0\\xff\\0\\0\\x1d\\x08" + bytes(1300)
        for datagram in (b"", b"x", b"@" + bytes(60), b"\\xc0" + bytes(1300), other_version):
            a.send(datagram, b.address)
        with trio.fail_after(20):
            there = await accepted[0].accept_stream()
            await there.read()
            await there.reset()
            await dialled.close()
            await accepted[0].ended.wait()
        a.close()
        b.close()
        nursery.cancel_scope.cancel()

trio.run(main)
print(json.dumps(sorted(name for name in set(sys.modules) - before if name.partition(".")[0] != "multiaddr")))
"""


def run(program: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    found: list[str] = json.loads(done.stdout)
    return found


def test_a_swarm_without_quic_imports_nothing_of_it() -> None:
    """Neither aioquic nor the X.509 of cryptography, nor this project's own modules."""
    assert run(WITHOUT) == []


def test_nothing_of_quic_is_imported_once_the_swarm_is_warm() -> None:
    """Handshakes that succeed and fail, Retry, streams, garbage and ends."""
    assert run(WITH) == []


def test_the_entry_of_the_swarm_follows_from_where_it_listens(tmp_path: object) -> None:
    """The supervisor names the module; it imports what the sandbox would not allow later."""
    entries = {}
    for name, config in {
        "tcp": NodeConfig(quic=False),
        "both": NodeConfig(quic=True),
        "listed": NodeConfig(listen=DEFAULT_QUIC_LISTEN),
        "tcp listed": NodeConfig(listen=("/ip4/127.0.0.1/tcp/1",), quic=True),
    }.items():
        (swarm,) = [spec for spec in child_specs(config, tmp_path, 3, None) if spec.kind == "swarm"]  # type: ignore[arg-type]
        entries[name] = swarm.entry.rpartition("actors.")[2]
    assert entries == {
        "tcp": "swarm:main",
        "both": "swarm.quic:main",
        "listed": "swarm.quic:main",
        "tcp listed": "swarm:main",
    }
