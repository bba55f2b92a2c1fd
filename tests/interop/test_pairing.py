"""A peer of js-libp2p pairs with a whole node over WebRTC. It carries the frames, which are made here."""

from pathlib import Path
from typing import Any

import pytest
import trio

from spacedrive_node.config.extras import has_webrtc
from spacedrive_node.messages.peer_protocol import PairingDecision, decode_wire
from spacedrive_node.protocol.peer_ids import peer_id_from_text
from spacedrive_node.tests.harness.interop_peer import InteropPeer, open_peer
from spacedrive_node.tests.harness.nodes import free_port, running_node
from spacedrive_node.tests.harness.peer_device import PeerDevice, code_keys_of
from spacedrive_node.tests.harness.stranger_peer import framed

DEADLINE = 60
LENGTH_BYTES = 4


class CarriedDevice(PeerDevice):
    """A device whose peer runs elsewhere."""

    def __init__(self, carrier: InteropPeer) -> None:
        super().__init__(host=None, name="browser")
        self._carrier = carrier

    @property
    def peer(self) -> bytes:
        return peer_id_from_text(self._carrier.id)

    async def exchange(self, node: Any, frame: bytes, *, again: bool = False) -> bytes | None:
        peer = node.bootstrap.rpartition("/")[2]
        answer = await self._carrier.command("exchange", peer=peer, request=framed(frame).hex())
        return bytes.fromhex(answer["answer"])[LENGTH_BYTES:]

    async def answer_request(self) -> bytes:
        """Answer one request of the node, which is returned."""
        frame = bytes.fromhex((await self._carrier.command("request"))["request"])[LENGTH_BYTES:]
        assert self.answer is not None
        answer = await self.answer(b"", frame)
        assert answer is not None
        await self._carrier.command("answer", answer=framed(answer).hex())
        return frame


@pytest.mark.skipif(not has_webrtc(), reason="the extra webrtc is not installed: make webrtc")
@pytest.mark.parametrize("implementation", ["js-3"])
async def test_a_peer_of_theirs_pairs_over_webrtc(tmp_path: Path, implementation: str) -> None:
    """Exchanges in both directions; both users accept, and the node trusts the device."""
    listen = f"/ip4/127.0.0.1/udp/{free_port()}/webrtc-direct"
    async with running_node(tmp_path, "anna", listen=(listen,)) as node, open_peer(implementation) as carrier:
        device = CarriedDevice(carrier)
        with trio.fail_after(DEADLINE):
            await carrier.command("connect", address=node.bootstrap)
            showing = await node.client.start_pairing()
            run = await device.prove(node, code_keys_of(showing.code.words))
            proven = device.finish(run)
            await showing.confirmation()
            await showing.accept()
            assert isinstance(decode_wire(await device.answer_request()), PairingDecision)
            assert await device.refusal_reason(node, proven.decision_frame(True)) == "DecisionReceived"
            state = await showing.paired()
        assert state.transport == "webrtc"
        assert [one.peer for one in await node.client.devices()] == [device.peer]
