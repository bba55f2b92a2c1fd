"""One cell of the matrix of networks: two places, a relay between them, a wire; and pairings by words alone.

In each pairing two new nodes, run by `sdnode up` as anybody runs it, know one DHT server and nothing else.
One joins with the words that the other shows: each in turn. Between two pairings nothing is kept.
"""

import json
import os
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import get_args

import trio

from spacedrive_node.client.node_client import (
    ControlError,
    NodeClient,
    Pairing,
    PairingFailedError,
    open_client,
)
from spacedrive_node.messages.control_protocol import NodeStatus
from spacedrive_node.tests.harness.interop_peer import open_peer
from spacedrive_node.tests.harness.lab_wire import Weather
from spacedrive_node.tests.harness.nat_lab import LabHost, NatLab, PlaceKind, open_lab
from spacedrive_node.tests.harness.nat_nodes import knowing
from spacedrive_node.tests.harness.node_commands import UpCommand, sdnode_up

PLACES: tuple[PlaceKind, ...] = get_args(PlaceKind)
ROUND_TRIPS_MS = (10, 50, 150)
LOSSES_PERCENT = (0, 2, 10)
RELAYS = ("go", "rust", "js-2", "js-3")
ONE_HOME = "one-home"
READY_TIMEOUT_S = 60.0
"""Until who shows the words can be reached."""
PAIRING_TIMEOUT_S = 60.0
STATUS_INTERVAL_S = 0.1
PATH_INTERVAL_S = 0.5
"""Between two looks for a direct connection after a pairing, each a scrape of the metrics of both nodes."""
SEEN_DIRECT_TIMEOUT_S = 5.0
"""How long a direct connection is waited for after a relayed pairing."""


@dataclass(frozen=True, slots=True)
class Cell:
    """Two places, the round trip between any two ends of the wire, what it loses, and whose the relay is."""

    one: str
    other: str
    round_trip_ms: int
    loss_percent: int
    relay: str = ""
    """An implementation other than this project's."""

    @property
    def places(self) -> str:
        """The cell without its wire."""
        if self.one == ONE_HOME:
            return ONE_HOME
        return f"{self.one}+{self.other}" + (f"+relay-{self.relay}" if self.relay else "")

    @property
    def turned(self) -> "Cell":
        """The same, named from the other side."""
        return replace(self, one=self.other, other=self.one)

    @property
    def name(self) -> str:
        """What it is called by CELLS, and its file."""
        return f"{self.places}@{self.round_trip_ms}ms-{self.loss_percent}%"


@dataclass(frozen=True, slots=True)
class PairingResult:
    """How one pairing ended. `seconds`: from `join` until both were paired, both users accepting at once."""

    shows: str
    outcome: str = "failed"
    path: str = ""
    path_after: str = ""
    seconds: float = 0.0
    confirmed_seconds: float = 0.0
    why: str = ""
    load: float = 0.0
    """Of the machine in the last minute, for each processor; above 1 the times say little of the network."""

    @property
    def is_paired(self) -> bool:
        return self.outcome == "paired"


def all_cells() -> list[Cell]:
    """Return every cell, the ones of a middling round trip without loss first."""
    cells = []
    for loss in LOSSES_PERCENT:
        for round_trip in sorted(ROUND_TRIPS_MS, key=lambda ms: abs(ms - 50)):
            pairs = [(one, other) for place, one in enumerate(PLACES) for other in PLACES[place:]]
            cells += [Cell(one, other, round_trip, loss) for one, other in pairs]
            cells.append(Cell(ONE_HOME, ONE_HOME, round_trip, loss))
            cells += [Cell("cone", "cone", round_trip, loss, relay) for relay in RELAYS]
    return cells


def read_results(file: Path) -> list[PairingResult]:
    """Return what was kept of a cell; nothing if there is no such file."""
    if not file.exists():
        return []
    return [PairingResult(**one) for one in json.loads(file.read_text())["pairings"]]


def keep_results(file: Path, cell: Cell, results: Sequence[PairingResult]) -> None:
    """Keep the results of a cell, also if this process ends meanwhile."""
    new = file.with_suffix(".new")
    new.write_text(json.dumps({"cell": asdict(cell), "pairings": [asdict(one) for one in results]}, indent=1))
    new.rename(file)


@dataclass(frozen=True, slots=True)
class CellResults:
    """What was measured of a cell, and on which day (ISO 8601)."""

    day: str
    pairings: Sequence[PairingResult]


