"""What a swarm has imported before its sandbox closes, by its entry."""

import subprocess
import sys

import pytest

_SWARM = "spacedrive_node.actors.swarm"
_WATCHED = ("wsproto", "aioquic", f"{_SWARM}.websocket", f"{_SWARM}.quic")


@pytest.mark.parametrize(
    ("entry", "there"),
    [
        ("swarm", ()),
        ("swarm.quic", ("aioquic", "quic")),
        ("swarm.websocket", ("wsproto", "websocket")),
        ("swarm.websocket.with_quic", ("wsproto", "aioquic", "websocket", "quic")),
    ],
)
def test_a_swarm_imports_the_transports_that_it_uses(entry: str, there: tuple[str, ...]) -> None:
    """And nothing of the others."""
    code = (
        f"import sys; from spacedrive_node.actors.{entry} import warm_up; warm_up(); "
        f"print(*(name.rpartition('.')[2] for name in {_WATCHED!r} if name in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert set(done.stdout.split()) == set(there)
