"""The search itself: it finds a secret in every form, at every place, cut or embedded, and nothing else."""

import base64
import json
import os
import urllib.parse
from collections.abc import Callable
from pathlib import Path

import base58
import msgspec
import pytest

from spacedrive_node.cli.views import word_rows
from spacedrive_node.protocol.code import parse_words, qr_payload, words_of
from spacedrive_node.protocol.words import WORDS
from spacedrive_node.tests.harness.secret_sweep import known_secrets
from spacedrive_node.tests.harness.secret_sweep.encodings import SecretSearch

ROOT = Path(__file__).resolve().parents[2]
SECRET = bytes.fromhex("27fb5c41e0963fd81122fe7d90a8b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4")
CODE = "ozone drill grab fiber curtain grace pudding thank cruise elder eight picnic"

WRITERS: dict[str, Callable[[bytes], bytes]] = {
    "raw": lambda value: value,
    "MessagePack": lambda value: msgspec.msgpack.encode({"key": value}),
    "hexadecimal": lambda value: value.hex().encode(),
    "HEXADECIMAL": lambda value: value.hex().upper().encode(),
    "with colons": lambda value: value.hex(":").encode(),
    "with spaces": lambda value: value.hex(" ").upper().encode(),
    "repr": lambda value: repr(value).encode(),
    "repr in a tuple of arguments": lambda value: repr(ValueError(value, 1)).encode(),
    "repr of a memory": lambda value: repr(bytearray(value)).encode(),
    "repr in JSON": lambda value: repr(value).encode(),
    "list": lambda value: repr(list(value)).encode(),
    "JSON list": lambda value: msgspec.json.encode(list(value)),
    "latin-1": lambda value: value.decode("latin-1").encode(),
    "latin-1 in JSON": lambda value: json.dumps(value.decode("latin-1")).encode(),
    "backslashes": lambda value: value.decode("utf-8", "backslashreplace").encode(),
    "base64": base64.b64encode,
    "base64 for URLs": base64.urlsafe_b64encode,
    "base64 without padding": lambda value: base64.b64encode(value).rstrip(b"="),
    "base64 one byte in": lambda value: base64.b64encode(b"x" + value + b"yz"),
    "base64 two bytes in": lambda value: base64.urlsafe_b64encode(b"xy" + value + b"z"),
    "base64 of a map": lambda value: base64.b64encode(msgspec.msgpack.encode({"t": "Serve", "key": value})),
    "base58": base58.b58encode,
    "base58 with a prefix": lambda value: b"z" + base58.b58encode(value),
}


def sweep_of(value: bytes) -> SecretSearch:
    search = SecretSearch()
    search.add("it", value)
    return search


@pytest.mark.parametrize("writer", WRITERS.values(), ids=WRITERS.keys())
def test_every_form_is_found(writer: Callable[[bytes], bytes]) -> None:
    """Of chosen and of random values, between noise; and what is said of it does not quote it."""
    for value in (SECRET, SECRET[:16], b'it\'s "quoted" \\ text', *(os.urandom(32) for _ in range(20))):
        found = sweep_of(value).find(os.urandom(99) + writer(value) + os.urandom(99))
        assert found
        assert all(what.startswith("it as ") for what in found)
        assert not any(sweep_of(value).find(what.encode()) for what in found)


@pytest.mark.parametrize("writer", ["raw", "hexadecimal", "repr", "list", "base64", "base64 for URLs"])
def test_a_part_is_found(writer: str) -> None:
    """The first or the last ten bytes are enough: what cuts long values keeps one of the two."""
    for value in (SECRET, *(os.urandom(32) for _ in range(20))):
        write = WRITERS[writer]
        assert sweep_of(value).find(write(value[:10]))
        last = write(value)[-20:] if "base64" in writer else write(value[-10:])
        assert sweep_of(value).find(last)


