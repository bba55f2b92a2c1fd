"""Two session machines pair over the in-memory network: the plain case, decisions in every order."""

from spacedrive_node.tests.harness.session_simulation import pair


def test_both_accept_and_are_paired_once_with_one_fingerprint() -> None:
    """The whole way of both roles ends paired on both sides, with equal fingerprints and check values."""
    two = pair()
    two.begin()
    two.run()
    assert two.outcomes == ("paired", "paired")
    assert two.stored() == ("paired", "paired")
    views = [node.view for node in two.nodes]
    assert views[0].fingerprint == views[1].fingerprint is not None
    assert views[0].confirmation.check == views[1].confirmation.check
    assert [len(node.ends) for node in two.nodes] == [1, 1]
