"""The context of one step: the state, the time, and every message that leaves when the step is done.

Every handler gets one, so that handlers need no clock, no randomness and no channel of their own. Owns the
bookkeeping of a step: following the transition table, outcomes, replies to the peer. Never decides what to
send or when. Requests to the peer and their retries are in requests.py. Implements docs/architecture.md,
"Steps", and docs/protocol.md, "Limits".
"""

from collections.abc import Callable

from ...messages import outcome_texts
from ...messages.actor_configs import SessionConfig
from ...messages.base import Message, encode
from ...messages.peer_protocol import RefusalReason, Refused, WireRequest
from ...messages.to_swarm import PeerReply
from ...messages.types import Instant, Outcome, later_stage
from ...protocol.code import CodeKeys
from ..base import Send
from .state import MAX_WAITING_REQUESTS, RateCounter, Session, WaitingRequest
from .transitions import STAGE_OF_PHASE, Event, next_phase

Entropy = Callable[[int], bytes]

MAX_FRAMES_PER_SECOND = 10
"""docs/protocol.md, "Limits": frames of one attempt; more are refused as `busy`."""


class StepContext:
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
        """The keys derived from the code. They exist only while it is known: until both sides are proven."""
        assert self._keys is not None
        return self._keys

    # -- the state -----------------------------------------------------------------------------------

    def transition(self, event: Event) -> None:
        """Follow the transition table, and record how long the stage lasted when it changes.

        Raises ForbiddenTransitionError. In the second half use entry_actions.enter_next, which also does what
        the new phase begins with.
        """
        session = self.session
        session.phase = next_phase(session.role, session.phase, event)
        stage = later_stage(session.stage, STAGE_OF_PHASE.get(session.phase, session.stage))
        if stage != session.stage or session.phase == "ENDED":
            # Users stop counting when they see the outcome, which may be before the session ends.
            until = self.now if session.concluded is None else session.concluded
            session.stage_seconds[session.stage] = max(0.0, until - session.stage_since)
            session.stage, session.stage_since = stage, self.now

    def conclude(self, outcome: Outcome, message: str) -> None:
        """Settle the outcome that users see. The first one stands."""
        if self.session.outcome is None:
            self.session.outcome, self.session.message = outcome, message
            self.session.concluded = self.now

    def end(self, outcome: Outcome, message: str, event: Event = "over") -> None:
        """Settle the outcome and end the session with this step."""
        self.conclude(outcome, message)
        self.transition(event)

    def cancellation(self) -> tuple[Outcome, str]:
        """Return outcome and text of a pairing that is ended from this side."""
        if self.session.node_stops:
            return "lost_contact", outcome_texts.NODE_STOPS
        return "cancelled", outcome_texts.CANCELLED

    # -- messages ------------------------------------------------------------------------------------

    def send(self, to: str, message: Message) -> None:
        """Send `message` to the actor `to` when the step is done."""
        self.out.append(Send(to, message))

    def next_request_id(self) -> int:
        """Return a fresh id for a request to the swarm or the vault; 0 is never one."""
        self.session.last_request_id += 1
        return self.session.last_request_id

    # -- replies to the peer's requests ----------------------------------------------------------------

    def reply(self, request_id: int, frame: bytes) -> None:
        """Answer one request of a peer."""
        self.send("swarm", PeerReply(request_id, frame))

    def refuse(self, request_id: int, message: WireRequest, reason: RefusalReason) -> None:
        """Answer one request of a peer with a refusal."""
        self.reply(request_id, self.refusal(message.code_id, message.attempt, reason))

    def refusal(self, code_id: bytes, attempt: bytes, reason: RefusalReason) -> bytes:
        """Return the frame of a refusal, and count it."""
        refusals = self.session.refusals
        refusals[reason] = refusals.get(reason, 0) + 1
        return encode(Refused(code_id, attempt, reason))

    def reply_later(self, request_id: int, message: WireRequest) -> None:
        """Let a request wait for :meth:`reply_to_waiting`; refuse it as `busy` if too many wait already.

        Requests that an earlier swarm delivered are dropped: it took the streams to answer on with it.
        """
        waiting = [one for one in self.session.waiting_requests if one.incarnation == self.incarnation]
        if len(waiting) < MAX_WAITING_REQUESTS:
            waiting.append(WaitingRequest(request_id, self.incarnation))
        else:
            self.refuse(request_id, message, "busy")
        self.session.waiting_requests = waiting

    def reply_to_waiting(self, frame: bytes) -> None:
        """Give all requests that wait the same reply."""
        for waiting in self.session.waiting_requests:
            self.reply(waiting.request_id, frame)
        self.session.waiting_requests = []

    def within_rate(self, rate: RateCounter) -> bool:
        """Count one frame of an attempt; False if there were too many in this second."""
        if not rate.since <= self.now < rate.since + 1:
            rate.since, rate.count = self.now, 0
        rate.count += 1
        return rate.count <= MAX_FRAMES_PER_SECOND
