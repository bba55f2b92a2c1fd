"""One whole attempt with constant inputs, whose result nobody uses.

A sandboxed process cannot open files, so it cannot import. Libraries import parts of themselves at first
use; so the process that sandboxed ones are forked from goes through everything once, before it forks.
"""

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from . import code, identity, peer_ids
from .attempt import InitiatorAttempt, JoinerAttempt


def rehearse() -> None:
    """Run both roles from code to decisions. Takes some milliseconds; holds no secret."""
    secret = bytes(16)
    code.words_of(secret)
    derived = code.derive(secret)
    shown, entered = (Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in (1, 2))
    initiator, joiner = (peer_ids.peer_id_of(key.public_key().public_bytes_raw()) for key in (shown, entered))
    peer_ids.peer_id_text(initiator)
    a = JoinerAttempt.begin(
        auth_key=derived.auth_key,
        route_key=derived.route_key,
        initiator=initiator,
        joiner=joiner,
        attempt=bytes(16),
        ephemeral=bytes([3]) * 32,
        nonce=bytes([4]) * 32,
    )
    b = InitiatorAttempt.begin(
        auth_key=derived.auth_key,
        initiator=initiator,
        joiner=joiner,
        request_frame=a.request_frame,
        ephemeral=bytes([5]) * 32,
        nonce=bytes([6]) * 32,
    )
    th1 = a.verify_challenge(b.challenge_frame)
    info = _info(entered, a.nonce)
    signature = entered.sign(identity.signing_input("joiner", th1, joiner, info))
    response = a.respond(b.challenge_frame, info, signature)
    b.open_response(response)
    info = _info(shown, None)
    signature = shown.sign(identity.signing_input("initiator", b.th2(response), initiator, info))
    mine = b.confirm(response, info, signature)
    assert mine.confirmation_frame is not None
    theirs, _ = a.open_confirmation(b.challenge_frame, response, mine.confirmation_frame)
    decision = mine.decision_frame(True)
    theirs.open_decision(decision)
    mine.verify_received(decision, theirs.received_frame(decision))


def _info(key: Ed25519PrivateKey, nonce: bytes | None) -> bytes:
    public = key.public_key().public_bytes_raw()
    return identity.make_info(public_key=public, name="rehearsal", os="", app_version="", nonce=nonce)
