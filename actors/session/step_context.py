"""One step in the making: the state, the time, and every message that will leave when the step is done.

Owns how messages are put together (names of receivers, request numbers, refusals, repeats). Never decides
what to say or when. docs/architecture.md, "Steps"; docs/protocol.md, "Limits".
"""

import math
from collections.abc import Callable

from ...messages.actor_configs import SessionConfig
from ...messages.base import Message, encode
from ...messages.peer_protocol import RefusalReason, Refused, WireRequest
from ...messages.to_swarm import Ask, PeerReply
from ...messages.types import Instant, Outcome, later_stage
from ...protocol.code import CodeKeys
from ..base import Send
from .state import WAITERS, Errand, Meter, Session, Waiter
from .transitions import STAGES, Event, follow

Entropy = Callable[[int], bytes]

REPEATS_A_SECOND = 10
"""docs/protocol.md, "Limits": frames of one attempt; more are told `busy`."""
FIRST_PAUSE = 0.1
LONGEST_PAUSE = 2.0
"""Between two repeats of a question: doubled from the first to the longest."""
LONG_SILENCE = 1.0
SWARM_GRACE = 2.0
"""The swarm answers every Ask within its timeout; past that and this, the question is put again."""


class Turn:
    """What one step works on. `incarnation` is that of the message's sender."""

    def __init__(
        self,
        session: Session,
        keys: CodeKeys | None,
        config: SessionConfig,
        entropy: Entropy,
        now: Instant,
        incarnation: int = 0,
    ) -> None:
        self.session = session
        self._keys = keys
        self.config = config
        self.entropy = entropy
        self.now = now
        self.incarnation = incarnation
        self.out: list[Send] = []

    @property
    def keys(self) -> CodeKeys:
        """What the code gives; only while it is known, that is until both sides have proved themselves."""
        assert self._keys is not None
        return self._keys

    # -- the state ---------------------------------------------------------------------------------

    def move(self, event: Event) -> None:
        """Follow the table, and note how long the stage lasted when it changes."""
        session = self.session
        session.phase = follow(session.role, session.phase, event)
        stage = later_stage(session.stage, STAGES.get(session.phase, session.stage))
        if stage != session.stage or session.phase == "ENDED":
            until = self.now if session.concluded is None else session.concluded
            session.stages[session.stage] = max(0.0, until - session.stage_since)
            session.stage, session.stage_since = stage, self.now

    def conclude(self, outcome: Outcome, message: str) -> None:
        """Settle the outcome that users see, once: the first stands."""
        if self.session.outcome is None:
            self.session.outcome, self.session.message = outcome, message
            self.session.concluded = self.now

    def end(self, outcome: Outcome, message: str, event: Event = "over") -> None:
        """Settle the outcome and end the session with this step."""
        self.conclude(outcome, message)
        self.move(event)

    # -- messages ----------------------------------------------------------------------------------

    def tell(self, to: str, message: Message) -> None:
        """Send `message` when the step is done."""
        self.out.append(Send(to, message))

    def number(self) -> int:
        """Return a fresh request number; 0 is never one."""
        self.session.requests += 1
        return self.session.requests

    def reply(self, request: int, frame: bytes) -> None:
        """Answer one request of a peer."""
        self.tell("swarm", PeerReply(request, frame))

    def refuse(self, request: int, message: WireRequest, reason: RefusalReason) -> None:
        """Answer one request of a peer with a refusal."""
        self.reply(request, self.refusal(message.code_id, message.attempt, reason))

    def refusal(self, code_id: bytes, attempt: bytes, reason: RefusalReason) -> bytes:
        """Return the frame of a refusal, and count it."""
        refusals = self.session.refusals
        refusals[reason] = refusals.get(reason, 0) + 1
        return encode(Refused(code_id, attempt, reason))

    # -- requests that wait for the same answer ------------------------------------------------------

    def wait(self, request: int, message: WireRequest) -> None:
        """Let a request wait; requests brought by a former swarm are forgotten with it."""
        waiting = [waiter for waiter in self.session.waiting if waiter.incarnation == self.incarnation]
        if len(waiting) < WAITERS:
            waiting.append(Waiter(request, self.incarnation))
        else:
            self.refuse(request, message, "busy")
        self.session.waiting = waiting

    def answer_waiting(self, frame: bytes) -> None:
        """Answer all that wait."""
        for waiter in self.session.waiting:
            self.reply(waiter.request, frame)
        self.session.waiting = []

    # -- questions to a peer -------------------------------------------------------------------------

    def ask(self, errand: Errand) -> None:
        """Put the question now."""
        errand.request = self.number()
        errand.tries += 1
        errand.sent = self.now
        errand.due = self.now + self.config.exchange + SWARM_GRACE
        self.tell(
            "swarm",
            Ask(errand.request, errand.peer, errand.addresses, errand.frame, self.config.exchange),
        )

    def ask_later(self, errand: Errand) -> None:
        """Put the question again after a pause that grows."""
        errand.request = 0
        errand.due = self.now + pause(errand.tries)

    def ask_after(self, errand: Errand, seconds: float) -> None:
        """Put the question again after a pause of that length."""
        errand.request = 0
        errand.due = self.now + seconds

    def ask_soon(self, errand: Errand | None) -> None:
        """The peer has shown that it is there: cut the pause short, within the limit for repeats.

        A question that has been under way for long went down with a connection that nobody saw breaking.
        """
        if errand is None or errand.presence:
            return
        if errand.request and self.now >= errand.sent + LONG_SILENCE:
            self.ask(errand)
        elif not errand.request:
            errand.due = min(errand.due, max(self.now, errand.sent + FIRST_PAUSE))

    def ask_when_due(self, errand: Errand | None) -> None:
        """Put the question (again) when its time has come."""
        if errand is not None and errand.due <= self.now:
            self.ask(errand)

    def ask_again(self, errand: Errand | None) -> None:
        """The swarm lost what was under way."""
        if errand is not None and errand.request:
            self.ask(errand)

    def within_rate(self, meter: Meter) -> bool:
        """Count one frame; False when there were too many in this second."""
        if not meter.since <= self.now < meter.since + 1:
            meter.since, meter.count = self.now, 0
        meter.count += 1
        return meter.count <= REPEATS_A_SECOND


def pause(tries: int, first: float = FIRST_PAUSE, longest: float = LONGEST_PAUSE) -> float:
    """Return the pause after the `tries`-th time, in seconds."""
    return min(math.ldexp(first, min(tries, 30) - 1), longest)
