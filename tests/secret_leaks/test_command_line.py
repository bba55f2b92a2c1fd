"""Whole nodes and their users, by the real commands: no secret of theirs stands where it should not."""

import json
import os
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from spacedrive_node.messages.base import CONTROL_LIMIT, FrameReader, encode, frame
from spacedrive_node.messages.control_protocol import (
    Decide,
    Error,
    JoinPairing,
    Request,
    Status,
    decode_reply,
)
from spacedrive_node.protocol.code import qr_payload, words_of
from spacedrive_node.protocol.peer_ids import peer_id_from_text
from spacedrive_node.tests.harness.node_and_user_commands import (
    DEADLINE,
    Command,
    NodesAndUsers,
    open_nodes_and_users,
)
from spacedrive_node.tests.harness.secret_sweep import known_secrets
from spacedrive_node.tests.harness.secret_sweep.places import http_get

PHRASE = b"orchestral plum 7 turnstile"


def unused_words(nodes: NodesAndUsers) -> str:
    """The words of a code that nobody shows."""
    words = " ".join(words_of(os.urandom(16)))
    nodes.add_code(words)
    return words


def enter(nodes: NodesAndUsers, name: str, text: str, *flags: str) -> Command:
    """Enter a code at a node on standard input, and nothing more."""
    joining = nodes.at(name, "join", "-", *flags)
    joining.type(text)
    joining.close_input()  # no end of a code that cannot be one is found otherwise
    return joining


def ask(control: str, *requests: Request | bytes) -> list[bytes]:
    """Say this on a control socket, one after the other; return the bodies of the answers."""
    answers = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(DEADLINE)
        connection.connect(control)
        reader = FrameReader(CONTROL_LIMIT)
        for request in requests:
            data = request if isinstance(request, bytes) else encode(request)
            connection.sendall(frame(data, CONTROL_LIMIT))
            while (answer := reader.next_frame()) is None:
                piece = connection.recv(1 << 16)
                if not piece:
                    return answers
                reader.feed(piece)
            answers.append(answer)
    return answers


def pid_of(nodes: NodesAndUsers, name: str, actor: str) -> int:
    """The process of an actor (the first whose name begins so)."""
    listing = nodes.at(name, "actors", as_json=True)
    assert listing.end() == 0
    rows = [json.loads(line) for line in listing.out]
    return next(int(row["pid"]) for row in rows if row["actor"].startswith(actor))


def reject(nodes: NodesAndUsers) -> None:
    """A pairing that one user refuses."""
    showing, words = nodes.pair("anna")
    joining = nodes.at("bruno", "join", "-")
    joining.type(words)
    nodes.wait_for_questions(showing, joining)
    joining.type("y")
    showing.type("n")
    assert (showing.end(), joining.end()) == (5, 5)


def pair_through_kills(nodes: NodesAndUsers) -> None:
    """A pairing while both ask: a session and a vault are killed."""
    showing, words = nodes.pair("anna")
    joining = nodes.at("bruno", "join", "-")
    joining.type(words)
    nodes.wait_for_questions(showing, joining)
    os.kill(pid_of(nodes, "anna", "session"), signal.SIGKILL)
    os.kill(pid_of(nodes, "bruno", "vault"), signal.SIGKILL)
    showing.type("y")
    joining.type("y")
    assert (showing.end(), joining.end()) == (0, 0)


def mistakes(nodes: NodesAndUsers, ready: dict[str, Any]) -> None:
    """Typos, a code that nobody shows, and one that the peer of its QR text does not know."""
    words = unused_words(nodes).split()
    entropy = os.urandom(16)
    nodes.add_code(" ".join(words_of(entropy)))
    wrong = [
        (" ".join([*words[:4], words[4] + "x", *words[5:]]), 2),
        (" ".join([*words, words[0]]), 2),
        ("spacedrive:pair?v=3&w=" + "-".join(words), 2),
        (" ".join(words), 3),
        (qr_payload(entropy, peer_id_from_text(ready["peer_id"]), ready["addresses"]), 4),
    ]
    joining = [enter(nodes, "bruno", text, "--timeout", "1") for text, _ in wrong]
    assert [command.end() for command in joining] == [code for _, code in wrong]


