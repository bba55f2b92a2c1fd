"""Gathers what `sdnode doctor` judges: asks the node, and looks at this host's files, clock and kernel.

Sends nothing to any network: a node says what it has met there. Whatever cannot be looked at is a fact too,
so nothing here raises for it. Never reads a file of the data directory, only what the file system says of it.
"""

import ctypes
import os
import platform
import re
import resource
import stat
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib import metadata
from pathlib import Path

from ..client.errors import ControlError, NodeGoneError
from ..client.one_shot import call
from ..config.effective import effective_settings
from ..config.loading import ConfigError, load_config
from ..config.paths import UnsafePathError, default_data_dir, expand_user, runtime_dirs
from ..config.running_nodes import NodeRecord, NoNodeRunningError, SeveralNodesError, record_of
from ..messages.control_protocol import NodeStatus, Status
from ..messages.to_gateway import ActorInfo
from ..supervisor.libc import libc
from .actors import fetch_actors
from .choose_node import choose_control
from .doctor_facts import (
    ActorSandbox,
    AllFacts,
    DiskFacts,
    FileFacts,
    HostFacts,
    NodeFacts,
    NoNode,
    Samples,
    sample,
)
from .doctor_probe import interfaces, try_sandbox

_ANSWER_TIMEOUT_S = 5.0
_METRICS_TIMEOUT_S = 2.0
_MAX_METRICS_BYTES = 4 * 2**20
_PREFIX = "spacedrive_node_"
_STATUS_OFFSET_BYTES, _STA_UNSYNC = 40, 0x40
"""In struct timex (adjtimex(2)) of a 64-bit machine."""
_PACKAGES = ("spacedrive-node", "libp2p", "trio", "aioquic", "cryptography", "msgspec", "click")
_NO_SETTINGS = frozenset({"passphrase_fd", "ask", "as_json", "check_config", "lifeline"})
"""Flags of `sdnode up` that are none."""
_SUPPORTED_PYTHONS = ((3, 11), (3, 14))


def gather(
    data_dir: str | None, control: str | None, config_file: str | None, environment: Mapping[str, str]
) -> tuple[AllFacts, bytes | None]:
    """Return all facts, and the text of the node's metrics."""
    was_named = bool(data_dir or control or environment.get("SDNODE_DATA_DIR"))
    was_named = was_named or bool(environment.get("SDNODE_CONTROL"))
    record: NodeRecord | None = None
    scrape: bytes | None = None
    node: NodeFacts | NoNode
    try:
        socket = choose_control(data_dir, control)
        record = record_of(socket)
        status = call(socket, NodeStatus, Status, _ANSWER_TIMEOUT_S)
        actors = _actors(socket)
        record = record or _record_by_process(socket, actors)
        scrape = None if record is None or record.metrics is None else scrape_metrics(record.metrics)
        node = _node(status, actors, record, scrape)
    except NoNodeRunningError as error:
        node = NoNode(str(error), is_expected=not was_named)
    except (SeveralNodesError, UnsafePathError, ControlError, NodeGoneError) as error:
        node = NoNode(str(error), is_expected=False)
    settings, problems, source = _settings(record, config_file, environment)
    directory = _data_directory(data_dir, record, settings)
    return (
        AllFacts(
            node=node,
            host=_host(),
            files=tuple(_files(directory, record)),
            disks=tuple(_disks(directory)),
            settings=settings,
            settings_problems=problems,
            settings_source=source,
            log_file=_log_of(record),
        ),
        scrape,
    )


def _actors(socket: Path) -> list[ActorInfo]:
    with suppress(ControlError, NodeGoneError, NoNodeRunningError):  # then without; the status says enough
        return fetch_actors(socket, _ANSWER_TIMEOUT_S)
    return []


def _node(
    status: NodeStatus, actors: list[ActorInfo], record: NodeRecord | None, scrape: bytes | None
) -> NodeFacts:
    samples = None if scrape is None else read_samples(scrape.decode(errors="replace"))
    boxes = [box for actor in actors if (box := _sandbox_of(actor)) is not None]
    return NodeFacts(
        status=status,
        actors=tuple(actors),
        samples=samples,
        sandboxes=tuple(boxes) or None,
        clock_jump_s=_clock_jump(record, samples),
    )


def scrape_metrics(endpoint: str) -> bytes | None:
    """Return what a node's metrics socket says, None if it says nothing."""
    from http.client import HTTPConnection, HTTPException

    connection = HTTPConnection(endpoint, timeout=_METRICS_TIMEOUT_S)
    try:
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        return answer.read(_MAX_METRICS_BYTES) if answer.status == 200 else None
    except (OSError, HTTPException):
        return None
    finally:
        connection.close()


