"""Pairing where nobody answers: rules by which a device is accepted, and words from a file or descriptor."""

import json
import os

import pytest
from msgspec.structs import replace

from spacedrive_node.cli import run
from spacedrive_node.cli.accept_rules import RuleType, are_fit
from spacedrive_node.messages.control_protocol import Decide, JoinPairing, StartPairing
from spacedrive_node.protocol.peer_ids import peer_id_text
from spacedrive_node.tests.harness.fake_node import (
    PEER,
    PHONE,
    QR,
    WORDS,
    code_state,
    confirm_state,
    ended_state,
    paired_state,
)
from spacedrive_node.tests.harness.secret_sweep import collector

ID = PHONE.device_id.hex()
FITTING = ["any", "name=phone", f"id={ID}", f"id={ID[:16].upper()} {ID[16:]}", f"peer={peer_id_text(PEER)}"]
OTHERS = [
    "name=Phone",
    "name=pho",
    f"id={'0' * 32}",
    "peer=12D3KooWEZ7Fd6ZRPrCCMx8coNAchQTUZHk7oeeNZLAR2U9R5mWM",
]
WRONG = ["", "all", "any=1", "name=", "name=  ", f"id={ID[:12]}", "id=", "peer=12D3KooW", "phone", "key=1"]


@pytest.mark.parametrize("text", FITTING + OTHERS)
def test_rules(text):
    """A whole id or peer id, or a name as it is; never a part of one."""
    assert are_fit([RuleType().convert(text, None, None)], PHONE) == (text in FITTING)


def test_one_rule_is_enough_and_nobody_is_accepted_unknown():
    rules = [RuleType().convert(text, None, None) for text in ("name=tablet", "name=phone")]
    assert are_fit(rules, PHONE)
    assert not are_fit(rules, replace(PHONE, name="laptop"))
    assert not are_fit([RuleType().convert("any", None, None)], None)
    assert not are_fit([], PHONE)


@pytest.mark.parametrize("text", WRONG)
def test_what_is_no_rule(node, capfd, text):
    """Exit code 2 with what is needed; nothing is sent, and what was typed is not repeated."""
    assert run(["pair", "--accept", text, "--control", str(node.path)]) == 2
    err = capfd.readouterr().err
    assert "peer=12D3KooW… is needed" in " ".join(err.split())
    assert text not in ("phone",) or "phone" not in err
    assert node.unread_requests() == []


@pytest.mark.parametrize("more", [["--yes"], ["--check"]])
def test_rules_exclude_what_asks_and_what_does_not(node, capfd, more):
    assert run(["pair", "--accept", "any", *more, "--control", str(node.path)]) == 2
    assert node.unread_requests() == []


def test_a_device_that_fits_is_accepted_unasked(node, sdnode):
    """With its standard input closed, and by the key that was shown."""
    node.after_decision = [paired_state()]
    node.push_states(code_state(), confirm_state())
    command = sdnode("pair", "--once", "--json", "--accept", f"id={ID}", "--control", str(node.path))
    command.close_input()
    code, out, err = command.end()
    assert (code, err) == (0, "")
    decision = node.wait_for(Decide)
    assert (decision.accept, decision.public_key) == (True, PHONE.public_key)
    assert [json.loads(line)["event"] for line in out.splitlines()][-1] == "paired"


def test_a_device_that_does_not_fit_is_declined(node, sdnode):
    """Nobody is asked, not even where somebody could answer; exit code 5."""
    node.after_decision = [ended_state("rejected", stage="deciding")]
    node.push_states(code_state(), confirm_state())
    command = sdnode("pair", "--accept", "name=tablet", "--control", str(node.path))
    code, _, err = command.end()
    assert code == 5
    assert node.wait_for(Decide).accept is False
    assert "fits no --accept" in err


def test_once_shows_one_code(node, sdnode):
    """Also when nobody used it."""
    node.push_states(code_state(), ended_state("expired"))
    command = sdnode("pair", "--once", "--json", "--accept", "any", "--control", str(node.path))
    assert command.end()[0] == 4
    assert node.unread_requests().count(StartPairing.__name__) == 1


@pytest.mark.parametrize("text", [WORDS, WORDS.replace(" ", "\n") + "\n", QR])
def test_words_from_a_file(node, sdnode, folder, text):
    """Words on one line or several, or the text of a QR code; none of it is an argument."""
    file = folder / "words"
    file.touch(mode=0o600)
    file.write_text(text)
    node.push_states(paired_state("joiner"))
    code, _, err = sdnode(
        "join", "--words-file", str(file), "--accept", "any", "--control", str(node.path)
    ).end()
    file.unlink()
    assert (code, err) == (0, "")
    assert node.wait_for(JoinPairing).code == text.strip()
    collector.add_code(WORDS)


def test_a_file_that_everybody_may_read(node, sdnode, folder):
    file = folder / "words"
    file.write_text(WORDS)
    file.chmod(0o644)
    node.push_states(paired_state("joiner"))
    code, _, err = sdnode("join", "--words-file", str(file), "--yes", "--control", str(node.path)).end()
    file.unlink()
    assert code == 0
    assert "everyone on this machine can read the words" in err


@pytest.mark.parametrize("number", ["0", "3"])
def test_words_from_a_descriptor(node, terminal, folder, number):
    """Also one that is a pipe, whose other end is closed or not."""
    node.push_states(paired_state("joiner"))
    reading, writing = os.pipe()
    os.write(writing, WORDS.encode() + b"\n")
    os.close(writing)
    os.set_inheritable(reading, True)
    path = f"/proc/{os.getpid()}/fd/{reading}"
    command = f'"$@" {number}< {path}'
    shell = terminal(*("join", "--words-fd", number, "--yes", "--control", str(node.path)), shell=command)
    code, shown = shell.end()
    os.close(reading)
    assert code == 0, shown
    assert node.wait_for(JoinPairing).code == WORDS


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--words-file", "{folder}/none"], "cannot be read"),
        (["--words-file", "{folder}"], "cannot be read"),
        (["--words-fd", "1"], "3 on"),
        (["--words-fd", "99"], "cannot be read"),
        (["--words-fd", "99999999999999999999"], "a number from 0 to"),
        (["--words-file", "{folder}/none", "--words-fd", "3"], "give one of"),
        (["--words-fd", "3", "-"], "give one of"),
        (["--words-file", "/dev/zero"], ""),
    ],
)
def test_words_that_cannot_be_read(node, sdnode, folder, arguments, said):
    """Exit code 2, and nothing is sent."""
    given = [word.format(folder=folder) for word in arguments]
    code, _, err = sdnode("join", *given, "--control", str(node.path)).end()
    assert code == 2
    assert said in err
    assert "internal" not in err
    assert node.unread_requests() == []
