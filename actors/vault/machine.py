"""The vault as a stepping actor: decides what is signed, stored, listed, settled and forgotten.

Implements the storing side of docs/protocol.md, "Ending", and docs/architecture.md, "Vault". Owns the
effect of each input and the answer to it; contains no SQL and opens no file. Never signs a string that it
has not put together itself, and never stores a device because a session claims it.

Inputs that only add evidence change the checkpoint, which takes effect with the Step. Inputs that change the
store (`Mutation`) take effect once by the journal: see :meth:`Vault._apply_once`.
"""

import math
import sqlite3
import time
from collections.abc import Callable

import msgspec

from ...messages.base import Message
from ...messages.errors import SpacedriveNodeError
from ...messages.from_supervisor import SessionEnded
from ...messages.session_names import session_of_actor
from ...messages.to_gateway import DeviceChanged, NodeIdentity, StoredDevicesChanged, VaultError
from ...messages.to_session import Signed, Stored, StoreRefused
from ...messages.to_swarm import SwarmIdentity
from ...messages.to_vault import (
    Accept,
    ConfirmDevice,
    ForgetDevice,
    ListDevices,
    PeerEvidence,
    PeersBehaved,
    RecallPeers,
    RenameDevice,
    Settled,
    SettleRequest,
    SignIdentity,
    StoreDevice,
    VaultInbox,
)
from ...messages.types import Instant
from ...protocol.identity import IdentityError, check_name, make_info, signing_input
from ...protocol.pairing_clock import clock_after, version_with_clock
from ..base import Effects, Incoming, Send, log_frame
from .admission import Admission, NotAdmittedError
from .device_info import choose_name, clean_version, configured_name, host_name, operating_system
from .device_list import page_of_devices
from .device_store import MAX_RECORDS, MAX_UNCONFIRMED_PER_DEVICE, DeviceStore, RecordedEffect
from .forgetting import Forgetting
from .identity_file import DeviceIdentity
from .metrics import DeviceCounts
from .records_in_use import RecordsInUse, peers_of
from .remembered_peers import RememberedPeers
from .session_evidence import SessionEvidence
from .settling import Settling
from .store_files import StoreGoneError
from .store_health import CHECK_INTERVAL_S, DEVICES_LOST, STORE_GONE, StoreHealth, readiness

REPLACED_LIFETIME_S = 7 * 24 * 3600.0
"""How long a record is kept after another took its place (docs/protocol.md, "Which pairing is in use")."""
_SWEEP_INTERVAL_S = 3600.0

Mutation = StoreDevice | ConfirmDevice | Settled | RenameDevice | ForgetDevice
"""The inputs that change the store."""


class RequestDeniedError(SpacedriveNodeError):
    """An input must not change the store. `answer` is what its sender gets, None if it gets nothing."""

    def __init__(self, answer: Message | None = None) -> None:
        super().__init__(type(answer).__name__)
        self.answer = answer