def read_published(file: Path) -> dict[str, CellResults]:
    """Return what is published, by the name of the cell; nothing if there is no such file."""
    if not file.exists():
        return {}
    return {
        name: CellResults(one["day"], [PairingResult(**fields) for fields in one["pairings"]])
        for name, one in json.loads(file.read_text()).items()
    }


def publish(file: Path, cells: Mapping[str, CellResults]) -> None:
    """Write results for the next machine that goes on: a line for each cell, without what is empty."""
    lines = (
        f"{json.dumps(name)}: "
        + json.dumps({"day": one.day, "pairings": [_brief(result) for result in one.pairings]})
        for name, one in sorted(cells.items())
    )
    new = file.with_suffix(".new")
    new.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    new.rename(file)


def _brief(result: PairingResult) -> dict[str, object]:
    fields = {
        name: round(value, 3) if isinstance(value, float) else value for name, value in asdict(result).items()
    }
    return {name: value for name, value in fields.items() if value}


async def run_cell(
    cell: Cell,
    number: int,
    done: Callable[[PairingResult], None],
    *,
    already: int = 0,
    keep: Path | None = None,
) -> None:
    """Run pairings of a cell until there are so many; `done` gets each. Logs of failed ones go to `keep`."""
    weather = Weather(cell.round_trip_ms / 1000, cell.loss_percent / 100, seed=1 + already)
    with tempfile.TemporaryDirectory(prefix="sdn-lab-") as name, open_lab(weather) as lab:
        folder = Path(name)
        places = _places(lab, cell)
        async with _servers(folder, lab, cell.relay) as flags:
            for count in range(already, number):
                shows = count % 2
                hosts = places if shows == 0 else places[::-1]
                result = await _pair_once(folder / f"{count}", hosts, flags, cell, keep)
                done(PairingResult((cell.one, cell.other)[shows], **result))


def _places(lab: NatLab, cell: Cell) -> list[LabHost]:
    if cell.one == ONE_HOME:
        home = lab.home("cone")
        return [home.host(), home.host()]
    return [lab.place(one) for one in (cell.one, cell.other)]  # type: ignore[arg-type]


@asynccontextmanager
async def _servers(folder: Path, lab: NatLab, relay: str) -> AsyncIterator[tuple[str, ...]]:
    """Run the DHT server, and the relay if another one is wanted; give the flags of who knows them."""
    flags = ("--dht-mode", "server", *(() if relay else ("--relay-service",)))
    with _node(folder, "server", lab.public(), *flags) as server:
        if not relay:
            yield knowing([server])
            return
        host = lab.public()
        async with open_peer(relay, f"/ip4/{host.address}/tcp/4001", enter=host.command) as peer:
            await peer.command("relay")
            yield *knowing([server]), "--relay", peer.address(host.address)


@contextmanager
def _node(folder: Path, name: str, host: LabHost, *flags: str) -> Iterator[UpCommand]:
    flags = ("--no-same-host", "--log-format", "json", "--log-level", "debug", *flags)
    with sdnode_up(folder, name, *flags, command=host.command, listen=None) as up:
        yield up


async def _pair_once(
    folder: Path, hosts: Sequence[LabHost], flags: Sequence[str], cell: Cell, keep: Path | None
) -> dict[str, object]:
    """Start two nodes, pair them, and stop them; return the fields of the result."""
    if cell.one == ONE_HOME:
        flags = (*flags, "--mdns")
    with ExitStack() as stack:
        ups: dict[int, UpCommand] = {}

        def start(place: int) -> None:
            folder.mkdir(exist_ok=True)
            ups[place] = stack.enter_context(_node(folder, f"node{place}", hosts[place], *flags))

        async with trio.open_nursery() as nursery:
            for place in range(2):
                nursery.start_soon(partial(trio.to_thread.run_sync, start, place))
        found: dict[str, object] = {}
        try:
            async with (
                open_client(Path(ups[0].ready["control"])) as showing,
                open_client(Path(ups[1].ready["control"])) as joining,
            ):
                await _pair(showing, joining, found, partial(_announced, ups[0], hosts[0]))
            if found.get("path") == "relayed":
                found["path_after"] = await _path_after(ups, hosts)
            else:
                found["path_after"] = found.get("path", "")
        except (PairingFailedError, ControlError, trio.TooSlowError) as error:
            found["outcome"] = getattr(error, "outcome", "") or f"{type(error).__name__} {error}".strip()
        if keep is not None and found.get("outcome") != "paired":
            _keep_logs(keep, f"{cell.name}-{folder.name}", ups)
    return found


