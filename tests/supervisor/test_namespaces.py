"""Making the namespaces of a node's actors, when the child that makes them fails."""

import os
import time

import pytest

from spacedrive_node.supervisor import namespaces


def refused() -> None:
    raise PermissionError


def endless() -> None:
    while True:
        time.sleep(60)


@pytest.mark.parametrize("isolate", [refused, endless])
def test_a_child_that_makes_none_is_none(isolate: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may not make them, or it hangs: there are no namespaces, and no child or descriptor is left."""
    monkeypatch.setattr(namespaces, "_isolate", isolate)
    monkeypatch.setattr(namespaces, "_TIMEOUT_S", 0.2 if isolate is endless else 30.0)
    made: list[int] = []
    fork = os.fork

    def noted() -> int:
        made.append(fork())
        return made[-1]

    monkeypatch.setattr(os, "fork", noted)
    before = len(os.listdir("/proc/self/fd"))
    assert namespaces.make_namespaces() == []
    assert len(os.listdir("/proc/self/fd")) == before
    assert not os.path.exists(f"/proc/{made[0]}")