_SAMPLE = re.compile(r"([a-z_]+)(?:\{([^}]*)\})? ([-+0-9.eE]+)$")
_LABEL = re.compile(r'([a-z_]+)="([^"]*)"')


def read_samples(text: str) -> Samples:
    """Return the samples of a text in the format of Prometheus; lines that are none are left out."""
    found: Samples = {}
    for line in text.splitlines():
        if match := _SAMPLE.match(line):
            name, labels, value = match.groups()
            with suppress(ValueError):
                found[name.removeprefix(_PREFIX), frozenset(_LABEL.findall(labels or ""))] = float(value)
    return found


def _sandbox_of(actor: ActorInfo) -> ActorSandbox | None:
    """Return what /proc says of an actor; None of the two that have no sandbox, and where it says nothing."""
    if actor.actor in ("supervisor", "zygote") or not actor.pid:
        return None
    try:
        text = Path(f"/proc/{actor.pid}/status").read_text()
    except OSError:
        return None
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    if not {"Seccomp", "NoNewPrivs", "CapEff"} <= set(fields):
        return None
    return ActorSandbox(
        actor=actor.actor,
        seccomp=fields["Seccomp"].strip() == "2",
        no_new_privs=fields["NoNewPrivs"].strip() == "1",
        no_capabilities=not int(fields["CapEff"], 16),
    )


