"""The vault as a stepping actor: decides what is signed, stored, shown, settled and forgotten.

Owns no file and no SQL. Never signs a string that it has not put together itself, and never stores a device
on a session's word alone. Implements docs/protocol.md, "Ending", and docs/architecture.md, "The vault".

Whatever changes the store is journalled with its effect in the same transaction; an input that comes again
(after a crash between that and its Step, or because a client repeats it) gets the recorded answer.
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
from ...protocol.pairing_clock import state_clock
from ..base import Effects, Incoming, Send
from .admission import Admission, NotAdmittedError
from .device_info import fit_name, fit_version, host_name, is_name, system_name
from .device_store import MAX_RECORDS, MAX_WAITING, Effect, Store
from .identity_file import Keys
from .records_in_use import Generations, peers_of
from .session_evidence import Trust

UNCONFIRMED_LIFE = 7 * 24 * 3600.0
"""Seconds that an unconfirmed record is kept (docs/protocol.md, "Ending"), and one that was replaced."""
_SWEEP = 3600.0
_PAGE = 64

Mutation = StoreDevice | ConfirmDevice | Settled | RenameDevice | ForgetDevice


class RequestDeniedError(SpacedriveNodeError):
    """The input changes nothing; `answer` says so to its sender."""

    def __init__(self, answer: Message | None = None) -> None:
        super().__init__(type(answer).__name__)
        self.answer = answer


class Vault:
    """Takes VaultInbox. `wall` gives Unix time: what is stored outlives the clock of this boot."""

    def __init__(
        self,
        keys: Keys,
        store: Store,
        *,
        device_name: str | None = None,
        app_version: str = "",
        checkpoint: bytes | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._keys = keys
        self._store = store
        self._trust = Trust(checkpoint)
        self._admission = Admission(self._trust, keys.public_key, keys.peer)
        self._wall = wall
        self._generations = Generations(store, self._trust, wall)
        self._version = fit_version(app_version)
        self._name = fit_name(device_name, store.own_name(), host_name())
        if device_name is not None and store.own_name() != self._name:
            with store.transaction():
                store.set_own_name(self._name)
        self._next_sweep: Instant = -math.inf
        self._write_failed = False

    # -- start and clock

    def first(self, now: Instant) -> Effects:
        """Return what every start sends: known peers first, so that the swarm never denies one of them."""
        effects = self.tick(now) or Effects()
        records, damaged = self._store.everything()
        effects.out += [
            send
            for peer in dict.fromkeys(r.peer for r in records)
            for send in self._generations.announce(peer)
        ]
        keys = self._keys
        effects.out += [
            Send("swarm", SwarmIdentity(keys.transport_seed)),
            Send("gateway", NodeIdentity(keys.device_id, self._name, keys.public_key, keys.peer)),
            *_readiness(True, f"ignoring {damaged} damaged device records" if damaged else ""),
        ]
        return effects

    def wake_at(self) -> Instant:
        """See stepping.StepMachine."""
        return self._next_sweep

    def tick(self, now: Instant) -> Effects | None:
        """Drop unconfirmed records that are too old. See stepping.StepMachine."""
        if now < self._next_sweep:
            return None
        self._next_sweep = now + _SWEEP
        try:
            with self._store.transaction():
                old = self._store.find("state != 'paired' AND stored_at < ?", self._wall() - UNCONFIRMED_LIFE)
                for record in old:
                    self._store.remove(record.generation)
        except sqlite3.OperationalError as error:
            return Effects(out=self._cannot_write(error))
        if not old:
            return None
        return Effects(
            out=[s for peer in dict.fromkeys(r.peer for r in old) for s in self._generations.announce(peer)]
        )

    # -- inputs

    def step(self, incoming: Incoming[VaultInbox], now: Instant) -> Effects:
        """See stepping.StepMachine."""
        match incoming.message:
            case SignIdentity() as message:
                return self._sign(incoming.sender, message)
            case Accept(session=session, public_key=public_key, th3=th3):
                return self._remembering(self._trust.accept(session, public_key, th3))
            case PeerEvidence(session=session, peer=peer):
                return self._remembering(self._trust.vouch(session, peer))
            case SessionEnded(session=session):
                return self._remembering(self._trust.drop(session), *self._generations.left_open_by(session))
            case SettleRequest() as message:
                return Effects(out=self._settle(message))
            case ListDevices(request=request, after=after):
                records, more = self._store.page(after, _PAGE)
                devices = Devices(request, tuple(record.shown() for record in records), more)
                return Effects(out=[Send(incoming.sender, devices)])
            case StoreDevice() | ConfirmDevice() | Settled() | RenameDevice() | ForgetDevice() as message:
                return Effects(out=self._once(incoming, message))

    def _remembering(self, changed: bool, *out: Send) -> Effects:
        return Effects(out=list(out), checkpoint=self._trust.checkpoint() if changed else None)

    def _sign(self, sender: str, message: SignIdentity) -> Effects:
        version = self._trust.state(_session_of(sender), state_clock(self._version, self._store.clock()))
        info = make_info(
            public_key=self._keys.public_key,
            name=self._name,
            os=system_name(),
            app_version=version,
            nonce=message.nonce,
        )
        signature = self._keys.sign(signing_input(message.role, message.th, self._keys.peer, info))
        return self._remembering(True, Send(sender, Signed(message.request, info, signature)))

    def _once(self, incoming: Incoming[VaultInbox], message: Mutation) -> list[Send]:
        """Take an input that changes the store: now, or from the journal if it has been taken."""
        kind = type(message).__name__
        try:
            with self._store.transaction():
                effect = self._store.recall(incoming.sender, incoming.id, kind)
                if effect is None:
                    effect = self._change(incoming.sender, message)
                    self._store.remember(incoming.sender, incoming.id, kind, effect)
        except RequestDeniedError as denied:
            out: list[Send] = []
            if isinstance(message, Settled):
                out += self._generations.announce(
                    message.peer
                )  # the swarm asked for something that is no longer so
            if denied.answer is not None:
                out.append(Send(incoming.sender, denied.answer))
            return out
        except sqlite3.OperationalError as error:  # the disk is full, say; nothing has changed
            out = self._cannot_write(error)
            if isinstance(message, StoreDevice | ConfirmDevice):
                out.append(
                    Send(incoming.sender, StoreRefused(message.request, "the store cannot be written"))
                )
            return out
        out = self._can_write()
        # What others must know is read from the store as it is now; a journalled input may be long past.
        out += [send for peer in effect.peers for send in self._generations.announce(peer)]
        if effect.answer is not None and not isinstance(message, Settled):
            answer = msgspec.structs.replace(effect.answer, request=message.request)
            out.append(Send(incoming.sender, answer))
        return out

    def _change(self, sender: str, message: Mutation) -> Effect:
        match message:
            case StoreDevice():
                return self._add(sender, message)
            case ConfirmDevice():
                return self._confirm(sender, message)
            case Settled():
                return self._settled(message)
            case RenameDevice():
                return self._rename(message)
            case ForgetDevice(request=request, device_id=device_id):
                peers = self._store.forget(device_id)
                if peers is None:
                    raise RequestDeniedError(_no_such_device(request))
                return Effect(DeviceChanged(request), tuple(peers))

    # -- a pairing

    def _add(self, sender: str, message: StoreDevice) -> Effect:
        session = _session_of(sender)
        try:
            info = self._admission.check(session, message)
        except NotAdmittedError as error:
            raise RequestDeniedError(StoreRefused(message.request, str(error))) from None
        for known in self._store.find("device_id = ? AND th3 = ?", info.device_id, message.th3):
            if (known.session, known.peer, known.decision) == (session, message.peer, message.decision):
                raise RequestDeniedError(Stored(message.request, known.shown().state))
            raise RequestDeniedError(StoreRefused(message.request, "this pairing is stored already"))
        waiting = self._store.of_device(info.device_id, "unconfirmed")
        crowded = waiting[: max(0, len(waiting) - MAX_WAITING + 1)]
        if self._store.count() - len(crowded) >= MAX_RECORDS and not self._store.drop_replaced():
            raise RequestDeniedError(StoreRefused(message.request, "too many devices; forget one first"))
        for known in crowded:
            self._store.remove(known.generation)
        label = self._store.label(info.device_id)
        record = self._admission.record(session, message, info, label=label, stored_at=self._wall())
        self._store.add(record, message.secret)
        return Effect(Stored(message.request, "unconfirmed"), peers_of(record, *crowded))

    def _confirm(self, sender: str, message: ConfirmDevice) -> Effect:
        session = _session_of(sender)
        found = self._store.find("session = ? AND th3 = ?", session, message.th3)
        if not found:
            raise RequestDeniedError(StoreRefused(message.request, "no such device is stored"))
        if found[0].state != "unconfirmed":
            raise RequestDeniedError(Stored(message.request, "paired"))
        return Effect(Stored(message.request, "paired"), self._generations.complete(found[0]))

    # -- settling

    def _settle(self, message: SettleRequest) -> list[Send]:
        """Answer a decision from the store.

        The record does not become `paired` by this: the peer's session may still be running, repeating a
        decision whose answer was lost and waiting for ours, and were ours not sent any more, the peer would
        end with nothing. Ours goes out at this same contact (KnownPeer.settle), and its answer decides.
        """
        for record in self._store.find("peer = ? AND peer_decision = ?", message.peer, message.frame):
            out = [Send("swarm", PeerReply(message.request, record.reply))]
            if record.state == "unconfirmed":
                out += self._generations.announce(message.peer)
            return out
        try:
            frame = decode_wire(message.frame)
        except MalformedMessageError:
            return []  # the swarm routes whole frames only; its exchange ends at its deadline
        return [
            Send("swarm", PeerReply(message.request, encode(Refused(frame.code_id, frame.attempt, "closed"))))
        ]

    def _settled(self, message: Settled) -> Effect:
        try:
            answer = decode_wire(message.frame)
        except MalformedMessageError:
            raise RequestDeniedError from None
        for record in self._store.of_peer(message.peer, "unconfirmed"):
            own = decode_wire(record.decision)
            if (own.code_id, own.attempt) != (answer.code_id, answer.attempt):
                continue
            match answer:
                case DecisionReceived(mac=mac) if hmac.compare_digest(mac, record.expected_mac):
                    return Effect(None, self._generations.complete(record))
                case Refused(reason="closed"):
                    self._store.remove(record.generation)
                    return Effect(None, peers_of(record))
        raise RequestDeniedError

    # -- the user's list

    def _rename(self, message: RenameDevice) -> Effect:
        if not is_name(message.name):
            raise RequestDeniedError(
                VaultError(
                    message.request, "invalid_name", "a name has 1 to 64 characters, none of them invisible"
                )
            )
        if not self._store.of_device(message.device_id):
            raise RequestDeniedError(_no_such_device(message.request))
        self._store.set_label(message.device_id, message.name)
        return Effect(DeviceChanged(message.request), ())

    # -- trouble with the disk

    def _cannot_write(self, error: sqlite3.OperationalError) -> list[Send]:
        self._write_failed = True
        return _readiness(False, f"the store cannot be written: {error}"[:200])

    def _can_write(self) -> list[Send]:
        failed, self._write_failed = self._write_failed, False
        return _readiness(True, "") if failed else []


def _session_of(sender: str) -> str:
    return sender.removeprefix("session-")


def _readiness(ready: bool, detail: str) -> list[Send]:
    readiness = Readiness("vault", ready, detail)
    return [Send("gateway", readiness, slot=b"vault"), Send("metrics", readiness, slot=b"vault")]


def _no_such_device(request: int) -> VaultError:
    return VaultError(request, "no_such_device", "no such device")
