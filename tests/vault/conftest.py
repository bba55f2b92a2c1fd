"""A real vault on a real file, and devices that pair with it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from spacedrive_node.tests.harness.vault_actor import Host, OtherDevice


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    host = Host(tmp_path / "deep" / "data")
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
def new_host() -> type[Host]:
    return Host