def _clock_jump(record: NodeRecord | None, samples: Samples | None) -> float | None:
    """Return by how much the time of day differs from what it was when the node counted from it.

    The node says when it was started by the clock of that time, the kernel how long it runs.
    """
    started = sample(samples, "process_start_time_seconds") if samples else 0.0
    if record is None or not started:
        return None
    try:
        ticks = int(Path(f"/proc/{record.pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return None
    boot = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    return boot + ticks / os.sysconf("SC_CLK_TCK") - started


def _settings(
    record: NodeRecord | None, file: str | None, environment: Mapping[str, str]
) -> tuple[dict[str, dict[str, object]] | None, tuple[str, ...], str]:
    """Return the effective settings, what is wrong with them, and whose they are."""
    flags = None if record is None else _flags_of(record.pid)
    source = "as the node that runs was started" if flags is not None else "as sdnode up would have them here"
    if flags is not None and record is not None:
        environment = _variables_of(record.pid) or environment
    flags = dict(flags or {})
    given = file or flags.pop("file", None) or environment.get("SDNODE_CONFIG") or None
    try:
        loaded = load_config(flags, environment, str(given) if given else None)
    except ConfigError as error:
        return None, error.problems, source
    return effective_settings(loaded, {}), (), source


def _record_by_process(socket: Path, actors: list[ActorInfo]) -> NodeRecord | None:
    """Return what a node would have registered, for one whose register this user does not look into.

    As root does, who looks after the node of a service: from the arguments and variables of its process.
    """
    pid = next((actor.pid for actor in actors if actor.actor == "supervisor"), 0)
    if not pid or _flags_of(pid) is None:
        return None
    settings, _, _ = _settings(NodeRecord("", str(socket), pid), None, {})
    data_dir, metrics = ((settings or {}).get(key, {}) for key in ("data-dir", "metrics-listen"))
    if not data_dir.get("value"):
        return None
    # By default it may listen on another port, where another node may be on this one.
    known = metrics.get("source") != "default" and metrics.get("value") != "off"
    return NodeRecord(str(data_dir["value"]), str(socket), pid, str(metrics["value"]) if known else None)


def _variables_of(pid: int) -> dict[str, str]:
    """Return the settings among the variables of a node's process; only root may look into it."""
    try:
        text = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")
    except OSError:
        return {}
    variables = dict(entry.split("=", 1) for entry in text.split("\0") if "=" in entry)
    return {name: value for name, value in variables.items() if name.startswith("SDNODE_")}


def _flags_of(pid: int) -> dict[str, object] | None:
    """Return the flags with which a node was started, None where that cannot be read."""
    from .up import up

    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
        given = arguments[arguments.index("up") + 1 :]
        context = up.make_context("up", given, resilient_parsing=True)
    except Exception:  # any: whatever this process is, it was not started as nodes are
        return None
    return {name: value for name, value in context.params.items() if name not in _NO_SETTINGS}


def _log_of(record: NodeRecord | None) -> str | None:
    """Return the plain file into which a node writes its log; only root may look where that is."""
    if record is None:
        return None
    try:
        path = os.readlink(f"/proc/{record.pid}/fd/2")
        return path if stat.S_ISREG(os.stat(path).st_mode) else None
    except OSError:
        return None


def _data_directory(
    wanted: str | None, record: NodeRecord | None, settings: dict[str, dict[str, object]] | None
) -> Path | None:
    """Return the data directory: the node's own, else the one that is meant; None if there is no home."""
    if record is not None:
        return Path(record.data_dir)
    meant = wanted or (settings["data-dir"]["value"] if settings else None)
    try:
        return Path(expand_user(str(meant))).absolute() if meant else default_data_dir()
    except UnsafePathError:
        return None


def _files(directory: Path | None, record: NodeRecord | None) -> Iterator[FileFacts]:
    owner = os.geteuid()
    if directory is not None:
        if record is not None and owner == 0:  # root may look after anybody's node
            with suppress(OSError):
                owner = directory.stat().st_uid
        yield _file("the data directory", directory, owner, is_directory=True)
        for what, name in (
            ("the identity", "identity.key"),
            ("the list of devices", "devices.db"),
            ("the list of peers", "peers.db"),
        ):
            yield _file(what, directory / name, owner)
    if owner == os.geteuid():
        yield _file("the runtime directory", runtime_dirs()[0], owner, is_directory=True)
    if record is not None:
        yield _file("the control socket", Path(record.control), owner)


def _file(what: str, path: Path, owner: int, *, is_directory: bool = False) -> FileFacts:
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return FileFacts(what, str(path), None, is_directory)
    except OSError as error:
        return FileFacts(what, str(path), None, is_directory, problem=error.strerror or "")
    ahead = 0.0 if stat.S_ISSOCK(found.st_mode) else max(0.0, found.st_mtime - time.time())
    mode = stat.S_IMODE(found.st_mode)
    return FileFacts(what, str(path), mode, is_directory, found.st_uid == owner, ahead)


def _disks(directory: Path | None) -> Iterator[DiskFacts]:
    places = [("the runtime directory", runtime_dirs()[0])]
    if directory is not None:
        places.insert(0, ("the data directory", directory))
    for what, path in places:
        for existing in (path, *path.parents):
            try:
                found = os.statvfs(existing)
            except OSError:
                continue
            yield DiskFacts(
                what,
                str(path),
                found.f_bavail * found.f_frsize,
                found.f_favail if found.f_files else None,
                bool(found.f_flag & os.ST_RDONLY),
            )
            break


def _host() -> HostFacts:
    up, multicast = interfaces()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    installed = Path(__file__).stat().st_mtime
    return HostFacts(
        interfaces=up,
        multicast_interfaces=multicast,
        has_ipv4_route=_has_default_route("/proc/net/route", 1, "00000000", 7),
        has_ipv6_route=_has_default_route("/proc/net/ipv6_route", 0, "0" * 32, 1),
        name_servers=_read("/etc/resolv.conf").count("nameserver "),
        synchronised=_is_synchronised(),
        installed_in_s=max(0.0, installed - time.time()),
        sandbox=try_sandbox(),
        max_open_files=None if hard == resource.RLIM_INFINITY else hard,
        versions=_versions(),
        wrong_versions=tuple(_wrong_versions()),
        python_is_supported=_SUPPORTED_PYTHONS[0] <= sys.version_info[:2] < _SUPPORTED_PYTHONS[1],
    )


def _has_default_route(path: str, column: int, wanted: str, mask_column: int) -> bool:
    """Return whether a table of the kernel has a route to everywhere, not by loopback (proc_pid_net(5))."""
    for line in _read(path).splitlines():
        fields = line.split()
        if len(fields) > mask_column and fields[column] == wanted:
            is_default = not int(fields[mask_column], 16)
            if is_default and "lo" not in (fields[0], fields[-1]):
                return True
    return False


def _read(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""


def _is_synchronised() -> bool | None:
    """Return whether the kernel says that somebody keeps its clock right (adjtimex(2))."""
    timex = ctypes.create_string_buffer(256)
    if libc.adjtimex(timex) < 0:
        return None
    status = int.from_bytes(timex.raw[_STATUS_OFFSET_BYTES : _STATUS_OFFSET_BYTES + 4], "little")
    return not status & _STA_UNSYNC


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "kernel": platform.release()}
    for name in _PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def _wrong_versions() -> Iterator[str]:
    """Return what is installed in another version than the one that this program is made for."""
    with suppress(metadata.PackageNotFoundError):
        for requirement in metadata.requires("spacedrive-node") or ():
            needed, _, condition = requirement.partition(";")  # a condition is that of an extra
            name, separator, wanted = needed.strip().partition("==")
            if separator and not condition:
                try:
                    installed = metadata.version(name)
                except metadata.PackageNotFoundError:
                    installed = "missing"
                if installed != wanted:
                    yield f"{name} is {installed}, and {wanted} is needed"
