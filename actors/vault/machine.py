"""The vault as a stepping actor: decides what is signed, stored, listed, settled and forgotten.

Implements the storing side of docs/protocol.md, "Ending", and docs/architecture.md, "Vault". Owns the
effect of each input and the answer to it; contains no SQL and opens no file. Never signs a string that it
has not put together itself, and never stores a device because a session claims it.

Inputs that only add evidence change the checkpoint, which takes effect with the Step. Inputs that change the
store (`Mutation`) take effect once by the journal: see :meth:`Vault._apply_once`.
"""

import hmac
import math
import sqlite3
import time
from collections.abc import Callable

import msgspec

from ...messages.base import MalformedMessageError, Message, encode
from ...messages.errors import SpacedriveNodeError
from ...messages.from_supervisor import SessionEnded
from ...messages.peer_protocol import DecisionReceived, Refused, decode_wire
from ...messages.session_names import session_of_actor
from ...messages.to_gateway import DeviceChanged, Devices, NodeIdentity, Readiness, VaultError
from ...messages.to_session import Signed, Stored, StoreRefused
from ...messages.to_swarm import PeerReply, SwarmIdentity
from ...messages.to_vault import (
    Accept,
    ConfirmDevice,
    ForgetDevice,
    ListDevices,
    PeerEvidence,
    RenameDevice,
    Settled,
    SettleRequest,
    SignIdentity,
    StoreDevice,
    VaultInbox,
)
from ...messages.types import Instant
from ...protocol.identity import make_info, signing_input
from ...protocol.pairing_clock import version_with_clock
from ..base import Effects, Incoming, Send
from .admission import Admission, NotAdmittedError
from .device_info import choose_name, clean_version, host_name, is_device_name, operating_system
from .device_store import MAX_RECORDS, MAX_UNCONFIRMED_PER_DEVICE, DeviceStore, RecordedEffect
from .identity_file import DeviceIdentity
from .records_in_use import RecordsInUse, peers_of
from .session_evidence import SessionEvidence

