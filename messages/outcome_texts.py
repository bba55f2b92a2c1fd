"""Every sentence that tells a user how a pairing ended, each written once.

A session explains its own end with the sentence that fits best; the gateway explains the end of a session
that could not do so itself; the command line explains an end that it brought about. Imports nothing but
types, because a session's process is kept small. Stable for users, see docs/interfaces.md, "Stages and
outcomes".
"""

from .types import Outcome

# -- By the session, which knows what happened. Each says what to do next.

PAIRED = ""
"""There is nothing to explain; where a text is needed, `BY_OUTCOME` has one."""

REJECTED_HERE = "You rejected the other device. Nothing was stored; start again if that was a mistake."
REJECTED_THERE = "The other device did not accept. Nothing was stored; ask its user, then start again."
CANCELLED = "The pairing was cancelled. Start again when you are ready."
NODE_STOPS = "This node was stopped, which ends the pairing. Start the node and the pairing again."
FORGOTTEN = "The other device was forgotten here, which ends this pairing. Start again to pair it anew."
CODE_EXPIRED = "Nobody used the code before it expired. Make a new code and enter it on the other device."
NOT_DECIDED = "Nobody accepted or rejected in time. Start again and confirm on both devices."
CODE_USED = (
    "A device answered that the code has expired or that another device has used it. "
    "Make a new code and enter that one."
)
NOT_FOUND = (
    "No device showing these words was found. Check the words, that the code has not expired, "
    "and that both devices are online; then try again."
)
WRONG_CODE = "The device was reached, but it does not show this code. Make a new code and enter that one."
LOST_PROVEN = "The other device was found, but contact was lost. Make a new code and start again."
LOST_DECIDING = "Contact with the other device was lost before it decided. Make a new code and start again."
LOST_STORED = (
    "Contact was lost before the other device confirmed. Both will agree at their next contact; "
    "otherwise start again in a few minutes."
)
NOT_CONFIRMED = (
    "Both devices have accepted, but this one could not complete what it stores. "
    "Make room on its disk; it completes at the next contact: sdnode devices shows it."
)
STORE_LOST = (
    "Both accepted, but this device's data directory is gone or out of reach. Put it back, and it completes "
    "at the next contact; or the other device may show this one: forget it there."
)
CLOSED_BY_OTHER = "The other device has ended the pairing. Make a new code and start again."
OWN_DEVICE = "The other side presented this device's own key. Nothing was stored; start again."
NOT_SIGNED = "The node did not sign for this device in time. Start again; its log may say why."


def store_refused(reason: str) -> str:
    """Return the sentence for a device that the vault did not store, for a `reason` of the vault's."""
    return f"This device could not store the other one ({reason[:80]}). Nothing was paired; start again."


# -- By the gateway, for a session that left no explanation: it crashed, or its last view is no longer known.

BY_OUTCOME: dict[Outcome, str] = {
    "paired": "The devices are paired.",
    "rejected": "The pairing was rejected.",
    "expired": "The code has expired.",
    "not_found": "No device that shows this code was found.",
    "wrong_code": "The device that was found does not show this code.",
    "cancelled": "The pairing was cancelled.",
    "lost_contact": "The other device can no longer be reached.",
    "crashed": "This pairing failed inside the node; nothing else is affected. Start a new one.",
    "busy": "The other device is busy; try again later.",
}
NODE_STOPPED = (
    "This node was stopped before the other device had answered. Start again; "
    "if both had accepted, they settle it when they meet again: sdnode devices shows it."
)

# -- By the command line.

CANCELLED_BY_CTRL_C = "the pairing was cancelled"
