"""Writes the test vectors beside it: python tests/vectors/generate.py

Every input is fixed, so the files change only when the protocol does. tests/protocol/test_vectors.py
recomputes them with this script and, apart from it, with a second implementation.
"""

import hashlib
import json
import unicodedata
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from spacedrive_node.messages.base import encode
from spacedrive_node.messages.peer_protocol import Refused
from spacedrive_node.protocol import code, identity, keys, pairing_clock, peer_ids
from spacedrive_node.protocol.attempt import InitiatorAttempt, JoinerAttempt
from spacedrive_node.tests.harness.identity_vectors import identities

HERE = Path(__file__).parent

ENTROPIES = (
    "00000000000000000000000000000000",
    "7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f",
    "80808080808080808080808080808080",
    "ffffffffffffffffffffffffffffffff",
    "9e885d952ad362caeb4efe34a8e91bd2",
    "000102030405060708090a0b0c0d0e0f",
)

RUNS = (
    ("both accept", "Ada’s laptop", "Büro-PC", True, True),
    ("the joiner rejects", "desk", "電話", True, False),
    ("the initiator rejects", "x" * 64, "🖥 server", False, True),
)


def seed(*parts: str) -> bytes:
    """Return 32 fixed bytes that stand for random ones."""
    return hashlib.sha256("/".join(("spacedrive test vector", *parts)).encode()).digest()


def public(private: bytes) -> bytes:
    return Ed25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def codes() -> list[dict[str, Any]]:
    out = []
    for text in ENTROPIES:
        entropy = bytes.fromhex(text)
        derived = code.derive(entropy)
        out.append(
            {
                "entropy": text,
                "words": " ".join(code.words_of(entropy)),
                "route_key": derived.route_key.hex(),
                "auth_key": derived.auth_key.hex(),
                "provider_key": derived.provider_key.hex(),
                "mdns_instance": derived.mdns_instance,
            }
        )
    return out


def qr_texts() -> list[dict[str, Any]]:
    entropy = bytes.fromhex(ENTROPIES[4])
    peer = peer_ids.peer_id_of(public(seed("qr")))
    lists = (
        [],
        ["/ip4/192.0.2.7/tcp/7520"],
        ["/ip6/2001:db8::1/udp/7520/quic-v1", "/dns4/a%b&c.example/tcp/1"],
    )
    return [
        {
            "entropy": entropy.hex(),
            "peer": peer.hex(),
            "peer_text": peer_ids.peer_id_text(peer),
            "addresses": addresses,
            "text": code.qr_payload(entropy, peer, addresses),
        }
        for addresses in lists
    ]


