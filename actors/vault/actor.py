"""The vault's entry point: opens the data directory, builds the machine of machine.py, and runs it.

Owns the order in which the lock, the identity and the store are opened and closed, and the reading of the
passphrase. Never decides anything about devices.
"""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ...messages.actor_configs import PASSPHRASE_LIMIT, VaultConfig, decoder
from ...messages.child_protocol import Start
from ...messages.to_vault import decode
from ..base import FatalActorError
from ..stepping import SteppingEntry
from .data_directory import DataDirectory
from .database import DATABASE_FILE
from .device_store import DeviceStore, no_probe
from .identity_file import OpenedIdentity, open_identity, remember_devices, remembers_devices
from .machine import Vault
from .passphrase_seal import DEFAULT_COSTS, Argon2Costs
from .remembered_peers import PEERS_FILE, RememberedPeers
from .waiting import CANNOT_OPEN, WaitingVault

_decode_config = decoder(VaultConfig)


def open_vault(
    config: VaultConfig,
    checkpoint: bytes | None,
    resources: ExitStack,
    probe: Callable[[str], None] = no_probe,
    costs: Argon2Costs = DEFAULT_COSTS,
    *,
    may_create: bool = True,
    opened: OpenedIdentity | None = None,
) -> Vault:
    """Open the data directory, create it if it does not exist, and restore the vault from its checkpoint.

    `resources` close everything again. `probe` is for tests (device_store.DeviceStore). `costs` are used if
    an identity is sealed now. Without `may_create` a missing identity is an error. `opened` is that of
    earlier tries. Raises FatalActorError with a text for the user.
    """
    passphrase = None if config.passphrase_fd is None else _read_passphrase(config.passphrase_fd)
    directory = DataDirectory(Path(config.data_dir).expanduser().absolute())
    resources.callback(directory.close)
    database = directory.path / DATABASE_FILE
    # A store without its identity could not be opened, so a new identity is created only if there is no
    # store.
    may_create = may_create and not database.exists()
    opened = opened or OpenedIdentity()
    identity = opened.of(directory)
    if identity is None:
        identity = open_identity(directory, may_create=may_create, passphrase=passphrase, costs=costs)
        opened.keep(directory, identity)
    store = DeviceStore(database, identity.storage_key, probe)
    resources.callback(store.close)
    peers = RememberedPeers(directory.path / PEERS_FILE, store.has_peer, probe)
    try:
        return Vault(
            identity,
            store,
            peers=peers,
            device_name=config.device_name,
            app_version=config.app_version,
            checkpoint=checkpoint,
            remember=lambda: _remember(directory),
            remembers=remembers_devices(directory),
        )
    except sqlite3.OperationalError as error:
        raise FatalActorError(
            f"cannot use {database}: {error}; make room, or choose another data directory with --data-dir",
            is_temporary=True,
        ) from None


def _remember(directory: DataDirectory) -> None:
    try:
        remember_devices(directory)
    except OSError as error:
        raise sqlite3.OperationalError(f"the identity cannot be written: {error.strerror}") from None


def _read_passphrase(fd: int) -> bytes:
    """Return the passphrase. pread(2) does not move the position, which the next incarnation shares."""
    try:
        passphrase = os.pread(fd, PASSPHRASE_LIMIT, 0)
    except OSError as error:
        raise FatalActorError(f"cannot read the passphrase: {error.strerror}") from None
    if not passphrase:
        raise FatalActorError("the passphrase is empty")
    return passphrase


@contextmanager
def _opened(start: Start) -> Iterator[Vault | WaitingVault]:
    config = _decode_config(start.config)
    identity = OpenedIdentity()
    is_first = start.checkpoint is None  # no vault of this node has worked yet
    with ExitStack() as resources:

        def attempt(checkpoint: bytes | None) -> Vault:
            with ExitStack() as opened:
                # A node whose vault has worked has an identity. If it is not there, it was removed.
                vault = open_vault(config, checkpoint, opened, may_create=is_first, opened=identity)
                resources.enter_context(opened.pop_all())
                return vault

        machine: Vault | WaitingVault
        try:
            machine = attempt(start.checkpoint)
        except CANNOT_OPEN as error:
            if start.checkpoint is None:
                raise  # the node cannot start; later it does not end by this
            directory = Path(config.data_dir).expanduser().absolute()
            machine = WaitingVault(attempt, directory, start.checkpoint, error)
        yield machine


main = SteppingEntry(decode, _opened, on_start=lambda machine, now: machine.first(now))
"""Runs the vault until the node stops."""
