"""`sdnode doctor` where no node answers, and what it refuses."""

import json
import tarfile

import pytest

from spacedrive_node.cli import doctor_gather
from spacedrive_node.cli.doctor_bundle import Redaction
from spacedrive_node.config.running_nodes import register_node
from spacedrive_node.tests.harness.fake_node import WORDS, FakeNode


def found(command, code):
    """Return the levels of what it finds, by area and check."""
    ended, out, err = command.end()
    assert ended == code, (out, err)
    rows = [json.loads(line) for line in out.splitlines()]
    return {(row["area"], row["check"]): row["level"] for row in rows}


def test_without_a_node(sdnode, folder):
    """What can be checked is, and nothing is made. A node that was named and does not run is a problem."""
    levels = found(sdnode("doctor", "--json"), 0)
    assert levels["node", "running"] == "note"
    assert {"network", "permissions", "sandbox", "versions", "disk"} <= {area for area, _ in levels}
    assert [*folder.iterdir()] == []
    levels = found(sdnode("doctor", "--json", "--data-dir", str(folder / "a")), 9)
    assert levels["node", "running"] == "problem"
    levels = found(sdnode("doctor", "--json", env={"SDNODE_MAX_SESSIONS": "many"}), 9)
    assert levels["node", "settings"] == "problem"


def test_of_several_nodes_none_is_guessed(sdnode, folder, node, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    other = FakeNode(folder / "d.sock")
    try:
        register_node(folder / "one", node.path)
        register_node(folder / "two", other.path)
        code, out, _ = sdnode("doctor").end()
    finally:
        other.stop()
    assert code == 9
    assert "--data-dir" in out


def test_a_node_that_does_not_answer(node, monkeypatch):
    """It is given up after a while, and what it is missing is said."""
    monkeypatch.setattr(doctor_gather, "_ANSWER_TIMEOUT_S", 0.2)
    monkeypatch.setattr(doctor_gather, "try_sandbox", dict)  # it forks, and the fake node has threads
    node.silent = {"Status"}
    facts, scrape = doctor_gather.gather(None, str(node.path), None, {})
    assert "reply" in facts.node.reason or "answer" in facts.node.reason
    assert not facts.node.is_expected
    assert scrape is None


def test_a_terminal_shows_what_to_do(terminal, folder):
    """By areas, with arrows before what is to be done, on 60 columns."""
    shell = terminal("doctor", "--data-dir", str(folder / "none"), columns=60)
    code, shown = shell.end()
    assert code == 9
    lines = [line.rstrip() for line in shown.replace("\r", "").splitlines()]
    assert all(len(line) <= 60 or len(line.split()) == 1 for line in lines), lines
    assert "node" in lines
    assert any(line.startswith("  problem  no node is running on") for line in lines)
    assert any(line.startswith("           -> ") for line in lines)
    assert "problem" in lines[-1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--bundle", "{folder}/none/b.tgz"), "cannot be written"),
        (("--log", "{folder}/log"), "--bundle"),
        (("--bundle", "{folder}/b.tgz", "--log", "{folder}/none"), "cannot be read"),
        (("--bundle", "{folder}/b.tgz", "--log", "/dev/zero"), "not a plain file"),
    ],
)
def test_a_bundle_that_cannot_be_made(sdnode, folder, arguments, said):
    """Exit code 2, and nothing is left."""
    code, _, err = sdnode("doctor", *(word.format(folder=folder) for word in arguments)).end()
    assert code == 2
    assert said in err
    assert [*folder.iterdir()] == []


def test_a_long_log_is_cut_at_a_line(sdnode, folder):
    """The last half MiB of it, without the words of a code."""
    log = folder / "log"
    log.write_text("a line of the log\n" * 40_000 + f"the last: {WORDS}\n")
    bundle = folder / "b.tgz"
    assert sdnode("doctor", "--bundle", str(bundle), "--log", str(log)).end()[0] == 0
    log.unlink()
    with tarfile.open(bundle) as opened:
        lines = opened.extractfile("sdnode-doctor/log.txt").read().decode().splitlines()
    assert set(lines[:-1]) == {"a line of the log"}
    assert 400_000 < sum(map(len, lines)) < 512 * 1024
    assert lines[-1] == "the last: [hidden]"


@pytest.mark.parametrize(
    "text",
    [
        "peer 12D3KooWEZ7Fd6ZRPrCCMx8coNAchQTUZHk7oeeNZLAR2U9R5mWM",
        "/ip4/127.0.0.1/udp/7520/webrtc-direct/certhash/uEiD6XGb0sCn8bXHl0KMwqTt3nM2hZz0Jx3W7YqYVbq0T9g",
        "spacedrive_node_discovery_first_candidate_seconds_bucket 4.0",
        "session-0123456789abcdef at handlers.py:162",
        "the network has changed, and able people act about it",
    ],
)
def test_what_is_no_secret_is_left(text):
    """Peer ids, hashes of certificates, names of metrics, sessions, and sentences."""
    assert Redaction({}, ()).in_text(text) == text


@pytest.mark.parametrize(
    "secret",
    [
        "aI3Qu6IeTuglXKtkQ6oUZWciUxZyFSkBxvS7AGJC3jw",
        "0123456789abcdef0123456789abcdef",
        "spacedrive:pair?v=2&w=abandon-ability",
        WORDS.upper(),
        WORDS.replace(" ", "\n  "),
    ],
)
def test_what_looks_like_a_secret_is_hidden(secret):
    """The token of the page, an id or a key, a QR text, words in any form; and nothing around it."""
    assert (
        Redaction({}, ()).in_text(f"at http://127.0.0.1:1/#{secret} (12)")
        == "at http://127.0.0.1:1/#[hidden] (12)"
    )


def test_homes_are_shortened():
    """Only where the name of a directory ends; and the longest one counts."""
    hidden = Redaction({}, ("/srv/anna/own", "/srv/anna"))
    assert hidden.in_text("/srv/anna/x /srv/annabel /srv/anna/own/y /srv/anna") == "~/x /srv/annabel ~/y ~"
