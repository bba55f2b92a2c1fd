"""The other device, found again while users decide: it may be elsewhere than where it was found.

A swarm that starts again may have other addresses, by a reload for example: another port, another relay. Who
shows the code then announces it again, and who has entered it looks again as long as nobody answers. Owns
when; an ordinary pairing does neither. Implements docs/protocol.md, "Sessions".
"""

from ...messages.to_discovery import Find, StartProviding, StopFinding
from ...messages.to_session import CandidateFound
from .candidates import with_newest
from .state import decision_of
from .step_context import StepContext


def announce_again(context: StepContext) -> None:
    """This side's swarm has started again: make it findable, if it is the one that is dialled."""
    decision = decision_of(context.session)
    if context.session.role == "initiator":
        context.send("discovery", StartProviding(decision.provider_key, decision.mdns_instance))


def find_again(context: StepContext) -> None:
    """The peer gave no answer: look for it, if this side is the one that dials."""
    decision = decision_of(context.session)
    if context.session.role == "joiner" and not decision.is_finding:
        decision.is_finding = True
        context.send("discovery", Find(decision.provider_key, decision.mdns_instance))


def stop(context: StepContext) -> None:
    """The peer is there."""
    decision = decision_of(context.session)
    if decision.is_finding:
        decision.is_finding = False
        context.send("discovery", StopFinding())


def handle_candidate(context: StepContext, found: CandidateFound) -> None:
    """Use where the peer is said to be now, in the next try; the connection proves who is there."""
    decision = decision_of(context.session)
    if found.peer != decision.peer_identity.peer or not decision.is_finding:
        return
    decision.addresses, decision.hearsay = with_newest(decision.addresses, decision.hearsay, found)
    pending = decision.pending_request
    if pending is not None:
        pending.addresses, pending.hearsay = decision.addresses, decision.hearsay
