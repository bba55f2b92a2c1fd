"""Runs a real vault machine on a real file with a fake supervisor, and makes devices that pair with it."""

import math
import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from spacedrive_node.actors.base import Effects, Incoming
from spacedrive_node.actors.vault.actor import open_vault
from spacedrive_node.actors.vault.machine import Vault
from spacedrive_node.actors.vault.passphrase_seal import DEFAULT_COSTS
from spacedrive_node.messages.actor_configs import VaultConfig
from spacedrive_node.messages.base import Message, encode
from spacedrive_node.messages.peer_protocol import (
    ChallengeConfirmation,
    ChallengeResponse,
    DecisionReceived,
    PairingDecision,
)
from spacedrive_node.messages.session_names import actor_of_session
from spacedrive_node.messages.to_gateway import Device, Devices
from spacedrive_node.messages.to_swarm import ForgetPeer, KnownPeer
from spacedrive_node.messages.to_vault import Accept, ListDevices, PeerEvidence, SignIdentity, StoreDevice
from spacedrive_node.protocol import keys
from spacedrive_node.protocol.identity import device_id, make_info, signing_input
from spacedrive_node.protocol.peer_ids import peer_id_of


def _raw(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes_raw()


@dataclass
class VaultPairing:
    """The values of one pairing with another device, as the joiner's session on the vault's side has them."""

    device: "OtherDevice"
    session: str = field(default_factory=lambda: os.urandom(8).hex())
    th1: bytes = field(default_factory=lambda: os.urandom(32))
    secret: bytes = field(default_factory=lambda: os.urandom(32))
    mac: bytes = field(default_factory=lambda: os.urandom(32))
    code_id: bytes = field(default_factory=lambda: os.urandom(16))
    attempt: bytes = field(default_factory=lambda: os.urandom(16))

    def __post_init__(self) -> None:
        self.response = encode(ChallengeResponse(self.code_id, self.attempt, os.urandom(64)))
        self.th2 = keys.th_next(self.th1, self.response)
        self.confirmation = encode(ChallengeConfirmation(self.code_id, self.attempt, os.urandom(64)))
        self.th3 = keys.th_next(self.th2, self.confirmation)
        self.decision = encode(PairingDecision(self.code_id, self.attempt, os.urandom(32)))
        self.peer_decision = encode(PairingDecision(self.code_id, self.attempt, os.urandom(32)))
        self.reply = encode(DecisionReceived(self.code_id, self.attempt, os.urandom(32)))
        self.acknowledgement = encode(DecisionReceived(self.code_id, self.attempt, self.mac))

    @property
    def sender(self) -> str:
        return actor_of_session(self.session)

    def sign(self) -> SignIdentity:
        return SignIdentity(6, "joiner", self.th1, b"n" * 32)

    def accept(self) -> Accept:
        return Accept(self.session, self.device.public_key, self.th3)

    def vouch(self) -> PeerEvidence:
        return PeerEvidence(self.session, self.device.peer)

    def store(self, **changes: Any) -> StoreDevice:
        info = self.device.info
        values: dict[str, Any] = {
            "request": 7,
            "role": "initiator",
            "th": self.th2,
            "peer": self.device.peer,
            "info": info,
            "signature": self.device.key.sign(signing_input("initiator", self.th2, self.device.peer, info)),
            "response": self.response,
            "confirmation": self.confirmation,
            "th3": self.th3,
            "secret": self.secret,
            "decision": self.decision,
            "expected_mac": self.mac,
            "peer_decision": self.peer_decision,
            "reply": self.reply,
            "deadline": math.inf,
        }
        return StoreDevice(**(values | changes))


@dataclass
class OtherDevice:
    """Another device, with random keys."""

    name: str = "Other"
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    transport: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    version: str = "1"

    def __post_init__(self) -> None:
        self.public_key = _raw(self.key)
        self.device_id = device_id(self.public_key)
        self.peer = peer_id_of(_raw(self.transport))
        self.info = make_info(
            public_key=self.public_key, name=self.name, os="linux", app_version=self.version, nonce=None
        )

    def pairing(self) -> VaultPairing:
        return VaultPairing(self)


class VaultHost:
    """Plays the supervisor for one vault: keeps its checkpoint, delivers messages, restarts it."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.wall = 1_700_000_000.0
        self.config = VaultConfig(data_dir=str(data_dir), device_name="Mine", app_version="0.1")
        self.costs = DEFAULT_COSTS
        self.checkpoint: bytes | None = None
        self.now = 1000.0
        self.known: dict[bytes, bytes | None] = {}
        """What the vault has sent to the swarm: peer → frame to settle with."""
        self._resources = ExitStack()
        self.vault: Vault

    def open(self, probe: Callable[[str], None] = lambda _point: None) -> Effects:
        self.vault = open_vault(self.config, self.checkpoint, self._resources, probe, self.costs)
        self.vault._wall = self.vault._records_in_use._unix_time = lambda: self.wall
        self.vault._peers._wall = lambda: self.wall
        return self._apply(self.vault.first(self.now))

    def close(self) -> None:
        self._resources.close()

    def restart(self) -> Effects:
        self.close()
        return self.open()

    def _apply(self, effects: Effects) -> Effects:
        if effects.checkpoint is not None:
            self.checkpoint = effects.checkpoint
        for send in effects.out:
            match send.message:
                case KnownPeer(peer=peer, settle=settle):
                    assert send.slot == peer
                    self.known[peer] = settle
                case ForgetPeer(peer=peer):
                    assert send.slot == peer
                    self.known.pop(peer, None)
        return effects

    def step(self, sender: str, message: Message, id: bytes | None = None) -> Effects:
        incoming: Incoming[Any] = Incoming(sender, 1, id or os.urandom(16), message)
        return self._apply(self.vault.step(incoming, self.now))

    def request(self, sender: str, message: Message, id: bytes | None = None) -> Message | None:
        """Deliver a message. Return the answer to its sender, if there is one."""
        answers = [
            send.message
            for send in self.step(sender, message, id).out
            if send.to == sender and not isinstance(send.message, KnownPeer | ForgetPeer)
        ]
        assert len(answers) <= 1
        return answers[0] if answers else None

    def tick(self) -> Effects | None:
        effects = self.vault.tick(self.now)
        return None if effects is None else self._apply(effects)

    def admit(self, pairing: VaultPairing) -> None:
        """Let everything happen that has to, before the pairing may be stored."""
        self.step(pairing.sender, pairing.sign())
        self.step("gateway", pairing.accept())
        self.step("swarm", pairing.vouch())

    def devices(self) -> tuple[Device, ...]:
        answer = self.request("gateway", ListDevices(1))
        assert isinstance(answer, Devices)
        return answer.devices
