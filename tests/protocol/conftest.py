"""Devices and attempts, and what the test vectors are compared with."""

import json
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from spacedrive_node.tests.harness import protocol_reference
from spacedrive_node.tests.harness.scripted_attempt import Device, Pairing
from spacedrive_node.tests.vectors import generate

VECTORS = Path(__file__).parent.parent / "vectors"


@pytest.fixture
def make_pairing() -> type[Pairing]:
    return Pairing


@pytest.fixture
def pairing() -> Pairing:
    return Pairing()


@pytest.fixture(scope="session")
def shared_pairing() -> Pairing:
    """For property tests, which may not use function-scoped fixtures; nothing in it changes."""
    return Pairing()


@pytest.fixture(scope="session")
def shared_done(shared_pairing: Pairing) -> SimpleNamespace:
    return shared_pairing.complete()


@pytest.fixture
def done(pairing: Pairing) -> SimpleNamespace:
    return pairing.complete()


@pytest.fixture
def make_device() -> type[Device]:
    return Device


@pytest.fixture
def reference() -> ModuleType:
    """The second implementation."""
    return protocol_reference


@pytest.fixture
def generator() -> ModuleType:
    """The script that writes the vectors."""
    return generate


@pytest.fixture
def vectors() -> Any:
    """Load one file of tests/vectors by its name."""
    return lambda name: json.loads((VECTORS / name).read_text())
