"""The vault's entry point: opens the data directory and drives the machine. See machine.py."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from ...messages.config import VaultConfig, decoder
from ...messages.frames import Start
from ...messages.to_vault import decode
from ..base import ActorChannel, run_stepping
from .files import DataDir
from .keys import open_keys
from .machine import Vault
from .schema import DATABASE_FILE
from .store import Store, no_probe

_decode_config = decoder(VaultConfig)


def open_vault(
    config: VaultConfig,
    checkpoint: bytes | None,
    resources: ExitStack,
    probe: Callable[[str], None] = no_probe,
) -> Vault:
    """Open the data directory, made when there is none, and restore the vault; `resources` close it again.

    Raises ActorFailed with a text for the user.
    """
    directory = DataDir(Path(config.data_dir).expanduser().absolute())
    resources.callback(directory.close)
    database = directory.path / DATABASE_FILE
    keys = open_keys(directory, may_create=not database.exists())
    store = Store(database, keys.storage_key, probe)
    resources.callback(store.close)
    return Vault(
        keys,
        store,
        device_name=config.device_name,
        app_version=config.app_version,
        checkpoint=checkpoint,
    )


async def main(channel: ActorChannel) -> None:
    """Run the vault until the node stops."""
    with ExitStack() as resources:

        def make(start: Start) -> Vault:
            return open_vault(_decode_config(start.config), start.checkpoint, resources)

        await run_stepping(channel, decode, make, first=Vault.first)
