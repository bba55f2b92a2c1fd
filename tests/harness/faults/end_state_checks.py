"""Checks what must hold after a failure: outcomes, their times, and that the two stores agree."""

import sqlite3
from dataclasses import dataclass, field
from pathlib import Path

import trio

from spacedrive_node.tests.harness.faults.chaos_run import unsettled
from spacedrive_node.tests.harness.faults.failure_points import FailureCase, FailurePoint, Side

SLACK = 6.0
"""Seconds by which an end may be seen late, on a busy machine and on its way to the user."""
ALLOWED: dict[tuple[Side, bool], frozenset[str]] = {
    ("initiator", False): frozenset({"expired"}),
    ("initiator", True): frozenset({"paired", "lost_contact", "expired"}),
    ("joiner", False): frozenset({"not_found", "lost_contact", "expired"}),
    ("joiner", True): frozenset({"paired", "lost_contact", "expired"}),
}
"""Outcomes of a side that never hears of the other again, by (side, whether it saw the other device)."""


@dataclass
class SideEnd:
    """How one side's pairing ended."""

    session: str = ""
    outcome: str = "running"
    """An outcome, or "gone" if the node that knew it was killed."""
    fingerprint: str | None = None
    began: float = 0.0
    shown: float | None = None
    ended: float = 0.0
    scope: trio.CancelScope = field(default_factory=trio.CancelScope, repr=False)
    """The cancel scope of its user, which ends with the node."""


@dataclass(frozen=True)
class Row:
    th3: bytes
    state: str
    fingerprint: str
    complete: bool


def rows(data: Path) -> dict[str, Row]:
    """Return the rows of a node's store, by session."""
    database = sqlite3.connect(f"file:{data / 'devices.db'}?mode=ro", uri=True, timeout=5.0)
    try:
        found = database.execute("SELECT session, th3, state, fingerprint, paired_at FROM devices").fetchall()
    finally:
        database.close()
    return {session: Row(th3, state, print_, when is not None) for session, th3, state, print_, when in found}


def disagreement(one: Path, other: Path, sessions: list[tuple[str, str]]) -> str | None:
    """Return a difference between two stores: in the pairing in use, or in a session. None: they agree."""
    first, second = rows(one), rows(other)
    in_use = [[row.th3 for row in side.values() if row.state == "paired"] for side in (first, second)]
    if in_use[0] != in_use[1]:
        return f"in use: {in_use}"
    for data in (one, other):
        if open_ends := unsettled(data):
            return f"{data.name} has not settled {open_ends}"
    for session, opposite in sessions:
        for row, same in (
            (first.get(session), second.get(opposite)),
            (second.get(opposite), first.get(session)),
        ):
            if row is not None and row.complete and (same is None or same.th3 != row.th3):
                return f"paired on one side only: {row}, {same}"
    return None


def wrong_ends(
    case: FailureCase, point: FailurePoint, ends: dict[Side, SideEnd], latest: dict[Side, float]
) -> list[str]:
    """Return what is wrong with how one pairing ended."""
    wrong = []
    outcomes = {side: end.outcome for side, end in ends.items()}
    if case.duration == "ten" and case.manner != "kill":
        if set(outcomes.values()) != {"paired"}:
            wrong.append(f"not paired: {outcomes}")
    else:
        for side, end in ends.items():
            is_gone = case.manner == "kill" and side == case.victim
            # It may have said that it is paired just before: the other side then is, or will be.
            allowed = {"gone", "paired"} if is_gone else ALLOWED[side, end.shown is not None]
            if end.outcome not in allowed:
                wrong.append(f"the {side} ended as {end.outcome}, shown: {end.shown is not None}")
        if "paired" in outcomes.values() and not set(outcomes.values()) <= {"paired", "lost_contact", "gone"}:
            wrong.append(f"paired on one side only: {outcomes}")
    fingerprints = {end.fingerprint for end in ends.values() if end.outcome == "paired"}
    if len(fingerprints) > 1:
        wrong.append(f"different fingerprints: {fingerprints}")
    for side, end in ends.items():
        if end.outcome not in ("gone", "running") and end.ended > latest[side] + SLACK:
            wrong.append(f"the {side} ended {end.ended - latest[side]:.1f} s too late as {end.outcome}")
    return [f"{text}\n    at {point}" for text in wrong]
