"""What a session tells metrics: its gauge at its beginning, everything else in its last step.

Metrics adds up the values of a sender's incarnations (docs/architecture.md, "Steps"). All counts therefore
live in the checkpoint and leave exactly once, in the step that ends the session: that step is applied
once, by the incarnation that happens to be there, and earlier ones have said nothing but the gauge. So a
restart, wherever it falls, counts nothing twice and loses nothing. A session that the supervisor gives up
never has a last step; what is known of it is what SessionEnded says.
"""

from ...messages.to_metrics import Distribution, MetricName, Observed, Sample
from ..histogram import Histogram
from .state import Session


def beginning(session: Session) -> Observed:
    """Return the values of a session that has just begun."""
    return Observed(samples=(Sample("pairing_sessions_active", (session.role,), 1),))


def whole(session: Session) -> Observed:
    """Return the values of a session that has ended; it lasted until its outcome was known."""
    lasted = max(0.0, (session.concluded or session.started) - session.started)
    role, outcome = session.role, str(session.outcome)
    refusals = tuple(
        Sample("pairing_refusals_total", (reason,), count)
        for reason, count in sorted(session.refusals.items())
    )
    stages = tuple(
        _once("pairing_stage_seconds", (role, stage), length) for stage, length in session.stages.items()
    )
    return Observed(
        samples=(
            Sample("pairing_sessions_active", (role,), 0),
            Sample("pairing_sessions_total", (role, outcome), 1),
            *refusals,
        ),
        distributions=(_once("pairing_duration_seconds", (role, outcome), lasted), *stages),
    )


def _once(name: MetricName, labels: tuple[str, ...], value: float) -> Distribution:
    """Return a histogram of one value."""
    histogram = Histogram()
    histogram.observe(value)
    return histogram.to_message(name, labels)
