"""The vault's entry point: opens the data directory and drives the machine. See machine.py."""

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
from .data_directory import DataDir
from .database import DATABASE_FILE
from .device_store import Store, no_probe
from .identity_file import open_keys
from .machine import Vault
from .passphrase_seal import COSTS, Costs

_decode_config = decoder(VaultConfig)


def open_vault(
    config: VaultConfig,
    checkpoint: bytes | None,
    resources: ExitStack,
    probe: Callable[[str], None] = no_probe,
    costs: Costs = COSTS,
) -> Vault:
    """Open the data directory, made when there is none, and restore the vault; `resources` close it again.

    `costs` are those of an identity that is sealed now. Raises FatalActorError with a text for the user.
    """
    passphrase = None if config.passphrase_fd is None else _passphrase(config.passphrase_fd)
    directory = DataDir(Path(config.data_dir).expanduser().absolute())
    resources.callback(directory.close)
    database = directory.path / DATABASE_FILE
    keys = open_keys(directory, may_create=not database.exists(), passphrase=passphrase, costs=costs)
    store = Store(database, keys.storage_key, probe)
    resources.callback(store.close)
    try:
        return Vault(
            keys,
            store,
            device_name=config.device_name,
            app_version=config.app_version,
            checkpoint=checkpoint,
        )
    except sqlite3.OperationalError as error:
        raise FatalActorError(
            f"cannot use {database}: {error}; make room, or choose another data directory with --data-dir"
        ) from None


def _passphrase(fd: int) -> bytes:
    """Return the passphrase; the descriptor stays as it was, for the next incarnation."""
    try:
        passphrase = os.pread(fd, PASSPHRASE_LIMIT, 0)
    except OSError as error:
        raise FatalActorError(f"cannot read the passphrase: {error.strerror}") from None
    if not passphrase:
        raise FatalActorError("the passphrase is empty")
    return passphrase


@contextmanager
def _opened(start: Start) -> Iterator[Vault]:
    with ExitStack() as resources:
        yield open_vault(_decode_config(start.config), start.checkpoint, resources)


main = SteppingEntry(decode, _opened, on_start=Vault.first)
"""Runs the vault until the node stops."""