def wrong_requests(nodes: NodesAndUsers, control: str) -> None:
    """On the control socket: codes that cannot be, unknown sessions, garbage with words in it."""
    words = unused_words(nodes)
    first = words.split()[0]
    wrong: list[Request | bytes] = [
        JoinPairing(1, os.urandom(16), words + " " + first),
        JoinPairing(2, os.urandom(16), words.replace(first, first + "q")),
        JoinPairing(3, os.urandom(16), "spacedrive:pair?v=2&w=" + words + "&w=" + words),
        Decide(4, os.urandom(16), "ab" * 8, True),
    ]
    answers = ask(control, *wrong)
    assert all(isinstance(decode_reply(answer), Error) for answer in answers)
    assert len(answers) == len(wrong)
    answers += ask(control, words.encode())
    answers += ask(control, encode(Status(1)).replace(b"Status", words[:6].encode()))
    nodes.texts.append(("an error on the control socket", b"\n".join(answers)))


@pytest.mark.parametrize("sealed", [False, True], ids=["open", "sealed"])
def test_no_secret_is_anywhere(folder: Path, sealed: bool) -> None:
    """Pairings good and bad, kills and mistakes, at log level debug: all that was said, shown and left."""
    with open_nodes_and_users(folder, as_json=sealed, log_format="json" if sealed else "console") as nodes:
        flags: dict[str, tuple[str, ...]] = {"anna": (), "bruno": ()}
        fds: tuple[int, ...] = ()
        if sealed:
            phrase = folder / "phrase"
            phrase.touch(0o600)
            phrase.write_bytes(PHRASE + b"\n")
            read, write = os.pipe()
            os.write(write, PHRASE + b"\n")
            os.close(write)
            fds = (read,)
            flags = {"anna": ("--passphrase-file", str(phrase)), "bruno": ("--passphrase-fd", str(read))}
            nodes.passphrases.add(PHRASE)
        anna, ready = nodes.up("anna", *flags["anna"])
        bruno, _ = nodes.up("bruno", *flags["bruno"], fds=fds)
        if sealed:
            phrase.unlink()
            os.close(read)
        if not sealed:
            mistakes(nodes, ready)
            reject(nodes)
        pair_through_kills(nodes)
        wrong_requests(nodes, ready["control"])
        for path in ("/metrics", "/livez", "/readyz"):
            nodes.texts.append((path, http_get(ready["metrics"], path)))
            assert nodes.texts[-1][1].startswith(b"HTTP/1.1 200 ")
        listings = [nodes.at("anna", command) for command in ("devices", "status", "actors")]
        assert [command.end() for command in listings] == [0, 0, 0]
        assert nodes.findings(nodes.search()) == []
        if sealed:
            nodes.pair("bruno")
            bruno.process.kill()  # in the middle of a pairing
        for node in (anna, bruno):
            node.process.send_signal(signal.SIGTERM)
        assert (anna.end(), bruno.end()) == (0, -signal.SIGKILL if sealed else 0)
        search = nodes.search()
        assert search.names == known_secrets.OF_CODE | known_secrets.OF_IDENTITY | {"pairing_secret"} | (
            {"passphrase"} if sealed else set()
        )
        assert nodes.findings(search) == []
        assert_everything_was_searched(nodes, sealed)


def assert_everything_was_searched(nodes: NodesAndUsers, sealed: bool) -> None:
    """The same search finds the secrets where they belong, and it had everything before it."""
    search = nodes.search()
    pairs = [command for command in nodes.commands if command.arguments[0] == "pair"]
    assert len(pairs) == 2
    for command in pairs:
        assert "words in a row" in search.find("".join(command.out).encode())
    for name in ("anna", "bruno"):
        identity = (nodes.folder / name / "identity.key").read_bytes()
        assert {what.split(" as ")[0] for what in search.find(identity)} == (
            set() if sealed else known_secrets.OF_IDENTITY
        )
    logs = [command.err.read_bytes() for command in nodes.commands if command.arguments[0] == "up"]
    assert all(b"sandbox" in log for log in logs)
    sampler = nodes.sampler
    assert {"cmdline", "comm", "status", "stat"} <= {name for name, _ in sampler.seen}
    assert ("environ" in {name for name, _ in sampler.seen}) or "environ" in sampler.unreadable
    # Two nodes of a supervisor, a fork server and five actors, their sessions, and the other commands.
    assert len(sampler.pids) >= 2 * 7 + 2 + len(nodes.commands) - 2
