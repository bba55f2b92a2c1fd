"""Two session machines pair over the in-memory network: the plain case, decisions in every order."""

from typing import Any

import pytest

from spacedrive_node.tests.harness.session_simulation import Node, pair


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


def _asked_to_store(node: Node) -> list[str]:
    """Return what the vault of a node is asked from now on, but for signing: a list that grows."""
    asked: list[str] = []
    take = node.vault.take

    def record(message: Any) -> None:
        name = type(message).__name__
        if name != "SignIdentity":
            asked.append(name)
        take(message)

    node.vault.take = record  # type: ignore[method-assign]
    return asked


@pytest.mark.parametrize("first", [0, 1])
def test_whose_acceptance_is_acknowledged_stores_once(first: int) -> None:
    """Who accepts long before the other knows all when the other's acceptance comes: paired in one go."""
    two = pair()
    two.nodes[1 - first].decide_delay = 5.0
    asked = [_asked_to_store(node) for node in two.nodes]
    two.begin()
    two.run()
    assert two.outcomes == ("paired", "paired")
    assert two.stored() == ("paired", "paired")
    assert asked[first] == ["StoreDevice"]
    assert asked[1 - first] == ["StoreDevice", "ConfirmDevice"]
