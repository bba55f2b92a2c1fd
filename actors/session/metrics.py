"""The metrics of a session: its gauge in its first step, everything else in its last.

Metrics adds up the values of a sender's incarnations (docs/architecture.md, "Metrics"). All counts therefore
live in the checkpoint and leave once, in the step that ends the session. The supervisor applies that step
once, whichever incarnation made it, and earlier steps have reported the gauge alone. So a restart, wherever
it falls, counts nothing twice and loses nothing. A session that the supervisor gives up has no last step; all
that is known of it is in SessionEnded. Owns these values. Never keeps any between steps.
"""

from ...messages.to_metrics import Distribution, MetricName, Observed, Sample
from ..histogram import Histogram
from .state import Session


def first_values(session: Session) -> Observed:
    """Return the values of a session that has just started."""
    return Observed(samples=(Sample("pairing_sessions_active", (session.role,), 1),))


def final_values(session: Session) -> Observed:
    """Return the values of a session that has ended. Its duration is that until its outcome, in seconds."""
    lasted = max(0.0, (session.concluded or session.started) - session.started)
    role, outcome = session.role, str(session.outcome)
    refusals = tuple(
        Sample("pairing_refusals_total", (reason,), count)
        for reason, count in sorted(session.refusals.items())
    )
    stages = tuple(
        _single_value("pairing_stage_seconds", (role, stage), seconds)
        for stage, seconds in session.stage_seconds.items()
    )
    return Observed(
        samples=(
            Sample("pairing_sessions_active", (role,), 0),
            Sample("pairing_sessions_total", (role, outcome), 1),
            *refusals,
        ),
        distributions=(_single_value("pairing_duration_seconds", (role, outcome), lasted), *stages),
    )


def _single_value(name: MetricName, labels: tuple[str, ...], value: float) -> Distribution:
    """Return a histogram of one value."""
    histogram = Histogram()
    histogram.observe(value)
    return histogram.to_message(name, labels)
