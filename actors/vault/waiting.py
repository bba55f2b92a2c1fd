"""Stands in for a vault that was started again while its files cannot be opened: the disk is full, say.

The node goes on without its vault for as long as that lasts, says why it is not ready, and needs nobody to
start it again: the files are tried every few seconds. Owns what comes meanwhile. Evidence is recorded; what
would be written is refused; what can wait is kept in memory and handled when the vault is there. Never
creates an identity, and never opens a file itself.
"""

import math
import os
import sqlite3
from collections import deque
from collections.abc import Callable
from pathlib import Path

from ...messages.from_supervisor import SessionEnded
from ...messages.session_names import session_of_actor
from ...messages.to_gateway import VaultError
from ...messages.to_session import Stored, StoreRefused
from ...messages.to_vault import (
    Accept,
    ConfirmDevice,
    ForgetDevice,
    ListDevices,
    PeerEvidence,
    RecallPeers,
    RenameDevice,
    SignIdentity,
    StoreDevice,
    VaultInbox,
)
from ...messages.types import Instant
from ..base import Effects, FatalActorError, Incoming, Send, log_frame
from .machine import Vault
from .session_evidence import SessionEvidence
from .store_files import StoreReplacedError
from .store_health import CHECK_INTERVAL_S, STORE_GONE, readiness

CANNOT_OPEN = (FatalActorError, OSError, sqlite3.Error)
"""What opening the files of a vault may raise."""
_MAX_HELD = 1024
_MAX_DETAIL_CHARACTERS = 200


class WaitingVault:
    """The actor's state (see stepping.StepMachine) until `open_vault` succeeds; then it is that vault's.

    `open_vault` gets the checkpoint. `error` is why it failed before.
    """

    def __init__(
        self,
        open_vault: Callable[[bytes], Vault],
        directory: Path,
        checkpoint: bytes | None,
        error: Exception,
    ) -> None:
        self._open = open_vault
        self._directory = directory
        self._number = _number(directory)
        self._evidence = SessionEvidence(checkpoint)
        self._why = _text(error)
        self._vault: Vault | None = None
        self._held: deque[Incoming[VaultInbox]] = deque()
        self._is_first = True
        self._next_try: Instant = -math.inf

    def first(self, now: Instant) -> Effects:
        """Return what is sent at the start: that the vault is not ready, and why."""
        self._next_try = now + CHECK_INTERVAL_S
        log = log_frame("error", "store cannot be opened, trying again", {"detail": self._why})
        return Effects(out=readiness(False, self._why), logs=[log])

    def wake_at(self) -> Instant:
        """See stepping.StepMachine."""
        if self._vault is None:
            return self._next_try
        return -math.inf if self._held else self._vault.wake_at()

    def tick(self, now: Instant) -> Effects | None:
        """Try again. Raises StoreReplacedError: this process may not open what has taken the place."""
        if self._vault is not None:
            # One at a time: a step has a bound, and each may bring a checkpoint.
            return self._vault.step(self._held.popleft(), now) if self._held else self._vault.tick(now)
        if now < self._next_try:
            return None
        self._next_try = now + CHECK_INTERVAL_S
        number = _number(self._directory)
        if number is not None and number != self._number:
            raise StoreReplacedError(f"{self._directory} was replaced")
        try:
            vault = self._open(self._evidence.checkpoint())
        except CANNOT_OPEN as error:
            why, self._why = self._why, _text(error)
            return None if why == self._why else Effects(out=readiness(False, self._why))
        self._vault = vault
        effects = vault.first(now)
        effects.logs.append(log_frame("info", "store works again", {}))
        return effects

    def step(self, incoming: Incoming[VaultInbox], now: Instant) -> Effects:
        """See stepping.StepMachine."""
        if self._vault is not None:
            return self._vault.step(incoming, now)
        is_first, self._is_first = self._is_first, False
        match incoming.message:
            case Accept(session=session, public_key=public_key, th3=th3):
                return self._evidence_effects(self._evidence.record_acceptance(session, public_key, th3))
            case PeerEvidence(session=session, peer=peer):
                return self._evidence_effects(self._evidence.record_peer(session, peer))
            case SessionEnded(session=session):
                self._held = deque(one for one in self._held if not _is_of_session(one, session))
                return self._evidence_effects(self._evidence.drop(session))
            case SignIdentity() | ListDevices() | RecallPeers():
                return self._hold(incoming)
            case StoreDevice() | ConfirmDevice() | RenameDevice() | ForgetDevice() if is_first:
                # The vault may have been killed when it had written this one and not yet answered. Only its
                # journal knows, and of later inputs it has none.
                return self._hold(incoming)
            case StoreDevice(request=request):
                return _answer(incoming, StoreRefused(request, "the store cannot be opened"))
            case ConfirmDevice(request=request) if _number(self._directory) is None:
                return _answer(incoming, StoreRefused(request, STORE_GONE))
            case ConfirmDevice(request=request):
                return _answer(incoming, Stored(request, "unconfirmed"))
            case RenameDevice(request=request) | ForgetDevice(request=request):
                reason = "the store cannot be opened; see sdnode status, and try again"
                return _answer(incoming, VaultError(request, "not_stored", reason))
            case _:
                return Effects()  # settling: the exchange expires, and the swarm is told anew later

    def _hold(self, incoming: Incoming[VaultInbox]) -> Effects:
        if len(self._held) < _MAX_HELD:
            self._held.append(incoming)
        return Effects()

    def _evidence_effects(self, changed: bool) -> Effects:
        return Effects(checkpoint=self._evidence.checkpoint() if changed else None)


def _answer(incoming: Incoming[VaultInbox], message: Stored | StoreRefused | VaultError) -> Effects:
    return Effects(out=[Send(incoming.sender, message)])


def _is_of_session(incoming: Incoming[VaultInbox], session: str) -> bool:
    return incoming.sender.startswith("session-") and session_of_actor(incoming.sender) == session


def _text(error: Exception) -> str:
    return f"the store cannot be opened: {error}"[:_MAX_DETAIL_CHARACTERS]


def _number(directory: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(directory)
    except OSError:
        return None
    return status.st_dev, status.st_ino
