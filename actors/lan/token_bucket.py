"""A bound on how often something happens: so many times at once, and so many a second. Pure."""

import math
from dataclasses import dataclass

from ...messages.types import Instant


@dataclass(slots=True)
class TokenBucket:
    """At most `burst` at once, refilled with `rate` a second."""

    rate: float
    burst: float
    level: float = math.inf
    filled_at: Instant = -math.inf

    def take(self, now: Instant) -> bool:
        """Return whether it may happen now; if so, it counts."""
        passed = max(now - self.filled_at, 0.0)
        self.level = min(self.burst, self.level + passed * self.rate)
        self.filled_at = now
        if self.level < 1.0:
            return False
        self.level -= 1.0
        return True
