"""Two real vaults and their pairings with each other, step by step and in any order.

The sessions, the network and both supervisors are played: a test decides what arrives, when, and in which
order. So the orders that a model of the ending finds can be replayed against the vaults.
"""

import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spacedrive_node.messages.base import Message, encode
from spacedrive_node.messages.from_supervisor import SessionEnded
from spacedrive_node.messages.peer_protocol import (
    ChallengeConfirmation,
    ChallengeResponse,
    DecisionReceived,
    PairingDecision,
)
from spacedrive_node.messages.session_names import actor_of_session
from spacedrive_node.messages.to_session import Signed
from spacedrive_node.messages.to_swarm import PeerReply
from spacedrive_node.messages.to_vault import (
    Accept,
    ConfirmDevice,
    ForgetDevice,
    PeerEvidence,
    Settled,
    SettleRequest,
    SignIdentity,
    StoreDevice,
)
from spacedrive_node.messages.types import Role
from spacedrive_node.protocol import keys
from spacedrive_node.tests.harness.vault_actor import VaultHost


class VaultDevice(VaultHost):
    """One of the two devices: a vault that is open."""

    def __init__(self, data_dir: Path, app_version: str = "1.0") -> None:
        super().__init__(data_dir)
        self.version = app_version
        self.open()

    @property
    def peer(self) -> bytes:
        return self.vault._identity.peer

    @property
    def public_key(self) -> bytes:
        return self.vault._identity.public_key

    @property
    def device_id(self) -> bytes:
        return self.vault._identity.device_id

    def in_use(self, other: "VaultDevice") -> bytes | None:
        """Return the th3 of the pairing that this side uses with the other, None if there is none."""
        records = self.vault._store.records_of_device(other.device_id, "paired")
        return records[0].th3 if records else None

    def states(self, other: "VaultDevice") -> list[str]:
        return [record.state for record in self.vault._store.records_of_device(other.device_id)]

    def forget(self, other: "VaultDevice") -> None:
        self.request("gateway", ForgetDevice(1, other.device_id))


@dataclass
class Side:
    """What one side of a pairing has of it."""

    device: VaultDevice
    role: Role
    session: str = field(default_factory=lambda: os.urandom(8).hex())
    signed: Signed | None = None
    decision: bytes = b""
    reply: bytes = b""
    mac: bytes = field(default_factory=lambda: os.urandom(32))

    @property
    def sender(self) -> str:
        return actor_of_session(self.session)


class PairingOfTwo:
    """One pairing between two vaults: `initiator` shows the code, `joiner` enters it."""

    def __init__(self, initiator: VaultDevice, joiner: VaultDevice, th3_is_greater_than: bytes = b"") -> None:
        self.code_id, self.attempt, self.nonce = os.urandom(16), os.urandom(16), os.urandom(32)
        self.secret, self.th1 = os.urandom(32), os.urandom(32)
        self.response = encode(ChallengeResponse(self.code_id, self.attempt, os.urandom(64)))
        self.th2 = keys.th_next(self.th1, self.response)
        while True:  # which transcript is the greater is chance in life, and a test's choice here
            self.confirmation = encode(ChallengeConfirmation(self.code_id, self.attempt, os.urandom(64)))
            self.th3 = keys.th_next(self.th2, self.confirmation)
            if self.th3 > th3_is_greater_than:
                break
        self.sides = {
            initiator: Side(initiator, "initiator"),
            joiner: Side(joiner, "joiner"),
        }
        for side in self.sides.values():
            side.decision = encode(PairingDecision(self.code_id, self.attempt, os.urandom(32)))
            side.reply = encode(DecisionReceived(self.code_id, self.attempt, self.other(side).mac))

    def other(self, side: Side) -> Side:
        (other,) = [one for one in self.sides.values() if one is not side]
        return other

    def _signed_by(self, role: Role) -> bytes:
        return self.th1 if role == "joiner" else self.th2

    def sign(self, *devices: VaultDevice) -> None:
        """Let the vaults of these devices, or of both, state their clocks and sign."""
        for device in devices or tuple(self.sides):
            side = self.sides[device]
            nonce = self.nonce if side.role == "joiner" else None
            signed = device.request(
                side.sender, SignIdentity(1, side.role, self._signed_by(side.role), nonce)
            )
            assert isinstance(signed, Signed)
            side.signed = signed

    def accept(self, device: VaultDevice) -> None:
        """The user of this device accepts the other one, which has carried frames."""
        side = self.sides[device]
        other = self.other(side)
        device.step("gateway", Accept(side.session, other.device.public_key, self.th3))
        device.step("swarm", PeerEvidence(side.session, other.device.peer))

    def store_message(
        self, device: VaultDevice, deadline: float = math.inf, *, acknowledged: bool = False
    ) -> StoreDevice:
        side = self.sides[device]
        other = self.other(side)
        assert other.signed is not None
        return StoreDevice(
            request=7,
            role=other.role,
            th=self._signed_by(other.role),
            peer=other.device.peer,
            info=other.signed.info,
            signature=other.signed.signature,
            response=self.response,
            confirmation=self.confirmation,
            th3=self.th3,
            secret=self.secret,
            decision=side.decision,
            expected_mac=side.mac,
            peer_decision=other.decision,
            reply=side.reply,
            deadline=deadline,
            acknowledged=acknowledged,
        )

    def store(
        self,
        device: VaultDevice,
        deadline: float = math.inf,
        id: bytes | None = None,
        *,
        acknowledged: bool = False,
    ) -> Message | None:
        """Both users have accepted: let this device's vault store the other one. Return its answer.

        `acknowledged`: the other side has acknowledged this one's acceptance before.
        """
        message = self.store_message(device, deadline, acknowledged=acknowledged)
        return device.request(self.sides[device].sender, message, id)

    def confirm(self, device: VaultDevice) -> Message | None:
        """The other side has acknowledged: let the record become paired. Return the vault's answer."""
        return device.request(self.sides[device].sender, ConfirmDevice(8, self.th3))

    def end(self, device: VaultDevice) -> None:
        """The session of this device ends."""
        side = self.sides[device]
        device.step("supervisor", SessionEnded(side.session, side.role, "lost_contact"))

    def complete(self) -> None:
        """Run it to the end on both sides, one step at a time, without any loss."""
        self.sign()
        for step in (self.accept, self.store, self.confirm, self.end):
            for device in self.sides:
                step(device)


def settle(one: VaultDevice, other: VaultDevice) -> int:
    """Let both devices meet without loss until nobody has anything to ask. Return how often one asked."""
    asked = 0
    while asked < 20:
        for here, there in ((one, other), (other, one)):
            frame = here.known.get(there.peer)
            if frame is not None:
                asked += 1
                reply: Any = there.request("swarm", SettleRequest(9, here.peer, frame))
                assert isinstance(reply, PeerReply)
                here.step("swarm", Settled(there.peer, reply.frame))
        if all(here.known.get(there.peer) is None for here, there in ((one, other), (other, one))):
            return asked
    raise AssertionError("settling does not come to rest")
