"""The order of pairings between two devices, computed equally on both: a Lamport clock in the app version.

Two devices can run several pairings at once, and the last frames can arrive in another order on either side.
Both still have to use the same secret, so the order is computed from values that both sides have signed.
Implements docs/protocol.md, "Which pairing is in use"; docs/decisions/0006 has the reasons. Pure.

- A device's clock follows the greatest order of any pairing that it has stored, 0 at first. It never falls,
  not even when devices are forgotten.
- Each side states its clock in its signed DeviceInfo, as build metadata of `app_version`: "0.1.0+17".
- The order of a pairing is one more than the greater of the two stated clocks, whatever they are: both sides
  know both, so both get the same number. Pairings of the same order overlapped in time; they are compared by
  their transcript hashes (th3).
- Only how far a stored pairing moves the own clock is bounded. A bound on the *stated* clock would be taken
  from the own clock of each side, so two devices could put their pairings in different orders.
"""

import re

MAX_VERSION_CHARACTERS = 32
MAX_CLOCK = 10**9
"""Keeps the stated clock within eleven characters, the + included."""
MAX_RISE = 10**4
"""How far beyond the next number one pairing moves the clock: a false one cannot use up all numbers."""

_STATED_CLOCK = re.compile(r"\+([0-9]{1,10})$")


def version_with_clock(version: str, clock: int) -> str:
    """Return `version` with the clock as its build metadata, cut to at most 32 characters."""
    suffix = f"+{min(clock, MAX_CLOCK)}"
    return version.partition("+")[0][: MAX_VERSION_CHARACTERS - len(suffix)] + suffix


def clock_in_version(version: str) -> int:
    """Return the clock that a version states, at most MAX_CLOCK; 0 if it states none."""
    found = _STATED_CLOCK.search(version)
    return min(int(found.group(1)), MAX_CLOCK) if found else 0


def order_of_pairing(own_version: str, other_version: str) -> int:
    """Return the order of the pairing in which the two sides signed these versions; equal on both sides."""
    return 1 + max(clock_in_version(own_version), clock_in_version(other_version))


def clock_after(clock: int, order: int) -> int:
    """Return what a device's clock becomes when it stores a pairing of this order."""
    return max(clock, min(order, clock + 1 + MAX_RISE, MAX_CLOCK))
