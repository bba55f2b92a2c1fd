"""The vault's part in the second half: store before speaking, confirm when acknowledged.

Implements docs/protocol.md, "Ending". Never says `paired` before the vault has.
"""

from ...messages import outcome_texts
from ...messages.to_session import Stored, StoreRefused
from ...messages.to_vault import ConfirmDevice, StoreDevice
from . import delivery
from .delivery import of
from .step_context import Turn


def store(turn: Turn) -> None:
    """Ask the vault to hold the device as unconfirmed."""
    ending = of(turn.session)
    assert ending.own_frame is not None
    assert ending.peer_frame is not None
    assert ending.reply is not None
    other, proven = ending.other, ending.proven
    ending.vault = turn.number()
    turn.tell(
        "vault",
        StoreDevice(
            request=ending.vault,
            role=other.role,
            th=other.th,
            peer=other.peer,
            info=other.info_frame,
            signature=other.signature,
            th3=proven.th3,
            secret=proven.pairing_secret,
            decision=ending.own_frame,
            expected_mac=proven.expected_mac(ending.own_frame),
            peer_decision=ending.peer_frame,
            reply=ending.reply,
        ),
    )


def confirm(turn: Turn) -> None:
    """Ask the vault to make the device paired."""
    ending = of(turn.session)
    ending.vault = turn.number()
    turn.tell("vault", ConfirmDevice(ending.vault, ending.proven.th3))


def take_stored(turn: Turn, message: Stored) -> None:
    """Take the vault's word that the device is durable."""
    session = turn.session
    ending = session.ending
    if ending is None or message.request != ending.vault:
        return
    ending.vault = 0
    if session.phase == "CONFIRMING":
        _paired(turn)
        return
    assert ending.reply is not None
    turn.move("stored")
    turn.answer_waiting(ending.reply)
    if ending.acknowledged:
        turn.move("acknowledged")
        confirm(turn)
    elif ending.errand is None or ending.errand.presence:
        delivery.speak(turn)


def _paired(turn: Turn) -> None:
    """It is done. A joiner remains a moment, so that an initiator that missed a word can hear it again."""
    session = turn.session
    ending = of(session)
    assert ending.own_frame is not None
    session.seconds = max(0.0, turn.now - (session.claim.began if session.claim else session.started))
    turn.conclude("paired", outcome_texts.PAIRED)
    turn.move("confirmed")
    if session.phase == "LINGERING":
        ending.delivery_until = min(ending.delivery_until, turn.now + delivery.LINGER_LONGEST)
        delivery.be_present(turn, ending.own_frame, delivery.LINGER)


def take_store_refused(turn: Turn, message: StoreRefused) -> None:
    """The vault will not hold the device: nothing may be acknowledged; what has not left is turned round."""
    session = turn.session
    ending = session.ending
    if ending is None or message.request != ending.vault:
        return
    ending.vault = 0
    text = outcome_texts.store_refused(message.reason)
    if session.phase == "STORING_UNSPOKEN":
        assert ending.reply is not None
        turn.move("store refused")
        turn.answer_waiting(ending.reply)
        delivery.refuse(turn, "crashed", text)
    elif session.phase == "STORING_SPOKEN":
        delivery.send_away(turn)
        turn.end("crashed", text, "store refused")
    else:
        turn.end("crashed", text)
