"""Words and passphrases that users give in the wrong place, and words that they give as arguments."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from spacedrive_node.protocol.code import qr_payload, words_of
from spacedrive_node.tests.harness.node_and_user_commands import open_nodes_and_users
from spacedrive_node.tests.harness.secret_sweep import known_secrets
from spacedrive_node.tests.harness.secret_sweep.encodings import SecretSearch

PHRASE = "orchestral-plum-7"
ENTROPY = os.urandom(16)
WORDS = list(words_of(ENTROPY))
TEXT = " ".join(WORDS)
QR = qr_payload(ENTROPY, b"\0$\x08\x01\x12 " + bytes(32), ["/ip4/127.0.0.1/tcp/1"])

WRONG = [
    ["pair", *WORDS],
    ["pair", TEXT],
    ["status", *WORDS],
    ["actors", QR],
    ["devices", TEXT],
    ["devices", "list", *WORDS],
    ["devices", "rename", *WORDS],
    ["devices", "forget", "--yes", *WORDS],
    [TEXT],
    [QR],
    ["joni", *WORDS],
    ["join", "--timeout", QR],
    ["join", "--timeout", TEXT],
    ["join", *WORDS[:5], WORDS[5] + "x", *WORDS[6:]],
    ["join", *WORDS, "extra"],
    ["join", QR + "&w=" + "-".join(WORDS)],
    ["demo", "--pairs", TEXT],
    ["up", *WORDS],
    ["up", "--passphrase-fd", PHRASE],
    ["up", "--passphrase", PHRASE],
    ["up", f"--passphrase={PHRASE}"],
    ["up", "--ask-passphrase", PHRASE],
]


def secrets() -> SecretSearch:
    search = SecretSearch()
    known_secrets.add_code(search, ENTROPY)
    search.add_phrase("passphrase", PHRASE.encode())
    return search


@pytest.mark.parametrize("arguments", WRONG, ids=range(len(WRONG)))
def test_what_is_given_in_the_wrong_place_is_not_repeated(
    arguments: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, one message, and nothing of it on either output."""
    from spacedrive_node.cli import run

    assert run(arguments) == 2
    out, err = capfd.readouterr()
    assert err.startswith("sdnode: ")
    assert secrets().find((out + err).encode()) == []


@pytest.mark.parametrize("variable", ["SDNODE_PASSPHRASE", "SDNODE_WORDS"])
def test_a_secret_in_a_variable_is_not_repeated(
    variable: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or in the configuration file: what is said names the key, not the value."""
    from spacedrive_node.cli import run

    monkeypatch.setenv(variable, f"{PHRASE} {TEXT}")
    run(["up", "--check-config"])
    out, err = capfd.readouterr()
    assert secrets().find((out + err).encode()) == []


@pytest.mark.parametrize("line", ["passphrase = '{}'", "words = '{}'", "passphrase '{}'", "name = '{}", "{}"])
def test_a_secret_in_the_file_is_not_repeated(
    line: str, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from spacedrive_node.cli import run

    (folder / "c.toml").write_text(line.format(f"{PHRASE} {TEXT}"))
    assert run(["up", "--config", str(folder / "c.toml"), "--check-config"]) == 2
    out, err = capfd.readouterr()
    assert secrets().find((out + err).encode()) == []


AS_ARGUMENTS: dict[str, Callable[[], list[str]]] = {
    "words": lambda: WORDS,
    "one argument": lambda: [TEXT],
    "QR text": lambda: [QR],
}


def test_arguments_are_overwritten(folder: Path) -> None:
    """Words, one argument with all of them, a QR text: once the search is told of, none of them is left."""
    with open_nodes_and_users(folder) as nodes:
        nodes.up("anna")
        search = secrets()
        for given in AS_ARGUMENTS.values():
            joining = nodes.at("anna", "join", *given(), "--timeout", "60")
            joining.event("stage")
            shown = Path(f"/proc/{joining.process.pid}/cmdline").read_bytes()
            assert b"--timeout" in shown
            assert b"****" in shown
            assert search.find(shown) == []
            assert not any(word.encode() in shown.split(b"\0") for word in WORDS)
            joining.interrupt()
            assert joining.end() == 130
        assert nodes.findings(search, except_in="cmdline") == []