RECORD_LIFETIME_S = 7 * 24 * 3600.0
"""How long an unconfirmed or replaced record is kept (docs/protocol.md, "Settling")."""
_SWEEP_INTERVAL_S = 3600.0
_DEVICES_PER_PAGE = 64

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
    """

    def __init__(
        self,
        identity: DeviceIdentity,
        store: DeviceStore,
        *,
        device_name: str | None = None,
        app_version: str = "",
        checkpoint: bytes | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._identity = identity
        self._store = store
        self._evidence = SessionEvidence(checkpoint)
        self._admission = Admission(self._evidence, identity.public_key, identity.peer)
        self._wall = wall
        self._records_in_use = RecordsInUse(store, self._evidence, wall)
        self._version = clean_version(app_version)
        self._name = choose_name(device_name, store.own_name(), host_name())
        if device_name is not None and store.own_name() != self._name:
            with store.transaction():
                store.set_own_name(self._name)
        self._next_sweep: Instant = -math.inf
        self._write_failed = False

    # -- start and clock

    def first(self, now: Instant) -> Effects:
        """Return what the vault sends at each start.

        Known peers come first. The swarm starts only when it has the identity, so it never refuses a peer
        that the vault knows.
        """
        effects = self.tick(now) or Effects()
        records, damaged = self._store.all_records()
        effects.out += self._records_in_use.peer_updates(peers_of(*records))
        identity = self._identity
        node = NodeIdentity(identity.device_id, self._name, identity.public_key, identity.peer)
        effects.out += [
            Send("swarm", SwarmIdentity(identity.transport_seed)),
            Send("gateway", node),
            *_readiness(True, f"ignoring {damaged} damaged device records" if damaged else ""),
        ]
        return effects

    def wake_at(self) -> Instant:
        """See stepping.StepMachine."""
        return self._next_sweep

    def tick(self, now: Instant) -> Effects | None:
        """Delete unconfirmed and replaced records that are too old. See stepping.StepMachine."""
        if now < self._next_sweep:
            return None
        self._next_sweep = now + _SWEEP_INTERVAL_S
        try:
            with self._store.transaction():
                old = self._store.outdated_records(before=self._wall() - RECORD_LIFETIME_S)
                for record in old:
                    self._store.delete(record.generation)
        except sqlite3.OperationalError as error:
            return Effects(out=self._report_write_failure(error))
        if not old:
            return None
        return Effects(out=self._records_in_use.peer_updates(peers_of(*old)))

    # -- inputs

    def step(self, incoming: Incoming[VaultInbox], now: Instant) -> Effects:
        """See stepping.StepMachine."""
        match incoming.message:
            case SignIdentity() as message:
                return self._sign(incoming.sender, message)
            case Accept(session=session, public_key=public_key, th3=th3):
                return self._save_evidence(self._evidence.record_acceptance(session, public_key, th3))
            case PeerEvidence(session=session, peer=peer):
                return self._save_evidence(self._evidence.record_peer(session, peer))
            case SessionEnded(session=session):
                changed = self._evidence.drop(session)
                return self._save_evidence(changed, *self._records_in_use.updates_after_session(session))
            case SettleRequest() as message:
                return Effects(out=self._answer_from_store(message))
            case ListDevices(request=request, after=after):
                records, more = self._store.page(after, _DEVICES_PER_PAGE)
                devices = Devices(request, tuple(record.as_device() for record in records), more)
                return Effects(out=[Send(incoming.sender, devices)])
            case StoreDevice() | ConfirmDevice() | Settled() | RenameDevice() | ForgetDevice() as message:
                return Effects(out=self._apply_once(incoming, message))

    def _save_evidence(self, changed: bool, *out: Send) -> Effects:
        return Effects(out=list(out), checkpoint=self._evidence.checkpoint() if changed else None)

    def _sign(self, sender: str, message: SignIdentity) -> Effects:
        # The session names only the role, the transcript and a nonce. What is signed is put together here,
        # so a session that has been taken over cannot have anything else signed.
        version = self._evidence.version_to_sign(
            session_of_actor(sender), version_with_clock(self._version, self._store.clock())
        )
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
            out = self._report_write_failure(error)
            if isinstance(message, StoreDevice | ConfirmDevice):
                refusal = StoreRefused(message.request, "the store cannot be written")
                out.append(Send(incoming.sender, refusal))
            return out
        out = self._report_write_recovery()
        # The answer is the recorded one, but what the swarm must know is read from the store as it is now:
        # the recorded input may be long past.
        out += self._records_in_use.peer_updates(effect.peers)
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
                return self._settle(message)
            case RenameDevice():
                return self._rename_device(message)
            case ForgetDevice(request=request, device_id=device_id):
                peers = self._store.delete_device(device_id)
                if peers is None:
                    raise RequestDeniedError(_no_such_device(request))
                return RecordedEffect(DeviceChanged(request), tuple(peers))

    # -- a pairing

    def _store_device(self, sender: str, message: StoreDevice) -> RecordedEffect:
        session = session_of_actor(sender)
        try:
            info = self._admission.check(session, message)
        except NotAdmittedError as error:
            raise RequestDeniedError(StoreRefused(message.request, str(error))) from None
        for known in self._store.records_of_transcript(info.device_id, message.th3):
            if (known.session, known.peer, known.decision) == (session, message.peer, message.decision):
                raise RequestDeniedError(Stored(message.request, known.as_device().state))
            raise RequestDeniedError(StoreRefused(message.request, "this pairing is stored already"))
        unconfirmed = self._store.records_of_device(info.device_id, "unconfirmed")
        excess = unconfirmed[: max(0, len(unconfirmed) - MAX_UNCONFIRMED_PER_DEVICE + 1)]
        if self._store.count() - len(excess) >= MAX_RECORDS and not self._store.delete_oldest_replaced():
            raise RequestDeniedError(StoreRefused(message.request, "too many devices; forget one first"))
        for known in excess:
            self._store.delete(known.generation)
        label = self._store.label(info.device_id)
        record = self._admission.make_record(session, message, info, label=label, stored_at=self._wall())
        self._store.add(record, message.secret)
        return RecordedEffect(Stored(message.request, "unconfirmed"), peers_of(record, *excess))

    def _confirm_device(self, sender: str, message: ConfirmDevice) -> RecordedEffect:
        session = session_of_actor(sender)
        found = self._store.records_of_session(session, message.th3)
        if not found:
            raise RequestDeniedError(StoreRefused(message.request, "no such device is stored"))
        if found[0].state != "unconfirmed":
            raise RequestDeniedError(Stored(message.request, "paired"))
        return RecordedEffect(Stored(message.request, "paired"), self._records_in_use.complete(found[0]))

    # -- settling

    def _answer_from_store(self, message: SettleRequest) -> list[Send]:
        """Answer a peer's decision that belongs to no running session, with the reply kept for it.

        Our record does not become `paired` by this. The peer's session may still be running: it repeats its
        decision because our reply was lost, and it still waits for our decision. If we stopped sending ours
        now, the peer would end without the pairing. So ours is sent at this same contact
        (KnownPeer.settle), and the answer to it decides.
        """
        for record in self._store.records_of_decision(message.peer, message.frame):
            out = [Send("swarm", PeerReply(message.request, record.reply))]
            if record.state == "unconfirmed":
                out += self._records_in_use.peer_updates([message.peer])
            return out
        try:
            frame = decode_wire(message.frame)
        except MalformedMessageError:
            return []  # the swarm forwards only valid frames; one that does not lets its exchange expire
        refusal = Refused(frame.code_id, frame.attempt, "closed")
        return [Send("swarm", PeerReply(message.request, encode(refusal)))]

    def _settle(self, message: Settled) -> RecordedEffect:
        """Apply what a peer answered to a decision that the swarm repeated: paired, or dropped."""
        try:
            answer = decode_wire(message.frame)
        except MalformedMessageError:
            raise RequestDeniedError from None
        for record in self._store.records_of_peer(message.peer, "unconfirmed"):
            own = decode_wire(record.decision)
            if (own.code_id, own.attempt) != (answer.code_id, answer.attempt):
                continue
            match answer:
                case DecisionReceived(mac=mac) if hmac.compare_digest(mac, record.expected_mac):
                    return RecordedEffect(None, self._records_in_use.complete(record))
                case Refused(reason="closed"):
                    self._store.delete(record.generation)
                    return RecordedEffect(None, peers_of(record))
        raise RequestDeniedError

    # -- the user's list

    def _rename_device(self, message: RenameDevice) -> RecordedEffect:
        if not is_device_name(message.name):
            reason = "a name has 1 to 64 characters, none of them invisible"
            raise RequestDeniedError(VaultError(message.request, "invalid_name", reason))
        if not self._store.records_of_device(message.device_id):
            raise RequestDeniedError(_no_such_device(message.request))
        self._store.set_label(message.device_id, message.name)
        return RecordedEffect(DeviceChanged(message.request), ())

    # -- a store that cannot be written

    def _report_write_failure(self, error: sqlite3.OperationalError) -> list[Send]:
        self._write_failed = True
        return _readiness(False, f"the store cannot be written: {error}"[:200])

    def _report_write_recovery(self) -> list[Send]:
        failed, self._write_failed = self._write_failed, False
        return _readiness(True, "") if failed else []


def _readiness(ready: bool, detail: str) -> list[Send]:
    readiness = Readiness("vault", ready, detail)
    return [Send("gateway", readiness, slot=b"vault"), Send("metrics", readiness, slot=b"vault")]


def _no_such_device(request: int) -> VaultError:
    return VaultError(request, "no_such_device", "no such device")