def run(title: str, name_i: str, name_j: str, accept_i: bool, accept_j: bool) -> dict[str, Any]:
    entropy = seed(title, "code")[:16]
    derived = code.derive(entropy)
    device_i, device_j = seed(title, "device i"), seed(title, "device j")
    transport_i, transport_j = seed(title, "transport i"), seed(title, "transport j")
    eph_i, eph_j = seed(title, "eph i"), seed(title, "eph j")
    nonce_i, nonce_j = seed(title, "nonce i"), seed(title, "nonce j")
    peer_i, peer_j = peer_ids.peer_id_of(public(transport_i)), peer_ids.peer_id_of(public(transport_j))
    joiner = JoinerAttempt.begin(
        auth_key=derived.auth_key,
        route_key=derived.route_key,
        initiator=peer_i,
        joiner=peer_j,
        attempt=seed(title, "attempt")[:16],
        ephemeral=eph_j,
        nonce=nonce_j,
    )
    initiator = InitiatorAttempt.begin(
        auth_key=derived.auth_key,
        initiator=peer_i,
        joiner=peer_j,
        request_frame=joiner.request_frame,
        ephemeral=eph_i,
        nonce=nonce_i,
    )
    th1 = joiner.verify_challenge(initiator.challenge_frame)
    info_j = identity.make_info(
        public_key=public(device_j), name=name_j, os="linux", app_version="0.1.0", nonce=nonce_j
    )
    signature_j = Ed25519PrivateKey.from_private_bytes(device_j).sign(
        identity.signing_input("joiner", th1, peer_j, info_j)
    )
    response = joiner.respond(initiator.challenge_frame, info_j, signature_j)
    initiator.open_response(response)
    info_i = identity.make_info(
        public_key=public(device_i), name=name_i, os="macos", app_version="", nonce=None
    )
    signature_i = Ed25519PrivateKey.from_private_bytes(device_i).sign(
        identity.signing_input("initiator", initiator.th2(response), peer_i, info_i)
    )
    proven_i = initiator.confirm(response, info_i, signature_i)
    confirmation = proven_i.confirmation_frame
    assert confirmation is not None
    proven_j, _ = joiner.open_confirmation(initiator.challenge_frame, response, confirmation)
    assert (proven_i.pairing_secret, proven_i.check) == (proven_j.pairing_secret, proven_j.check)
    decision_i, decision_j = proven_i.decision_frame(accept_i), proven_j.decision_frame(accept_j)
    later_i, later_j = seed(title, "later i"), seed(title, "later j")
    key_ij, key_ji = keys.connection_keys(proven_i.pairing_secret, later_i, later_j)
    return {
        "title": title,
        "inputs": {
            "entropy": entropy.hex(),
            "attempt": joiner.attempt.hex(),
            "initiator": {
                "device_seed": device_i.hex(),
                "transport_seed": transport_i.hex(),
                "ephemeral": eph_i.hex(),
                "nonce": nonce_i.hex(),
                "name": name_i,
                "os": "macos",
                "app_version": "unknown",
                "accepts": accept_i,
                "connection_nonce": later_i.hex(),
            },
            "joiner": {
                "device_seed": device_j.hex(),
                "transport_seed": transport_j.hex(),
                "ephemeral": eph_j.hex(),
                "nonce": nonce_j.hex(),
                "name": name_j,
                "os": "linux",
                "app_version": "0.1.0",
                "accepts": accept_j,
                "connection_nonce": later_j.hex(),
            },
        },
        "peer_i": peer_i.hex(),
        "peer_j": peer_j.hex(),
        "code_id": joiner.code_id.hex(),
        "prk": initiator.prk.hex(),
        "th1": th1.hex(),
        "th2": proven_i.th2.hex(),
        "th3": proven_i.th3.hex(),
        "device_info_i": info_i.hex(),
        "device_info_j": info_j.hex(),
        "signature_i": signature_i.hex(),
        "signature_j": signature_j.hex(),
        "frames": {
            "PairingRequest": joiner.request_frame.hex(),
            "Challenge": initiator.challenge_frame.hex(),
            "ChallengeResponse": response.hex(),
            "ChallengeConfirmation": confirmation.hex(),
            "PairingDecision of initiator": decision_i.hex(),
            "DecisionReceived of joiner": proven_j.received_frame(decision_i).hex(),
            "PairingDecision of joiner": decision_j.hex(),
            "DecisionReceived of initiator": proven_i.received_frame(decision_j).hex(),
            "Refused": encode(Refused(joiner.code_id, joiner.attempt, "closed")).hex(),
        },
        "check": proven_i.check,
        "pairing_secret": proven_i.pairing_secret.hex(),
        "fingerprint": proven_i.fingerprint,
        "connection_key_initiator_to_joiner": key_ij.hex(),
        "connection_key_joiner_to_initiator": key_ji.hex(),
    }


def bad_frames(request_hex: str) -> list[dict[str, str]]:
    """Spoil a good PairingRequest in each way that a lenient decoder would accept or an unwary one miss."""
    good = bytes.fromhex(request_hex)
    head, v = good[:1], bytes([0xA1]) + b"v" + b"\x02"
    spoilt = {
        "trailing byte": good + b"\x00",
        "last byte missing": good[:-1],
        "empty": b"",
        "map with 16-bit length": b"\xde\x00" + bytes([head[0] & 0x0F]) + good[1:],
        "tag as str8": good.replace(b"\xa1t", b"\xd9\x01t", 1),
        "version as uint8": good.replace(v, v[:2] + b"\xcc\x02", 1),
        "version as float": good.replace(v, v[:2] + b"\xcb\x40\x00\x00\x00\x00\x00\x00\x00", 1),
        "version 1": good.replace(v, v[:2] + b"\x01", 1),
        "version twice": bytes([head[0] + 1]) + good[1:] + v,
        "unknown field": bytes([head[0] + 1]) + good[1:] + b"\xa1x\xc0",
        "field missing": bytes([head[0] - 1]) + good[1:].replace(v, b"", 1),
        "fields in another order": head + good[1:].replace(v, b"", 1) + v,
        "tag last": head + good[1 + 17 :] + good[1 : 1 + 17],
        "byte field with 16-bit length": good.replace(b"\xc4\x10", b"\xc5\x00\x10", 1),
        "byte field as str": good.replace(b"\xc4\x10", b"\xb0", 1),
        "byte field one longer": good.replace(b"\xc4\x10", b"\xc4\x11\x00", 1),
        "unknown tag": good.replace(b"PairingRequest", b"PairingRequesT", 1),
        "array instead of map": b"\x90",
        "nil": b"\xc0",
        "deep nesting": b"\x91" * 600,
    }
    assert all(frame != good for frame in spoilt.values())
    return [{"what": what, "frame": frame.hex()} for what, frame in spoilt.items()]


