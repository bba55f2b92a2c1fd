"""What holds at the end of every pairing of two simulated sessions (docs/protocol.md, "Ending").

P1  never `paired` against a rejection        P2  never `paired` against nothing stored
"""

from spacedrive_node.tests.harness.session_simulation import Pair, settle


def check(two: Pair) -> None:
    """Check P1 and P2, that every session ended once, and that both agree after the vaults' next contact."""
    here, there = two.nodes
    for node, other in ((here, there), (there, here)):
        assert len(node.ends) == 1, "every session ends, once"
        state = node.vault.state(other.peer)
        if state == "paired":
            assert other.decision is not False, "P1: paired against a rejection"
            assert other.vault.state(node.peer) is not None, "P2: paired against nothing"
        if node.outcome == "paired":
            assert state == "paired"
        else:
            assert node.view.outcome in (None, node.outcome) or node.outcome == "crashed"
        assert node.vault.stores <= 1
    if here.outcome == there.outcome == "paired":
        assert here.view.fingerprint == there.view.fingerprint
    settle(here, there)
    assert two.stored() in ((None, None), ("paired", "paired"))
