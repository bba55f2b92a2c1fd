"""Two devices with fixed keys that go through one attempt of the pairing protocol frame by frame."""

import hashlib
from types import SimpleNamespace
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from spacedrive_node.protocol import code, identity, peer_ids
from spacedrive_node.protocol.attempt import InitiatorAttempt, JoinerAttempt, PairingSecrets


def seed(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


class Device:
    """A device key, a transport key and a name, from fixed seeds."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.key = Ed25519PrivateKey.from_private_bytes(seed(name + " device"))
        self.public_key = self.key.public_key().public_bytes_raw()
        transport = Ed25519PrivateKey.from_private_bytes(seed(name + " transport"))
        self.peer = peer_ids.peer_id_of(transport.public_key().public_bytes_raw())

    def info(self, nonce: bytes | None) -> bytes:
        return identity.make_info(
            public_key=self.public_key, name=self.name, os="linux", app_version="1", nonce=nonce
        )

    def sign(self, role: Any, th: bytes, info: bytes) -> bytes:
        return self.key.sign(identity.signing_input(role, th, self.peer, info))


class Pairing:
    """One attempt between `ada` (initiator) and `bob` (joiner). A test can replace the bytes of each step."""

    def __init__(self, entropy: bytes = seed("code")[:16], *, salt: str = "", ada: str = "ada") -> None:
        self.ada, self.bob = Device(ada), Device("bob")
        self.salt = salt
        self.keys = code.derive(entropy)
        self.joiner = self.begin_joiner()

    def begin_joiner(self, **changes: Any) -> JoinerAttempt:
        return JoinerAttempt.begin(
            **{
                "auth_key": self.keys.auth_key,
                "route_key": self.keys.route_key,
                "initiator": self.ada.peer,
                "joiner": self.bob.peer,
                "attempt": seed(self.salt + "attempt")[:16],
                "ephemeral": seed(self.salt + "eph j"),
                "nonce": seed(self.salt + "nonce j"),
            }
            | changes
        )

    def begin_initiator(self, **changes: Any) -> InitiatorAttempt:
        return InitiatorAttempt.begin(
            **{
                "auth_key": self.keys.auth_key,
                "initiator": self.ada.peer,
                "joiner": self.bob.peer,
                "request_frame": self.joiner.request_frame,
                "ephemeral": seed(self.salt + "eph i"),
                "nonce": seed(self.salt + "nonce i"),
            }
            | changes
        )

    def respond(self, challenge: bytes) -> bytes:
        th1 = self.joiner.verify_challenge(challenge)
        info = self.bob.info(self.joiner.nonce)
        return self.joiner.respond(challenge, info, self.bob.sign("joiner", th1, info))

    def confirm(self, initiator: InitiatorAttempt, response: bytes) -> PairingSecrets:
        info = self.ada.info(None)
        th2 = initiator.th2(response)
        return initiator.confirm(response, info, self.ada.sign("initiator", th2, info))

    def complete(self) -> SimpleNamespace:
        """Run it to the end and return every state and frame."""
        initiator = self.begin_initiator()
        challenge = initiator.challenge_frame
        response = self.respond(challenge)
        opened_j = initiator.open_response(response)
        proven_i = self.confirm(initiator, response)
        confirmation = proven_i.confirmation_frame
        assert confirmation is not None
        proven_j, opened_i = self.joiner.open_confirmation(challenge, response, confirmation)
        return SimpleNamespace(
            initiator=initiator,
            joiner=self.joiner,
            request=self.joiner.request_frame,
            challenge=challenge,
            response=response,
            confirmation=confirmation,
            opened_i=opened_i,
            opened_j=opened_j,
            proven_i=proven_i,
            proven_j=proven_j,
        )