class Vault:
    """The actor's state (see stepping.StepMachine), for messages of VaultInbox.

    `wall` returns Unix time, for what is stored; the time that a StepMachine is given counts from the boot.
    `remember` lets the identity remember that a device was stored beside it, or raises
    sqlite3.OperationalError; `remembers` says whether it does.
    """

    def __init__(
        self,
        identity: DeviceIdentity,
        store: DeviceStore,
        *,
        peers: RememberedPeers,
        device_name: str | None = None,
        app_version: str = "",
        checkpoint: bytes | None = None,
        wall: Callable[[], float] = time.time,
        remember: Callable[[], None] = lambda: None,
        remembers: bool = False,
    ) -> None:
        self._identity = identity
        self._store = store
        self._peers = peers
        self._evidence = SessionEvidence(checkpoint)
        self._is_first = checkpoint is None
        self._admission = Admission(self._evidence, identity.public_key, identity.peer)
        self._wall = wall
        self._records_in_use = RecordsInUse(store, self._evidence, wall)
        self._forgetting = Forgetting(store, self._evidence)
        self._version = clean_version(app_version)
        given = None if device_name is None else configured_name(device_name)
        self._name = choose_name(given, store.own_name(), host_name())
        if device_name is not None and store.own_name() != self._name:
            with store.transaction():
                store.set_own_name(self._name)
        self._remember, self._remembers = remember, remembers
        self._next_sweep: Instant = -math.inf
        self._may_clean_journal = False
        self._health = StoreHealth(store)
        self._settling = Settling(store, self._records_in_use, self._health)
        self._device_counts = DeviceCounts(store)

    # -- start and clock

    def first(self, now: Instant) -> Effects:
        """Return what the vault sends at each start: known peers before the identity, without which the
        swarm does not start. So it never refuses a peer that the vault knows.
        """
        effects = self.tick(now) or Effects()
        if self._is_first:  # the next one knows by it that there is an identity
            effects.checkpoint = self._evidence.checkpoint()
        effects.logs += self._peers.take_logs()
        # An input that was not answered comes again at once, and finds its effect as it was.
        self._next_sweep, self._may_clean_journal = now + CHECK_INTERVAL_S, True
        records, damaged = self._store.all_records()
        effects.out += self._records_in_use.peer_updates(peers_of(*records))
        identity = self._identity
        node = NodeIdentity(identity.device_id, self._name, identity.public_key, identity.peer)
        effects.out += [
            Send("swarm", SwarmIdentity(identity.transport_seed)),
            Send("gateway", node),
            *readiness(True, f"ignoring {damaged} damaged device records" if damaged else ""),
        ]
        # The clock of a store that ever had a device is greater than 0, also when all were forgotten.
        if self._remembers and self._store.clock() == 0:
            effects.logs.append(log_frame("warning", "devices lost", {"detail": DEVICES_LOST}))
            effects.out += readiness(True, DEVICES_LOST)
        return effects

    def wake_at(self) -> Instant:
        """See stepping.StepMachine."""
        return min(self._next_sweep, self._health.wake_at())

    def tick(self, now: Instant) -> Effects | None:
        """Look after the store, and delete replaced records that are too old. See stepping.StepMachine.

        Raises StoreReplacedError: the vault has to be started again, with the files that are there now.
        """
        out = self._health.tick(now)
        if now >= self._next_sweep:
            self._peers.tidy()
            out += self._sweep()
            pause = CHECK_INTERVAL_S if self._store.has_dropped_peers else _SWEEP_INTERVAL_S
            self._next_sweep = now + pause
        out += self._device_counts.report()
        return Effects(out=out, logs=self._health.take_logs()) if out else None

    def _sweep(self) -> list[Send]:
        try:
            with self._store.transaction():
                old = self._store.outdated_records(before=self._wall() - REPLACED_LIFETIME_S)
                for record in old:
                    self._store.delete(record.generation)
            if self._may_clean_journal:
                self._store.drop_peers_of_no_record()
        except sqlite3.OperationalError as error:
            return self._health.report_failure(error)
        return self._records_in_use.peer_updates(peers_of(*old))

    # -- inputs

    def step(self, incoming: Incoming[VaultInbox], now: Instant) -> Effects:
        """See stepping.StepMachine."""
        effects = self._handle(incoming, now)
        if self._store.has_dropped_peers:
            self._next_sweep = now  # once this step has left
        effects.logs += self._health.take_logs() + self._peers.take_logs()
        return effects

    def _handle(self, incoming: Incoming[VaultInbox], now: Instant) -> Effects:
        match incoming.message:
            case SignIdentity() as message:
                return self._sign(incoming.sender, message)
            case Accept(session=session, public_key=public_key, th3=th3):
                return self._save_evidence(self._evidence.record_acceptance(session, public_key, th3))
            case PeerEvidence(session=session, peer=peer):
                return self._save_evidence(self._evidence.record_peer(session, peer))
            case SessionEnded(session=session):
                changed = self._evidence.drop(session)
                self._forgetting.clear()
                return self._save_evidence(changed, *self._records_in_use.updates_after_session(session))
            case SettleRequest() as message:
                return Effects(out=self._settling.answer(message))
            case ListDevices() as message:
                return Effects(out=[Send(incoming.sender, page_of_devices(self._store, message))])
            case PeersBehaved() as message:
                self._peers.report(message)
                return Effects()
            case RecallPeers(dht_protocol=protocol):
                return Effects(out=[Send("swarm", part) for part in self._peers.recall(protocol)])
            case StoreDevice(deadline=deadline) as message if now >= deadline:
                return Effects(out=self._refuse_late(incoming.sender, message))
            case StoreDevice() | ConfirmDevice() | Settled() | RenameDevice() | ForgetDevice() as message:
                return Effects(out=self._apply_once(incoming, message))

    def _save_evidence(self, changed: bool, *out: Send) -> Effects:
        return Effects(out=list(out), checkpoint=self._evidence.checkpoint() if changed else None)

    def _sign(self, sender: str, message: SignIdentity) -> Effects:
        # The session names only the role, the transcript and a nonce. What is signed is put together here,
        # so a session that has been taken over cannot have anything else signed.
        session = session_of_actor(sender)
        version = self._evidence.version_to_sign(
            session, version_with_clock(self._version, self._store.clock()), self._store.forgettings()
        )
        self._evidence.record_signed(session, message.role, message.th)
        info = make_info(
            public_key=self._identity.public_key,
            name=self._name,
            os=operating_system(),
            app_version=version,
            nonce=message.nonce,
        )
        signature = self._identity.sign(signing_input(message.role, message.th, self._identity.peer, info))
        return self._save_evidence(True, Send(sender, Signed(message.request, info, signature)))

    def _apply_once(self, incoming: Incoming[VaultInbox], message: Mutation) -> list[Send]:
        """Apply an input that changes the store, unless the journal has it already. Returns what to send.

        The effect and its journal row are committed together. The Step that acknowledges the input comes
        later. If the vault is killed in between, the input is delivered again, with the same sender and id,
        and finds its row: then it gets the recorded answer, and the store is not changed a second time. A
        client's repeat of a request finds the row in the same manner.
        """
        kind = type(message).__name__
        try:
            with self._store.transaction():
                effect = self._store.recorded_effect(incoming.sender, incoming.id, kind)
                if effect is None:
                    effect = self._apply(incoming.sender, message)
                    self._store.record_effect(incoming.sender, incoming.id, kind, effect)
        except RequestDeniedError as denied:
            # Nothing was changed, so nothing is recorded: the same input is denied again.
            out: list[Send] = []
            if isinstance(message, Settled):
                # The swarm repeated a decision that needs no settling any more; tell it the present state.
                out += self._records_in_use.peer_updates([message.peer])
            if denied.answer is not None:
                out.append(Send(incoming.sender, denied.answer))
            return out
        except sqlite3.OperationalError as error:  # for instance, the disk is full; nothing was changed
            out = self._health.report_failure(error, incoming.sender)
            match message:
                case StoreDevice(request=request):
                    out.append(Send(incoming.sender, StoreRefused(request, "the store cannot be written")))
                case ConfirmDevice():
                    out.append(Send(incoming.sender, self._still_unconfirmed(message, error)))
                case RenameDevice(request=request) | ForgetDevice(request=request):
                    reason = "the store cannot be written; make room and try again"
                    out.append(Send(incoming.sender, VaultError(request, "not_stored", reason)))
            return out
        out = self._health.report_success()
        # The answer is the recorded one, but what the swarm must know is read from the store as it is now:
        # the recorded input may be long past.
        out += self._records_in_use.peer_updates(effect.peers)
        if isinstance(message, ForgetDevice):
            out += self._forgetting.session_updates(message.device_id)
            self._peers.forget_devices()
        if isinstance(message, Settled):
            out.append(Send("gateway", StoredDevicesChanged()))  # nobody else there has seen a sign of it
        if effect.answer is not None and not isinstance(message, Settled):
            answer = msgspec.structs.replace(effect.answer, request=message.request)
            out.append(Send(incoming.sender, answer))
        return out

    def _apply(self, sender: str, message: Mutation) -> RecordedEffect:
        match message:
            case StoreDevice():
                return self._store_device(sender, message)
            case ConfirmDevice():
                return self._confirm_device(sender, message)
            case Settled():
                effect = self._settling.apply(message)
                if effect is None:
                    raise RequestDeniedError
                return effect
            case RenameDevice():
                return self._rename_device(message)
            case ForgetDevice(request=request, device_id=device_id):
                peers = self._forgetting.forget(device_id)
                if peers is None:
                    raise RequestDeniedError(_no_such_device(request))
                return RecordedEffect(DeviceChanged(request), peers)

    # -- a pairing

    def _store_device(self, sender: str, message: StoreDevice) -> RecordedEffect:
        session = session_of_actor(sender)
        try:
            info = self._admission.check(session, message)
        except NotAdmittedError as error:
            raise RequestDeniedError(StoreRefused(message.request, str(error))) from None
        if self._forgetting.has_ended(session, info.device_id):
            raise RequestDeniedError(StoreRefused(message.request, "the device was forgotten meanwhile"))
        for known in self._store.records_of_transcript(info.device_id, message.th3):
            if (known.session, known.peer, known.decision) == (session, message.peer, message.decision):
                raise RequestDeniedError(Stored(message.request, known.as_device().state))
            raise RequestDeniedError(StoreRefused(message.request, "this pairing is stored already"))
        # An unconfirmed record is never deleted to make room: the other side may be paired by it.
        if len(self._store.records_of_device(info.device_id, "unconfirmed")) >= MAX_UNCONFIRMED_PER_DEVICE:
            reason = "too many unconfirmed pairings with this device; forget it first"
            raise RequestDeniedError(StoreRefused(message.request, reason))
        if self._store.count() >= MAX_RECORDS and not self._store.delete_oldest_replaced():
            raise RequestDeniedError(StoreRefused(message.request, "too many devices; forget one first"))
        label = self._store.label(info.device_id)
        record = self._admission.make_record(session, message, info, label=label, stored_at=self._wall())
        if not self._remembers:
            self._remember()
            self._remembers = True
        self._store.add(record, message.secret)
        self._store.set_clock(clock_after(self._store.clock(), record.order))
        if not message.acknowledged:
            return RecordedEffect(Stored(message.request, "unconfirmed"), peers_of(record))
        (record,) = self._store.records_of_session(session, message.th3)
        return RecordedEffect(Stored(message.request, "paired"), self._records_in_use.complete(record))

    def _refuse_late(self, sender: str, message: StoreDevice) -> list[Send]:
        """Refuse to store for a session whose time is over, and take back what was stored for it before.

        The session may have ended, and may have told the peer so, which then keeps nothing. What was stored
        before is there if the vault was killed between its commit and its Step, and comes back only now.
        """
        out = [Send(sender, StoreRefused(message.request, "it took too long"))]
        try:
            with self._store.transaction():
                late = self._store.records_of_session(session_of_actor(sender), message.th3)
                for record in late:
                    self._records_in_use.take_back(record)
        except sqlite3.OperationalError as error:
            return self._health.report_failure(error, sender) + out
        if late:
            out.append(Send("gateway", StoredDevicesChanged()))
        return self._records_in_use.peer_updates(peers_of(*late)) + out

    def _confirm_device(self, sender: str, message: ConfirmDevice) -> RecordedEffect:
        session = session_of_actor(sender)
        found = self._store.records_of_session(session, message.th3)
        if not found:
            raise RequestDeniedError(StoreRefused(message.request, "no such device is stored"))
        if found[0].state != "unconfirmed":
            raise RequestDeniedError(Stored(message.request, "paired"))
        return RecordedEffect(Stored(message.request, "paired"), self._records_in_use.complete(found[0]))

    def _still_unconfirmed(self, message: ConfirmDevice, error: sqlite3.OperationalError) -> Message:
        """Answer a session whose record is stored, but could not be made `paired`.

        It stays unconfirmed and settles at the next contact, unless the store itself is gone.
        """
        if isinstance(error, StoreGoneError):
            return StoreRefused(message.request, STORE_GONE)
        return Stored(message.request, "unconfirmed")

    # -- the user's list

    def _rename_device(self, message: RenameDevice) -> RecordedEffect:
        try:
            check_name(message.name)
        except IdentityError as error:
            raise RequestDeniedError(VaultError(message.request, "invalid_name", f"the {error}")) from None
        if not self._store.records_of_device(message.device_id):
            raise RequestDeniedError(_no_such_device(message.request))
        self._store.set_label(message.device_id, message.name)
        return RecordedEffect(DeviceChanged(message.request), ())


def _no_such_device(request: int) -> VaultError:
    return VaultError(request, "no_such_device", "no such device")
