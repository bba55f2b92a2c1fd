"""What a swarm has imported before its sandbox closes, by its entry."""

import subprocess
import sys

import pytest

_SWARM = "spacedrive_node.actors.swarm"
_WATCHED = (
    "wsproto",
    "aioquic",
    "OpenSSL",
    *(f"{_SWARM}.{name}" for name in ("websocket", "quic", "webrtc")),
)


@pytest.mark.parametrize(
    ("entry", "there"),
    [
        ("swarm", ()),
        ("swarm.quic", ("aioquic", "quic")),
        ("swarm.websocket", ("wsproto", "websocket")),
        ("swarm.websocket.with_quic", ("wsproto", "aioquic", "websocket", "quic")),
        ("swarm.webrtc", ("OpenSSL", "webrtc")),
        ("swarm.webrtc.with_quic", ("OpenSSL", "webrtc", "aioquic", "quic")),
        ("swarm.webrtc.with_websocket", ("OpenSSL", "webrtc", "wsproto", "websocket")),
        ("swarm.webrtc.with_both", ("OpenSSL", "webrtc", "wsproto", "websocket", "aioquic", "quic")),
    ],
)
def test_a_swarm_imports_the_transports_that_it_uses(entry: str, there: tuple[str, ...]) -> None:
    """And nothing of the others."""
    if "webrtc" in there:
        pytest.importorskip("google_crc32c", reason="the extra webrtc is not installed: make webrtc")
    code = (
        f"import sys; from spacedrive_node.actors.{entry} import warm_up; warm_up(); "
        f"print(*(name.rpartition('.')[2] for name in {_WATCHED!r} if name in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert set(done.stdout.split()) == set(there)
