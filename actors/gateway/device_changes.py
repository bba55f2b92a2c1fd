"""When clients that watch the devices are told to list them: from what passes through the gateway.

A device comes into the list, changes or leaves it by few things, and nearly all of them reach the gateway
anyway, so that a pairing costs no message more:

- a client renames or forgets it: the vault's answer, also one to a gateway that has ended since;
- a session stores it: the view with the stage `storing` leaves the session together with the request to the
  vault, so a list that is asked for now is made after that. The end of every session that has shown a device
  follows, whatever its outcome: what was stored is in use, waits to be settled, or was taken back;
- the vault is started again, or can use its files again: they may be those of a backup.

One thing does not: a pairing that was left `unconfirmed` is settled between swarm and vault. Of that the
vault tells (to_gateway.StoredDevicesChanged), as it does when it takes back what was stored too late.

Told too often is harmless: a client lists, and finds what it had. Never looks into a list.
"""

from collections.abc import Iterable

from ...messages.from_supervisor import ActorRestarted
from ...messages.to_gateway import DeviceChanged, GatewayInbox, Readiness, StoredDevicesChanged
from ...messages.types import SessionId
from .session_store import SessionRecord, SessionStore


def devices_may_have_changed(
    message: GatewayInbox, changed: Iterable[SessionId], sessions: SessionStore
) -> bool:
    """Return whether a list asked for now may differ from one asked for before this message.

    `changed`: the sessions whose state the message has changed, as `sessions` has them now.
    """
    match message:
        case DeviceChanged() | StoredDevicesChanged() | ActorRestarted(actor="vault"):
            return True
        case Readiness(part="vault"):
            return True
    return any((record := sessions.get(id)) is not None and _may_store(record) for id in changed)


def _may_store(record: SessionRecord) -> bool:
    """Return whether a session stores a device, or has ended after it could: none is stored unseen."""
    if record.outcome is not None:
        return record.confirmation is not None
    return record.view is not None and record.view.stage == "storing"
