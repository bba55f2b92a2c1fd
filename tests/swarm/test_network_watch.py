"""What the kernel tells of networks: what counts as a change, ranks of interfaces; in network namespaces."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import trio
import trio.testing

from spacedrive_node.actors import netlink
from spacedrive_node.actors.swarm import network_watch
from spacedrive_node.actors.swarm.dial import links

SCRIPT = Path(__file__).parent.parent / "harness" / "network_changes.py"
HOME = (
    "link add cable0 type veth peer name cable1",
    "address add 192.0.2.7/24 dev cable0",
    "link set cable1 up",
    "link set cable0 up",
    "route add default via 192.0.2.1 dev cable0",
)
AGAIN = "route add default via 192.0.2.1 dev cable0"


def changes(*steps: tuple[str, ...]) -> list[dict[str, object]]:
    """Do the steps in a namespace, each when the one before was noticed; return what there was after each."""
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--net", "--mount", sys.executable, str(SCRIPT)],
        input=json.dumps(steps),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if "Operation not permitted" in done.stderr:
        pytest.skip("needs the right to make network namespaces")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("step", "counts"),
    [
        pytest.param(("link set cable0 down", "link set cable0 up", AGAIN), 1, id="the cable, for a moment"),
        pytest.param(("link delete cable0", *HOME), 1, id="another network that looks the same"),
        pytest.param(("address add 192.0.2.8/24 dev cable0",), 1, id="another address"),
        pytest.param(("route replace default via 192.0.2.9 dev cable0",), 1, id="another router"),
        pytest.param(("link set cable0 down",), 0, id="no network: nothing to do"),
        pytest.param(
            ("link add docker0 type bridge", "link set docker0 up"), 0, id="a bridge without others"
        ),
        pytest.param(
            (
                "link add docker0 type bridge",
                "address add 172.17.0.1/16 dev docker0",
                "link add box0 type veth peer name box1",
                "link set box0 master docker0",
                "link set box0 up",
                "link set box1 up",
                "link set docker0 up",
            ),
            0,
            id="a container",
        ),
        pytest.param(("route add 203.0.113.0/24 via 192.0.2.1",), 0, id="a route to one place"),
    ],
)
def test_what_counts_as_a_change(step: tuple[str, ...], counts: int) -> None:
    (at_home, after) = changes(HOME, step)
    assert at_home["changes"] == 1
    assert after["changes"] == 1 + counts, after


def test_ranks_are_those_of_the_files_of_the_kernel() -> None:
    """With a bridge, what is plugged into it, a cable that is not, and the default route."""
    steps = (
        *HOME,
        "link add docker0 type bridge",
        "link add box0 type veth peer name box1",
        "link set box0 master docker0",
        "link set box0 up",
        "link set box1 up",
        "link set docker0 up",
        "link add out0 type veth peer name out1",
    )
    (found,) = changes(steps)
    files = found["files"]
    assert isinstance(files, dict)
    assert files.pop("lo") is not None
    assert found["ranks"] == files
    assert len(set(files.values())) == 4


def test_bytes_that_make_no_sense_are_no_networks() -> None:
    for nonsense in (b"", bytes(3), bytes(16), b"\xff" * 16, b"\x14\0\0\0\x10\0" + bytes(14)):
        found = links.parse([nonsense])
        assert (found.marks, found.ranks) == (frozenset(), {})
        assert not links.is_interruption(nonsense, {1})


async def test_a_change_of_which_the_kernel_does_not_tell_at_once_is_not_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A node that has no descriptor left cannot ask; when it has one again, it is in the other network."""
    home = links.Networks({}, frozenset({("eth0", "192.0.2.7")}), frozenset({2}))
    other = links.Networks({}, frozenset({("eth0", "198.51.100.7")}), frozenset({2}))
    told: list[links.Networks | None] = [home, None, None, other]
    ours, kernels = socket.socketpair()

    class Watch:
        socket = ours

        def __init__(self, _groups: int) -> None: ...

        def drain(self) -> list[bytes]:
            return [ours.recv(100)]

        def close(self) -> None: ...

    noticed = trio.Event()

    async def changed() -> None:
        noticed.set()

    monkeypatch.setattr(netlink, "ChangeWatch", Watch)
    monkeypatch.setattr(network_watch, "_read", lambda: told.pop(0))
    monkeypatch.setattr(network_watch, "RETRY_S", 0.1, raising=False)
    monkeypatch.setattr(network_watch.interfaces, "set_ranks", lambda _ranks: None)
    with ours, kernels, trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(network_watch.NetworkWatch(changed).run)
            kernels.send(bytes(16))
            await noticed.wait()
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("slept_s", [0.0, 1.0, 60.0, 86400.0])
async def test_sleep_is_noticed_within_two_looks(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock, slept_s: float
) -> None:
    """Of the whole host, which stops the time of all waits, or of the processes. A late look is no sleep."""
    asleep, noticed = 0.0, 0

    async def changed() -> None:
        nonlocal noticed
        noticed += 1

    def no_kernel(groups: int) -> netlink.ChangeWatch:
        raise OSError

    monkeypatch.setattr(netlink, "ChangeWatch", no_kernel)
    monkeypatch.setattr(network_watch, "now", lambda: trio.current_time() + asleep)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(network_watch.NetworkWatch(changed).run)
        await trio.sleep(301.0)  # virtual
        assert not noticed
        asleep = slept_s
        await trio.sleep(2 * network_watch.LOOK_INTERVAL_S)
        assert noticed == (slept_s > network_watch.SLEPT_S)
        nursery.cancel_scope.cancel()