def test_other_values_are_not_found() -> None:
    """In a megabyte of noise and in our own documents, sources and databases."""
    search = SecretSearch()
    for _ in range(5):
        known_secrets.add_code(search, os.urandom(16))
        search.add("it", os.urandom(32))
        search.add_phrase("passphrase", b"orchestral plum 7 turnstile")
    assert search.find(os.urandom(1 << 20)) == []
    for path in (*ROOT.glob("docs/*.md"), ROOT / "protocol" / "words.py", ROOT / "README.md"):
        assert search.find(path.read_bytes()) == []
    assert search.find(bytes(1 << 20)) == []


SENTENCES: dict[str, Callable[[list[str]], str]] = {
    "spaces": " ".join,
    "hyphens": "-".join,
    "lines": "\n".join,
    "arguments": "\0".join,
    "capitals": lambda words: " ".join(words).upper(),
    "numbered": lambda words: "  ".join(f"{n:>2}. {word}" for n, word in enumerate(words, 1)),
    "list": repr,
    "JSON": json.dumps,
    "URL": lambda words: urllib.parse.quote(" ".join(words)),
    "four letters": lambda words: " ".join(word[:4] for word in words),
    "five letters": lambda words: ",".join(word[:5] for word in words),
}


@pytest.mark.parametrize("writer", SENTENCES.values(), ids=SENTENCES.keys())
def test_three_words_in_a_row_are_found(writer: Callable[[list[str]], str]) -> None:
    """Any three, however they are separated, and all twelve; two, or three others, are not."""
    words = CODE.split()
    search = SecretSearch()
    known_secrets.add_code(search, CODE)
    for begin in range(10):
        assert search.find(f"<{writer(words[begin : begin + 3])}>".encode())
    assert search.find(writer(words).encode())
    for begin in range(11):
        assert not search.find(writer(words[begin : begin + 2]).encode())
    assert not search.find(writer([words[0], words[2], words[1], words[4], words[3]]).encode())


def test_all_that_a_code_gives_is_found() -> None:
    """The words in unreadable forms too, the numbers of the words, and every key of the test vectors."""
    search = SecretSearch()
    known_secrets.add_code(search, CODE)
    assert search.names == known_secrets.OF_CODE
    rows = word_rows(CODE)
    for text in (
        base64.b64encode(CODE.encode()),
        base64.b64encode(b"x" + CODE.replace(" ", "-").encode()),
        CODE.encode().hex().encode(),
        CODE.encode("utf-16-le"),
        CODE.replace(" ", "").encode(),
        repr([WORDS.index(word) for word in CODE.split()]).encode(),
        qr_payload(parse_words(CODE), b"\0$\x08\x01\x12 " + bytes(32), ["/ip4/127.0.0.1/tcp/1"]).encode(),
        rows[0].encode(),
        rows[3].encode(),
    ):
        assert any(what.startswith("words") for what in search.find(text)), text
    for vector in json.loads((ROOT / "tests" / "vectors" / "code.json").read_text()):
        search = SecretSearch()
        known_secrets.add_code(search, vector["words"])
        assert "route_key as hex" in search.find(vector["route_key"].encode())
        assert "auth_key as hex" in search.find(vector["auth_key"].encode())
        assert search.find(vector["provider_key"].encode() + vector["mdns_instance"].encode()) == []
        if len(set(bytes.fromhex(vector["entropy"]))) > 8:
            assert "code as hex" in search.find(vector["entropy"].encode())


def test_a_passphrase_is_found() -> None:
    """In any case and in unreadable forms; a word of it is not."""
    search = SecretSearch()
    search.add_phrase("passphrase", b"orchestral plum 7 turnstile")
    for text in (b"<Orchestral plum 7 turnstile>", base64.b64encode(b"-orchestral plum 7 turnstile"),
                 b"orchestral plum 7 turnstile".hex().encode()):  # fmt: skip
        assert search.find(text)
    assert not search.find(b"orchestral turnstile")


def test_a_code_of_zeros_is_found_by_its_words_only() -> None:
    """Its 16 bytes are in every file; the keys that are derived from it are not."""
    search = SecretSearch()
    known_secrets.add_code(search, bytes(16))
    assert search.find(bytes(100) + b"AAAAAAAAAAAAAAAAAA" + b"00" * 20) == []
    assert search.find(" ".join(words_of(bytes(16))).encode())