def names() -> dict[str, list[dict[str, str]]]:
    good = {
        "plain": "desk",
        "64 characters": "x" * 64,
        "composed accent": "Büro",
        "Chinese": "電話",
        "emoji": "🖥",
        "spaces around": " a ",
        "only punctuation": "-",
        "emoji joined": "\U0001f468\u200d\U0001f469\u200d\U0001f467",
        "emoji with a variation selector, joined": "\U0001f3f3\ufe0f\u200d\U0001f308",
        "emoji with a skin tone, joined": "\U0001f575\U0001f3fd\u200d\u2642\ufe0f",
        "emoji of the older blocks, joined": "\u26d3\ufe0f\u200d\U0001f4a5",
        "arrow joined": "\U0001f642\u200d\u2194\ufe0f",
        "joined emoji among letters": "a\U0001f469\u200d\U0001f4bbb",
    }
    bad = {
        "empty": "",
        "65 characters": "x" * 65,
        "space": " ",
        "no-break spaces": "\u00a0\u00a0",
        "ideographic space": "\u3000",
        "Hangul filler": "\u3164",
        "Braille blank": "\u2800",
        "only a combining mark": "\u0301",
        "line feed": "a\nb",
        "NUL": "a\x00",
        "DEL": "a\x7f",
        "C1 control": "a\x85",
        "line separator": "a\u2028b",
        "paragraph separator": "a\u2029b",
        "right-to-left override": "a\u202eb",
        "left-to-right isolate": "a\u2066b",
        "zero width space": "a\u200bb",
        "zero width joiner": "a\u200db",
        "zero width joiner behind an emoji": "\U0001f469\u200d",
        "zero width joiner before an emoji": "\u200d\U0001f469",
        "zero width joiner between emoji and letter": "\U0001f469\u200da",
        "zero width joiner between letter and emoji": "a\u200d\U0001f469",
        "two zero width joiners": "\U0001f469\u200d\u200d\U0001f4bb",
        "zero width joiner behind two variation selectors": "\U0001f3f3\ufe0f\ufe0f\u200d\U0001f308",
        "zero width joiner of Braille": "\u2801\u200d\u2801",
        "zero width non-joiner between emoji": "\U0001f469\u200c\U0001f4bb",
        "emoji tags": "\U0001f3f4\U000e0067\U000e007f",
        "byte order mark": "\ufeffa",
        "soft hyphen": "a\u00adb",
        "tag character": "a\U000e0041",
        "private use": "a\ue000",
        "unassigned": "a\u0378",
        "noncharacter": "a\uffff",
        "decomposed accent": unicodedata.normalize("NFD", "Büro"),
        "Angstrom sign": "\u212b",
    }
    return {
        "accepted": [{"what": what, "name": name} for what, name in good.items()],
        "refused": [{"what": what, "name": name} for what, name in bad.items()],
    }


ORDERS = (
    ("no clock is stated", [("0.1.0", "unknown")]),
    ("one pairing after another", [("0.1.0+0", "9.9+0"), ("0.1.0+1", "9.9+1"), ("0.1.0+2", "9.9+2")]),
    ("two that overlap", [("0.1.0+4", "9.9+2"), ("0.1.0+4", "9.9+2")]),
    ("the second was signed by one side before the first was stored", [("1+6", "1+6"), ("1+6", "1+7")]),
    (
        "a clock far ahead counts as it is stated",
        [("1+0", "1+10000"), ("1+0", "1+10001"), ("1+0", "1+10002")],
    ),
    ("the greatest clock", [("1+1000000000", "1+5"), ("1+5", "1+999999999")]),
    ("what states no clock", [("1+beta", "1+"), ("1+99999999999", "1+4000000000"), ("+-3", "1+5-rc")]),
)


def orders() -> list[dict[str, Any]]:
    """Return sets of pairings of the same two devices, all of them paired, and which one is in use.

    The clocks afterwards are those of devices that have stored nothing else, in the order of the list.
    """
    out = []
    for what, stated in ORDERS:
        pairings, clocks = [], [0, 0]
        for number, versions in enumerate(stated):
            order = pairing_clock.order_of_pairing(*versions)
            clocks = [
                pairing_clock.clock_after(max(clock, pairing_clock.clock_in_version(version)), order)
                for clock, version in zip(clocks, versions, strict=True)
            ]
            pairings.append(
                {
                    "th3": seed("order", what, str(number)).hex(),
                    "app_version_i": versions[0],
                    "app_version_j": versions[1],
                    "order": order,
                    "clock_i": clocks[0],
                    "clock_j": clocks[1],
                }
            )
        used = max(range(len(pairings)), key=lambda at: (pairings[at]["order"], pairings[at]["th3"]))
        out.append({"what": what, "pairings": pairings, "in_use": used})
    return out


def build() -> dict[str, Any]:
    """Return the contents of every file by its name."""
    runs = [run(*arguments) for arguments in RUNS]
    return {
        "code.json": codes(),
        "qr.json": qr_texts(),
        "run.json": runs,
        "refused-frames.json": bad_frames(runs[0]["frames"]["PairingRequest"]),
        "names.json": names(),
        "orders.json": orders(),
        "identities.json": identities(
            seed("identity", "signer"),
            seed("identity", "receiver"),
            peer_ids.peer_id_of(public(seed("identity", "transport"))),
            peer_ids.peer_id_of(public(seed("identity", "receiver transport"))),
        ),
    }


if __name__ == "__main__":
    for filename, content in build().items():
        (HERE / filename).write_text(json.dumps(content, indent=1, ensure_ascii=True) + "\n")
