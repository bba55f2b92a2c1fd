"""sdnode pair and sdnode join against a fake node: every event, every question, every exit code."""

import json
import os
import signal

import pytest

from spacedrive_node.messages.control_protocol import CancelPairing, Decide, JoinPairing, Subscribe
from spacedrive_node.protocol.peer_ids import peer_id_text
from spacedrive_node.tests.harness.fake_node import (
    PEER,
    PHONE,
    QR,
    SESSION,
    WORDS,
    code_state,
    confirm_state,
    ended_state,
    paired_state,
    state,
)

EXIT_CODES = {
    "not_found": 3,
    "wrong_code": 4,
    "expired": 4,
    "rejected": 5,
    "lost_contact": 6,
    "crashed": 6,
    "busy": 6,
    "cancelled": 130,
}


def events(out):
    return [json.loads(line) for line in out.splitlines()]


def test_pair_prints_exactly_the_documented_events(node, sdnode):
    """With --json --yes a whole pairing is these objects with these fields, in this order, and exit 0."""
    node.after_decision = [paired_state()]
    node.push_states(code_state())
    command = sdnode("pair", "--json", "--yes", "--control", str(node.path))
    command.line()  # states that follow one another faster than they are shown may be left out
    command.line()
    node.push_states(state("proving"))
    command.line()
    node.push_states(confirm_state())
    code, out, err = command.end()
    assert (code, err) == (0, "")
    shown = {"id": PHONE.device_id.hex(), "name": "phone", "os": "android"}
    assert events(out) == [
        {"event": "code", "session": SESSION, "words": WORDS, "qr": QR, "expires_in": 300.0},
        {"event": "stage", "session": SESSION, "stage": "waiting"},
        {"event": "stage", "session": SESSION, "stage": "proving"},
        {"event": "stage", "session": SESSION, "stage": "deciding"},
        {"event": "confirm", "session": SESSION, "device": shown, "check": "123456"},
        {"event": "stage", "session": SESSION, "stage": "storing"},
        {
            "event": "paired",
            "session": SESSION,
            "device": {**shown, "peer_id": peer_id_text(PEER)},
            "fingerprint": "0123456789abcdef",
            "seconds": 1.25,
            "path": "direct",
            "transport": "quic",
        },
    ]


@pytest.mark.parametrize(("outcome", "expected"), EXIT_CODES.items())
def test_each_outcome_has_its_exit_code_and_event(node, environment, outcome, expected, capfd, monkeypatch):
    """join ends with the documented code for every outcome, and a failed event that names it."""
    from spacedrive_node.cli import run

    node.push_states(ended_state(outcome, "joiner", "searching"))
    assert run(["join", "--json", "--control", str(node.path), *WORDS.split()]) == expected
    out = capfd.readouterr().out
    assert events(out)[-1] == {
        "event": "failed",
        "session": SESSION,
        "outcome": outcome,
        "message": "because",
    }


def test_join_sends_what_was_typed_and_the_timeout(node, sdnode):
    """The words reach the node as one text, with the time that the search may take."""
    node.push_states(paired_state("joiner"))
    command = sdnode("join", "--timeout", "7", "--json", "--control", str(node.path), *WORDS.upper().split())
    request = node.wait_for(JoinPairing)
    assert (request.code.lower(), request.timeout) == (WORDS, 7.0)
    assert command.end()[0] == 0


@pytest.mark.parametrize("text", [WORDS + "\n", QR, WORDS.replace(" ", "\n")])
def test_join_reads_standard_input(node, sdnode, text):
    """`join -` takes words or a QR text from standard input, so that they need not stand in argv."""
    node.push_states(paired_state("joiner"))
    command = sdnode("join", "-", "--yes", "--json", "--control", str(node.path))
    command.type(text)
    command.close_input()
    assert node.wait_for(JoinPairing).code == text.strip()
    assert command.end()[0] == 0


def test_words_that_cannot_be_a_code_are_not_sent(node, capfd):
    """A mistyped word is named with its neighbours, exit 2, and the node hears nothing."""
    from spacedrive_node.cli import run

    wrong = [*WORDS.split()[:11], "abandn"]
    assert run(["join", "--control", str(node.path), *wrong]) == 2
    assert "abandon" in capfd.readouterr().err
    assert node.unread_requests() == []


