"""The table itself: it is whole, it ends, and it refuses what it does not list."""

from typing import get_args

import pytest

from spacedrive_node.actors.session import transitions

ROLES = ("initiator", "joiner")


@pytest.mark.parametrize("role", ROLES)
def test_every_phase_leads_to_the_end(role: str) -> None:
    """From the beginning every phase can be reached, and from every phase ENDED; ENDED leads nowhere."""
    rows = transitions.TRANSITIONS[role]
    reached, edge = set(), {transitions.FIRST_PHASE[role]}
    while edge:
        reached |= edge
        edge = {after for phase in edge for after in rows[phase].values()} - reached
    assert reached == set(rows)
    assert rows["ENDED"] == {}
    ending = {"ENDED"}
    for _ in rows:
        ending |= {phase for phase, row in rows.items() if ending & set(row.values())}
    assert ending == set(rows)


def test_every_name_is_used() -> None:
    """No phase and no event stands only in the list of names."""
    rows = [row for role in ROLES for row in transitions.TRANSITIONS[role].items()]
    assert {phase for phase, _row in rows} == set(get_args(transitions.Phase))
    assert {event for _phase, row in rows for event in row} == set(get_args(transitions.Event))


@pytest.mark.parametrize("role", ROLES)
def test_paired_only_after_confirming_and_sending_only_after_storing(role: str) -> None:
    """What safety hangs on: two ways to `confirmed`, both with the peer's acceptance and neither before it is
    stored; and only `stored` sends after STORING_BEFORE_SEND.
    """
    rows = transitions.TRANSITIONS[role]
    assert {phase for phase, row in rows.items() if "confirmed" in row} == {
        "STORING_AFTER_SEND",
        "CONFIRMING",
    }
    leading = [
        (phase, event) for phase, row in rows.items() for event in row if row[event] == "STORING_AFTER_SEND"
    ]
    assert leading == [("ACCEPTED", "peer accepts"), ("STORING_AFTER_SEND", "acknowledged")]
    assert [phase for phase, row in rows.items() if "CONFIRMING" in row.values()] == ["AWAITING_ACK"]
    into = {phase for phase, row in rows.items() if row.get("stored") == "AWAITING_ACK"}
    assert into == {"STORING_BEFORE_SEND", "STORING_AFTER_SEND"}
    assert set(rows["STORING_BEFORE_SEND"]) == {"stored", "store refused", "over"}


def test_what_is_not_listed_is_a_defect() -> None:
    """An event out of place raises and changes nothing."""
    with pytest.raises(transitions.ForbiddenTransitionError):
        transitions.next_phase("initiator", "WAITING", "confirmed")
    with pytest.raises(transitions.ForbiddenTransitionError):
        transitions.next_phase("joiner", "ENDED", "over")
