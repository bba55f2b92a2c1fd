"""The prompts and the live view on a real pseudo-terminal."""

from spacedrive_node.messages.control_protocol import CancelPairing, Decide, JoinPairing
from spacedrive_node.tests.harness.fake_node import (
    WORDS,
    code_state,
    confirm_state,
    ended_state,
    paired_state,
    state,
)


def test_pair_from_words_to_fingerprint(node, terminal):
    """A person sees QR code and words, is asked about the device by name, and sees the fingerprint."""
    node.after_decision = [paired_state()]
    node.push_states(code_state())
    shell = terminal("pair", "--control", str(node.path))
    assert "█" in shell.expect("1 abandon")
    shell.expect("waiting for the other device")
    shell.expect("left")
    node.push_states(state("proving"), confirm_state())
    assert "phone" in shell.expect("Trust phone? [y/N] ")
    shell.type("y\n")
    assert node.wait_for(Decide).accept is True
    code, shown = shell.end()
    assert code == 0
    assert "0123456789abcdef" in shown


def test_what_was_typed_before_the_question_is_no_answer(node, terminal):
    """Keys pressed before the device was shown cannot have meant it."""
    node.after_decision = [ended_state("rejected", stage="deciding")]
    node.push_states(code_state())
    shell = terminal("pair", "--control", str(node.path))
    shell.expect("left")
    shell.type("y\n")
    shell.expect("left")
    node.push_states(confirm_state())
    shell.expect("[y/N] ")
    shell.type("n\n")
    assert node.wait_for(Decide).accept is False
    assert shell.end()[0] == 5


def test_a_question_that_is_moot_is_taken_back(node, terminal):
    """When the other device goes away while the question stands, the command ends without an answer."""
    node.push_states(confirm_state())
    shell = terminal("pair", "--control", str(node.path))
    shell.expect("[y/N] ")
    node.push_states(ended_state("lost_contact", stage="deciding", message="it went away"))
    code, shown = shell.end()
    assert code == 6
    assert "it went away" in shown


def test_join_prompts_and_corrects_before_anything_is_sent(node, terminal):
    """Typos get a suggestion, good words are kept, Tab completes, and only then the node is asked."""
    words = WORDS.split()
    node.push_states(paired_state("joiner"))
    shell = terminal("join", "--yes", "--control", str(node.path))
    shell.expect("words: ")
    shell.type(" ".join([*words[:2], "liarr", *words[3:]]) + "\n")
    shell.expect("liar")
    shell.expect("words 3 to 12: ")
    assert node.unread_requests() == []
    shell.type("lia\t" + " ".join(words[3:6]) + "\n")
    shell.expect("words 7 to 12: ")
    shell.type(" ".join(words[6:]) + "\n")
    assert node.wait_for(JoinPairing).code.split() == words
    assert shell.end()[0] == 0


def test_all_twelve_words_may_be_typed_again_after_a_mistake(node, terminal):
    """The prompt asks for the rest; somebody who begins again from the first word is understood too."""
    words = WORDS.split()
    node.push_states(paired_state("joiner"))
    shell = terminal("join", "--yes", "--control", str(node.path))
    shell.expect("words: ")
    shell.type(" ".join([words[0], "xyzzy", *words[2:]]) + "\n")
    shell.expect("words 2 to 12: ")
    shell.type(WORDS + "\n")
    assert node.wait_for(JoinPairing).code.split() == words
    assert shell.end()[0] == 0


def test_three_mistakes_end_the_prompt(node, terminal):
    """After the third wrong input it ends with exit 2, and nothing was sent."""
    shell = terminal("join", "--control", str(node.path))
    for _ in range(3):
        shell.expect("words: ")
        shell.type("xyzzy\n")
    code, _ = shell.end()
    assert code == 2
    assert node.unread_requests() == []


def test_ctrl_c_at_the_prompt_and_during_the_pairing(node, terminal):
    """Ctrl-C ends the prompt at once; during the pairing it cancels on the node. Both exit 130."""
    shell = terminal("join", "--control", str(node.path))
    shell.expect("words: ")
    assert shell.interrupt_prompt() == 130
    assert node.unread_requests() == []
    node.push_states(code_state())
    shell = terminal("pair", "--control", str(node.path))
    shell.expect("left")
    shell.type("\x03")
    node.wait_for(CancelPairing)
    assert shell.end()[0] == 130


def test_names_of_others_are_not_markup(node, terminal):
    """What a stranger's device calls itself is shown as it is, never read as style."""
    from msgspec.structs import replace

    shown = replace(confirm_state(), device=replace(confirm_state().device, name="[red]x[/red]"))
    node.push_states(shown)
    shell = terminal("pair", "--control", str(node.path))
    shell.expect("[red]x[/red]")
    shell.expect("[y/N] ")


def test_who_is_not_found_may_be_in_another_network(node, terminal):
    """On a terminal one sentence says what helps, and what strangers are told by it."""
    node.push_states(ended_state("not_found", role="joiner", stage="searching", message="nobody there"))
    shell = terminal("join", "--control", str(node.path), *WORDS.split())
    code, shown = shell.end()
    assert code == 3
    assert "nobody there" in shown
    assert "sdnode up --public on both" in shown
    assert "whose servers then see their peer ids and addresses" in " ".join(shown.split())


def test_a_node_in_the_public_network_says_so(terminal, folder):
    """In the text of its start: what it does, and what strangers are told."""
    shell = terminal(
        *("up", "--data-dir", str(folder / "node"), "--control", str(folder / "n.sock"), "--public"),
        *("--dns", "127.0.0.1:1", "--listen", "/ip4/127.0.0.1/tcp/0", "--metrics-listen", "off", "--no-mdns"),
    )
    shown = " ".join(shell.expect("next:").split())
    assert "joins the public libp2p network" in shown
    assert "its servers see this device's peer id and addresses" in shown
    assert "never the words" in shown
    shell.type("\x03")
    assert shell.end()[0] == 0
