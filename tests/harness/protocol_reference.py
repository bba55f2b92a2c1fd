"""A second implementation of docs/protocol.md, which the test vectors must agree with.

It shares nothing with the package: HKDF by hand over hmac, frames by the `msgpack` package, curves and AEAD
by libsodium (PyNaCl), words by counting bits. It is straight-line code on purpose and checks nothing.
"""

import hashlib
import hmac
import struct
from typing import Any

import msgpack
from nacl import bindings, signing


def lp(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def mac(key: bytes, data: bytes) -> bytes:
    return hmac.new(key, data, hashlib.sha256).digest()


def expand(prk: bytes, info: bytes, length: int) -> bytes:
    out, block, count = b"", b"", 0
    while len(out) < length:
        count += 1
        block = mac(prk, block + info + bytes([count]))
        out += block
    return out[:length]


def k(prk: bytes, label: str, th: bytes) -> bytes:
    return expand(prk, lp(label.encode()) + th, 32)


def aead(key: bytes, plaintext: bytes, th: bytes) -> bytes:
    return bindings.crypto_aead_chacha20poly1305_ietf_encrypt(plaintext, th, bytes(12), key)


def pack(*fields: tuple[str, Any]) -> bytes:
    return msgpack.packb(dict(fields), use_bin_type=True)


def words(entropy: bytes, wordlist: tuple[str, ...]) -> str:
    bits = "".join(f"{byte:08b}" for byte in entropy + sha(entropy)[:1])[:132]
    return " ".join(wordlist[int(bits[at : at + 11], 2)] for at in range(0, 132, 11))


def code(entropy: bytes, wordlist: tuple[str, ...]) -> dict[str, str]:
    root = mac(b"spacedrive-pairing-v2", entropy)
    return {
        "entropy": entropy.hex(),
        "words": words(entropy, wordlist),
        "route_key": expand(root, b"route", 32).hex(),
        "auth_key": expand(root, b"auth", 32).hex(),
        "provider_key": "1220" + sha(expand(root, b"rendezvous", 32)).hex(),
        "mdns_instance": expand(root, b"mdns", 8).hex(),
    }


def run(title: str, inputs: dict[str, Any]) -> dict[str, Any]:
    """Recompute one element of run.json from its inputs."""
    side_i, side_j = inputs["initiator"], inputs["joiner"]

    def raw(side: dict[str, Any], field: str) -> bytes:
        return bytes.fromhex(side[field])

    def public(side: dict[str, Any], field: str) -> bytes:
        return bytes(signing.SigningKey(raw(side, field)).verify_key)

    root = mac(b"spacedrive-pairing-v2", bytes.fromhex(inputs["entropy"]))
    peer_i = bytes.fromhex("002408011220") + public(side_i, "transport_seed")
    peer_j = bytes.fromhex("002408011220") + public(side_j, "transport_seed")
    head = (
        ("code_id", mac(expand(root, b"route", 32), lp(peer_i) + lp(peer_j))[:16]),
        ("attempt", bytes.fromhex(inputs["attempt"])),
    )
    eph_i, eph_j = raw(side_i, "ephemeral"), raw(side_j, "ephemeral")
    public_i, public_j = bindings.crypto_scalarmult_base(eph_i), bindings.crypto_scalarmult_base(eph_j)
    commit = sha(lp(b"spacedrive-pairing-v2 commit") + raw(side_j, "nonce"))
    request = pack(("t", "PairingRequest"), ("v", 2), *head, ("eph", public_j), ("commit", commit))

    prk = mac(expand(root, b"auth", 32), bindings.crypto_scalarmult(eph_j, public_i))
    base = lp(b"spacedrive-pairing-v2") + lp(peer_i) + lp(peer_j) + lp(request)
    th0 = sha(base + lp(head[0][1]) + lp(head[1][1]) + lp(public_i) + lp(raw(side_i, "nonce")))
    proof = mac(k(prk, "initiator proof", th0), th0)
    challenge = pack(
        ("t", "Challenge"), *head, ("eph", public_i), ("nonce", raw(side_i, "nonce")), ("proof", proof)
    )
    th1 = sha(base + lp(challenge))

    def identity(side: dict[str, Any], role: str, th: bytes, peer: bytes, *nonce: tuple[str, bytes]) -> Any:
        key = public(side, "device_seed")
        info = pack(
            ("device_id", sha(lp(b"spacedrive-device") + key)[:16]),
            ("name", side["name"]),
            ("public_key", key),
            ("os", side["os"]),
            ("app_version", side["app_version"]),
            *nonce,
        )
        text = lp(b"spacedrive-pairing-v2 device") + lp(role.encode()) + lp(th) + lp(peer) + lp(info)
        signature = signing.SigningKey(raw(side, "device_seed")).sign(text).signature
        sealed = aead(k(prk, f"{role} seal", th), pack(("info", info), ("signature", signature)), th)
        return info, signature, sealed

    info_j, signature_j, sealed = identity(side_j, "joiner", th1, peer_j, ("nonce", raw(side_j, "nonce")))
    response = pack(("t", "ChallengeResponse"), *head, ("sealed", sealed))
    th2 = sha(th1 + lp(response))
    info_i, signature_i, sealed = identity(side_i, "initiator", th2, peer_i)
    confirmation = pack(("t", "ChallengeConfirmation"), *head, ("sealed", sealed))
    th3 = sha(th2 + lp(confirmation))

    def decision(side: dict[str, Any], role: str) -> bytes:
        sealed = aead(k(prk, f"{role} decision", th3), pack(("accepted", side["accepts"])), th3)
        return pack(("t", "PairingDecision"), *head, ("sealed", sealed))

    def received(role: str, frame: bytes) -> str:
        return pack(
            ("t", "DecisionReceived"), *head, ("mac", mac(k(prk, f"{role} received", th3), frame))
        ).hex()

    decision_i, decision_j = decision(side_i, "initiator"), decision(side_j, "joiner")
    check = int.from_bytes(expand(prk, lp(b"check") + th1 + raw(side_j, "nonce"), 4), "big") % 1_000_000
    secret = k(prk, "pairing secret", th3)
    connection = mac(raw(side_i, "connection_nonce") + raw(side_j, "connection_nonce"), secret)
    return {
        "title": title,
        "inputs": inputs,
        "peer_i": peer_i.hex(),
        "peer_j": peer_j.hex(),
        "code_id": head[0][1].hex(),
        "prk": prk.hex(),
        "th1": th1.hex(),
        "th2": th2.hex(),
        "th3": th3.hex(),
        "device_info_i": info_i.hex(),
        "device_info_j": info_j.hex(),
        "signature_i": signature_i.hex(),
        "signature_j": signature_j.hex(),
        "frames": {
            "PairingRequest": request.hex(),
            "Challenge": challenge.hex(),
            "ChallengeResponse": response.hex(),
            "ChallengeConfirmation": confirmation.hex(),
            "PairingDecision of initiator": decision_i.hex(),
            "DecisionReceived of joiner": received("joiner", decision_i),
            "PairingDecision of joiner": decision_j.hex(),
            "DecisionReceived of initiator": received("initiator", decision_j),
            "Refused": pack(("t", "Refused"), *head, ("reason", "closed")).hex(),
        },
        "check": f"{check:06d}",
        "pairing_secret": secret.hex(),
        "fingerprint": expand(secret, b"fingerprint", 8).hex(),
        "connection_key_initiator_to_joiner": expand(connection, b"initiator to joiner", 32).hex(),
        "connection_key_joiner_to_initiator": expand(connection, b"joiner to initiator", 32).hex(),
    }


def orders(pairings: list[dict[str, Any]]) -> tuple[list[tuple[int, int, int]], int]:
    """Return order and both clocks of each pairing, as it is stored, and the number of the one in use."""

    def stated(version: str) -> int:
        _, plus, digits = version.rpartition("+")
        counts = plus and 1 <= len(digits) <= 10 and all(digit in "0123456789" for digit in digits)
        return min(int(digits), 10**9) if counts else 0

    numbers, clocks = [], [0, 0]
    for pairing in pairings:
        both = [stated(pairing["app_version_i"]), stated(pairing["app_version_j"])]
        order = 1 + both[both[1] > both[0]]
        for side, clock in enumerate(both):
            own = max(clocks[side], clock)
            clocks[side] = own if order <= own else min(order, own + 10_001, 10**9)
        numbers.append((order, *clocks))
    ranks = [(numbers[at][0], bytes.fromhex(one["th3"])) for at, one in enumerate(pairings)]
    return numbers, ranks.index(max(ranks))