def _keep_logs(keep: Path, name: str, ups: dict[int, UpCommand]) -> None:
    keep.mkdir(exist_ok=True)
    for place, up in ups.items():
        (keep / f"{name}-{place}.log").write_text(up.log())


async def _pair(
    showing: NodeClient, joining: NodeClient, found: dict[str, object], announced: Callable[[], int]
) -> None:
    try:
        with trio.fail_after(READY_TIMEOUT_S):
            await _until(showing, lambda status: any(map(_is_reachable, status.addresses)))
            await _until(joining, lambda status: status.dht_peers > 0)
    except trio.TooSlowError:
        found["outcome"] = "not ready"
        found["why"] = f"{await showing.status()} {await joining.status()}"
        return
    shown = await showing.start_pairing()
    with trio.fail_after(READY_TIMEOUT_S):
        while not await trio.to_thread.run_sync(announced):  # noqa: ASYNC110  # as above
            await trio.sleep(STATUS_INTERVAL_S)
    began = time.monotonic()
    with trio.fail_after(PAIRING_TIMEOUT_S + 5.0):
        joined = await joining.join_pairing(" ".join(shown.code.words), timeout=PAIRING_TIMEOUT_S)
        paths: list[str] = []

        async def finish(pairing: Pairing) -> None:
            await pairing.confirmation()
            found["confirmed_seconds"] = time.monotonic() - began
            await pairing.accept()
            paths.append((await pairing.paired()).path or "")

        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(finish, shown)
                nursery.start_soon(finish, joined)
        except* PairingFailedError as group:
            raise next(_leaves(group)) from None
    found["load"] = os.getloadavg()[0] / (os.cpu_count() or 1)
    found["seconds"] = time.monotonic() - began
    found["path"] = "relayed" if "relayed" in paths else paths[0]
    found["outcome"] = "paired"


async def _until(client: NodeClient, holds: Callable[[NodeStatus], bool]) -> None:
    """Ask a node for its status until it is as wanted: it tells nobody unasked."""
    while not holds(await client.status()):  # noqa: ASYNC110
        await trio.sleep(STATUS_INTERVAL_S)


def _leaves(group: BaseExceptionGroup) -> Iterator[BaseException]:
    for one in group.exceptions:
        if isinstance(one, BaseExceptionGroup):
            yield from _leaves(one)
        else:
            yield one


def _is_reachable(address: str) -> bool:
    """Return whether others may reach a node by what it announces: through a relay, or at a public host."""
    return "p2p-circuit" in address or "/45.33." in address


async def _path_after(ups: dict[int, UpCommand], hosts: Sequence[LabHost]) -> str:
    """Return whether the two nodes have come to a direct connection, some time after they have paired.

    That no relayed one is left shows nothing: nobody keeps it once the pairing is over.
    """
    deadline = time.monotonic() + SEEN_DIRECT_TIMEOUT_S
    while not any([await trio.to_thread.run_sync(_upgrades, ups[place], hosts[place]) for place in range(2)]):
        if time.monotonic() > deadline:
            return "relayed"
        await trio.sleep(PATH_INTERVAL_S)
    return "direct"


def _upgrades(up: UpCommand, host: LabHost) -> int:
    """Return how many relayed connections of a node were followed by a direct one."""
    outcomes = ("tcp", "quic", "dialled")
    return sum(_metric(up, host, "spacedrive_node_hole_punch_total{", f'outcome="{one}"') for one in outcomes)


def _announced(up: UpCommand, host: LabHost) -> int:
    """Return how many rounds of announcements a node has done."""
    return _metric(up, host, "spacedrive_node_dht_query_seconds_count{", 'operation="announce"')


def _metric(up: UpCommand, host: LabHost, name: str, label: str) -> int:
    """Return the sum of the values of a metric with a label."""
    address, _, port = str(up.ready["metrics"]).rpartition(":")
    with host.socket(socket.SOCK_STREAM) as asking:
        asking.connect((address, int(port)))
        asking.sendall(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n")
        text = b"".join(iter(partial(asking.recv, 65536), b"")).decode()
    lines = [one for one in text.splitlines() if one.startswith(name) and label in one]
    return sum(int(float(one.rpartition(" ")[2])) for one in lines)
