"""The order of pairings, the same on both sides: a Lamport clock in the version that a device states.

Implements docs/protocol.md, "Which pairing is in use". Pure. A device's clock is the greatest order of any
pairing that it has stored. Each side states its clock, signed, as build metadata of its version ("0.1.0+17").
A pairing's order is one more than the greater of the two: greater, on both sides, than that of any pairing
that either had stored before. Pairings of the same order overlapped, and are compared by their transcripts.
"""

import re

VERSION_LIMIT = 32
CLOCK_LIMIT = 10**9
"""So that a stated clock has at most ten characters with its sign."""
AHEAD_LIMIT = 10**4
"""How far a peer's clock may be ahead of the own: a false one cannot use up the clock."""

_STATED = re.compile(r"\+([0-9]{1,10})$")


def state_clock(version: str, clock: int) -> str:
    """Return the version with the clock stated, within 32 characters."""
    suffix = f"+{min(clock, CLOCK_LIMIT)}"
    return version.partition("+")[0][: VERSION_LIMIT - len(suffix)] + suffix


def stated_clock(version: str) -> int:
    """Return the clock that a version states; 0 if it states none."""
    found = _STATED.search(version)
    return min(int(found.group(1)), CLOCK_LIMIT) if found else 0


def order_of(own_version: str, other_version: str) -> int:
    """Return the order of a pairing in which these versions were stated."""
    own = stated_clock(own_version)
    return min(max(own, min(stated_clock(other_version), own + AHEAD_LIMIT)) + 1, CLOCK_LIMIT)