def test_no_words_without_a_terminal_is_a_usage_error(node, capfd):
    """A script that forgot the words gets exit 2 and no prompt."""
    from spacedrive_node.cli import run

    assert run(["join", "--json", "--control", str(node.path)]) == 2
    assert "-" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("answer", "accept", "expected"), [("y\n", True, 0), ("n\n", False, 5), ("\n", False, 5)]
)
def test_the_answer_on_standard_input_decides(node, sdnode, answer, accept, expected):
    """Without --yes the device is trusted only when y is answered; nothing else counts as yes."""
    node.after_decision = [paired_state() if accept else ended_state("rejected", stage="deciding")]
    node.push_states(code_state(), confirm_state())
    command = sdnode("pair", "--json", "--control", str(node.path))
    while json.loads(command.line())["event"] != "confirm":
        pass
    command.type(answer)
    assert node.wait_for(Decide).accept is accept
    assert command.end()[0] == expected


def test_check_asks_for_both(node, sdnode):
    """--check wants a yes for the digits and another for the device; a no to the digits declines."""
    node.after_decision = [ended_state("rejected", stage="deciding")]
    node.push_states(confirm_state())
    command = sdnode("pair", "--check", "--control", str(node.path))
    command.type("n\n")
    assert node.wait_for(Decide).accept is False
    code, out, _ = command.end()
    assert code == 5
    assert "123 456" in out
    assert "Trust" not in out


def test_check_accepts_after_two_answers(node, sdnode):
    """Both questions answered with yes: the device is accepted."""
    node.after_decision = [paired_state()]
    node.push_states(confirm_state())
    command = sdnode("pair", "--check", "--control", str(node.path))
    command.type("y\ny\n")
    assert node.wait_for(Decide).accept is True
    code, out, _ = command.end()
    assert code == 0
    assert "Trust phone?" in out


def test_nobody_to_ask_declines(node, sdnode):
    """At the end of standard input nobody can answer: the device is declined and --yes is named."""
    node.after_decision = [ended_state("rejected", stage="deciding")]
    node.push_states(confirm_state())
    command = sdnode("pair", "--json", "--control", str(node.path))
    command.close_input()
    assert node.wait_for(Decide).accept is False
    code, _, err = command.end()
    assert code == 5
    assert "--yes" in err


def test_a_command_that_its_shell_has_let_go_declines(node, terminal, folder):
    """It has a terminal from which it may not read: nobody can answer, and that is no defect."""
    node.after_decision = [ended_state("rejected", stage="deciding")]
    node.push_states(confirm_state())
    shell = terminal(
        "pair", "--control", str(node.path), env={"OUT": str(folder / "out")},
        shell='set -m; : >"$OUT"; (exec "$@" >"$OUT" 2>&1 &); tail -f "$OUT"',
    )  # fmt: skip
    shell.expect("Trust phone? [y/N]")
    shell.type("y\n")
    assert node.wait_for(Decide).accept is False
    shell.expect("--yes")


def test_a_decision_made_elsewhere_withdraws_the_question(node, sdnode):
    """When another client decides, the command stops asking and goes on to the end."""
    node.push_states(confirm_state())
    command = sdnode("pair", "--json", "--control", str(node.path))
    while json.loads(command.line())["event"] != "confirm":
        pass
    node.push_states(confirm_state(accepted=True), paired_state())
    assert command.end()[0] == 0
    assert "Decide" not in node.unread_requests()


def test_nobody_is_asked_about_a_pairing_that_is_over(node, sdnode):
    """A command that was stopped learns in one that a device has come and gone: it asks nothing."""
    node.push_states(code_state())
    command = sdnode("pair", "--json", "--control", str(node.path))
    assert json.loads(command.line())["event"] == "code"
    os.kill(command.process.pid, signal.SIGSTOP)
    node.push_states(confirm_state(), ended_state("lost_contact", stage="deciding"))
    os.kill(command.process.pid, signal.SIGCONT)
    code, out, _ = command.end()
    assert code == 6
    assert events(out)[-1]["outcome"] == "lost_contact"


def test_the_end_does_not_wait_for_the_answer_to_a_decision(node, sdnode):
    """The node was stopped while it had the decision: it has said how the pairing ended, once."""
    node.silent = {"Decide"}
    node.push_states(confirm_state())
    command = sdnode("pair", "--json", "--yes", "--control", str(node.path))
    node.wait_for(Decide)
    node.push_states(ended_state("lost_contact", stage="deciding"))
    while json.loads(command.line())["event"] != "failed":
        pass
    node.stop()
    code, out, _ = command.end()
    assert code == 6
    assert [event["event"] for event in events(out)].count("failed") == 1


