"""One complete attempt with constant inputs, to have everything imported that a pairing imports.

A sandboxed process cannot open files, so it cannot import. Libraries import parts of themselves at first use,
`cryptography` its backend for instance. The fork server therefore runs this before it forks: no session has
to import anything afterwards. Nobody uses the result, and no secret is involved.
"""

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from . import code, identity, peer_ids
from .attempt import InitiatorAttempt, JoinerAttempt


def warm_up() -> None:
    """Run both roles from the code to the acknowledged decision. Takes some milliseconds."""
    entropy = bytes(16)
    code.words_of(entropy)
    code_keys = code.derive(entropy)
    initiator_key, joiner_key = (Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in (1, 2))
    initiator, joiner = (
        peer_ids.peer_id_of(key.public_key().public_bytes_raw()) for key in (initiator_key, joiner_key)
    )
    peer_ids.peer_id_text(initiator)
    joining = JoinerAttempt.begin(
        auth_key=code_keys.auth_key,
        route_key=code_keys.route_key,
        initiator=initiator,
        joiner=joiner,
        attempt=bytes(16),
        ephemeral=bytes([3]) * 32,
        nonce=bytes([4]) * 32,
    )
    showing = InitiatorAttempt.begin(
        auth_key=code_keys.auth_key,
        initiator=initiator,
        joiner=joiner,
        request_frame=joining.request_frame,
        ephemeral=bytes([5]) * 32,
        nonce=bytes([6]) * 32,
    )
    th1 = joining.verify_challenge(showing.challenge_frame)
    info = _info(joiner_key, joining.nonce)
    signature = joiner_key.sign(identity.signing_input("joiner", th1, joiner, info))
    response = joining.respond(showing.challenge_frame, info, signature)
    showing.open_response(response)
    info = _info(initiator_key, None)
    signature = initiator_key.sign(
        identity.signing_input("initiator", showing.th2(response), initiator, info)
    )
    initiator_secrets = showing.confirm(response, info, signature)
    joiner_secrets, _ = joining.open_confirmation(
        showing.challenge_frame, response, initiator_secrets.confirmation_frame
    )
    decision = initiator_secrets.decision_frame(True)
    joiner_secrets.open_decision(decision)
    initiator_secrets.verify_received(decision, joiner_secrets.received_frame(decision))


def _info(key: Ed25519PrivateKey, nonce: bytes | None) -> bytes:
    public = key.public_key().public_bytes_raw()
    return identity.make_info(public_key=public, name="warm up", os="", app_version="", nonce=nonce)
