"""A real vault on a real file, and devices that pair with it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from spacedrive_node.tests.harness.vault_actor import OtherDevice, VaultHost


@pytest.fixture
def host(tmp_path: Path) -> Iterator[VaultHost]:
    host = VaultHost(tmp_path / "deep" / "data")
    host.open()
    yield host
    host.close()


@pytest.fixture
def other() -> OtherDevice:
    return OtherDevice()


@pytest.fixture
def new_device() -> type[OtherDevice]:
    return OtherDevice


@pytest.fixture
def new_host() -> type[VaultHost]:
    return VaultHost