def test_ctrl_c_cancels_on_the_node(node, sdnode):
    """Ctrl-C gives the pairing up on the node, not only here, and exits 130."""
    node.push_states(code_state())
    command = sdnode("pair", "--json", "--control", str(node.path))
    assert json.loads(command.line())["event"] == "code"
    command.interrupt()
    assert node.wait_for(CancelPairing).session == SESSION
    code, out, _ = command.end()
    assert code == 130
    assert events(out)[-1]["outcome"] == "cancelled"


def test_second_ctrl_c_ends_at_once(node, sdnode):
    """When the node does not answer the cancellation, a second Ctrl-C does not wait for it."""
    node.silent = {"CancelPairing"}
    node.push_states(code_state())
    command = sdnode("pair", "--json", "--control", str(node.path))
    assert json.loads(command.line())["event"] == "code"
    command.interrupt()
    node.wait_for(CancelPairing)
    command.interrupt()
    assert command.end()[0] == 130


def test_ctrl_c_that_the_node_does_not_answer(node, sdnode):
    """It may be frozen, and go on later: nobody is told that the pairing is cancelled."""
    node.silent = {"CancelPairing"}
    node.push_states(code_state())
    command = sdnode("pair", "--json", "--control", str(node.path))
    assert json.loads(command.line())["event"] == "code"
    command.interrupt()
    code, out, err = command.end()
    assert code == 130
    assert "cancelled" not in out
    assert "does not answer" in err


def test_ctrl_c_after_acceptance_says_that_the_pairing_goes_on(node, sdnode):
    """A decision is final: the node refuses to cancel, and the command says so."""
    node.refuse = {"CancelPairing": ("already_decided", "decided")}
    node.push_states(confirm_state())
    command = sdnode("pair", "--json", "--yes", "--control", str(node.path))
    node.wait_for(Decide)
    command.interrupt()
    code, _, err = command.end()
    assert code == 130
    assert "already accepted" in err


def test_carries_on_when_the_connection_is_cut(node, sdnode):
    """A restarted gateway is told in words, and the pairing goes on to its end without a repeated event."""
    node.push_states(code_state())
    command = sdnode("pair", "--yes", "--control", str(node.path))
    node.wait_for(Subscribe)
    assert "enter these words" in command.line()
    node.drop()
    node.wait_for(Subscribe)
    node.push_states(paired_state())
    code, out, err = command.end()
    assert code == 0
    assert "reconnecting" in err
    assert out.count("waiting for the other device") == 1


def test_a_node_that_is_full_is_an_outcome(node, capfd):
    """A refusal because of too many sessions is the outcome busy, exit 6."""
    from spacedrive_node.cli import run

    node.refuse = {"StartPairing": ("busy", "too many pairings")}
    assert run(["pair", "--json", "--control", str(node.path)]) == 6
    assert events(capfd.readouterr().out) == [
        {"event": "failed", "session": None, "outcome": "busy", "message": "too many pairings"}
    ]


def test_yes_and_check_contradict_each_other(node, capfd):
    """--yes asks nothing, --check asks twice: exit 2, nothing is sent."""
    from spacedrive_node.cli import run

    assert run(["pair", "--yes", "--check", "--control", str(node.path)]) == 2
    assert node.unread_requests() == []


def test_plain_output_shows_words_and_result(node, sdnode):
    """Without a terminal people get lines: the numbered words, who asks, and the fingerprint at the end."""
    node.after_decision = [paired_state()]
    node.push_states(code_state())
    command = sdnode("pair", "--yes", "--control", str(node.path))
    command.line()
    node.push_states(confirm_state())
    code, out, err = command.end()
    assert (code, err) == (0, "")
    for number, word in enumerate(WORDS.split(), 1):
        assert f"{number:>2} {word}" in out
    assert "phone" in out
    assert "0123456789abcdef" in out
    assert "\x1b" not in out


def test_the_end_of_the_terminal_ends_no_pairing_under_nohup(node, sdnode):
    """Who ignores SIGHUP wants the command to outlive its terminal."""
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        node.push_states(code_state())
        command = sdnode("pair", "--json", "--yes", "--control", str(node.path))
        assert json.loads(command.line())["event"] == "code"
    finally:
        signal.signal(signal.SIGHUP, former)
    command.process.send_signal(signal.SIGHUP)
    node.push_states(paired_state())
    code, out, _ = command.end()
    assert code == 0
    assert events(out)[-1]["event"] == "paired"
