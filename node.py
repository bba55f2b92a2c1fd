"""Composition: which actors a node has, and with which configuration (docs/architecture.md, "The tree").

Owns the descriptors that outlive actors (control socket, metrics socket), signals, and the moment at
which the node is ready. Decides nothing about pairings.
"""

import errno
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import trio

from . import __version__, sandbox_profiles
from .client.node_client import NodeGoneError, NoNodeRunningError, open_client
from .config.paths import (
    UnsafePathError,
    bind_control,
    control_path,
    default_data_dir,
    register_node,
    remove_control,
    runtime_dir,
    unregister_node,
)
from .config.settings import DEFAULT_LISTEN, NodeConfig
from .logs import WriteLog
from .messages.actor_configs import (
    DiscoveryConfig,
    GatewayConfig,
    MetricsConfig,
    SessionConfig,
    SwarmConfig,
    VaultConfig,
)
from .messages.control_protocol import NodeStatus
from .messages.types import PeerAddresses
from .protocol.peer_ids import peer_id_from_text
from .supervisor.child_specs import FIRST_EXTRA_FD, SESSION_INTENSITY, ChildSpec
from .supervisor.libc import set_dumpable
from .supervisor.process_spawner import ProcessSpawner
from .supervisor.spawner import Spawner
from .supervisor.tree import NodeFailedError, run_tree

_READY_POLL = 0.05
_STILL_STARTING = 10.0
_METRICS_BACKLOG = 64
_OWN_DESCRIPTORS, _SESSION_DESCRIPTORS = 128, 3
"""That the supervisor has open without sessions, with room, and for each of them."""

__all__ = ["NodeFailedError", "Ready", "run_node", "serve"]


@dataclass(frozen=True, slots=True)
class Ready:
    """The node takes pairings: who it is, and where it can be reached."""

    name: str
    peer: bytes
    addresses: tuple[str, ...]
    control: str
    metrics: str | None


async def run_node(
    config: NodeConfig,
    *,
    ready: Callable[[Ready], None],
    log: WriteLog,
    lifeline: bool = False,
    passphrase_fd: int | None = None,
) -> None:
    """Run a node in this process until a signal stops it, or with `lifeline` until standard input ends.

    Signals are SIGTERM, SIGINT, and SIGHUP unless it is ignored (nohup). `ready` is called once, when the
    node listens. `passphrase_fd` holds the passphrase of the identity, which only the vault reads
    (VaultConfig). Raises NodeFailedError with a text for the user when it cannot run: a port or data
    directory in use, a damaged identity, an actor that keeps dying.
    """
    # No core dump of this process, or of any that it starts: they would hold keys.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    set_dumpable(False)
    _allow_descriptors(config.max_sessions, log)
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_watch_signals, stop, log)
        if lifeline:
            nursery.start_soon(_watch_lifeline, stop)
        await serve(
            config, spawner=ProcessSpawner(), stop=stop, ready=ready, log=log, passphrase_fd=passphrase_fd
        )
        nursery.cancel_scope.cancel()


async def serve(
    config: NodeConfig,
    *,
    spawner: Spawner,
    stop: trio.Event,
    ready: Callable[[Ready], None],
    log: WriteLog,
    passphrase_fd: int | None = None,
) -> None:
    """Run a node whose actors are started by `spawner`, until `stop` is set. Raises NodeFailedError."""
    data_dir = Path(config.data_dir) if config.data_dir else default_data_dir()
    with _Descriptors(config, data_dir, log) as (control, control_socket, metrics_socket):
        specs = child_specs(
            config, data_dir, control_socket.fileno(), _fileno(metrics_socket), passphrase_fd=passphrase_fd
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_announce_ready, control, metrics_socket, ready, log)
            await run_tree(
                specs,
                session_spec(),
                spawner=spawner,
                max_sessions=config.max_sessions,
                on_log=log,
                stop=stop,
            )
            nursery.cancel_scope.cancel()


def child_specs(
    config: NodeConfig,
    data_dir: Path,
    control_fd: int,
    metrics_fd: int | None,
    *,
    passphrase_fd: int | None = None,
) -> list[ChildSpec]:
    """Return the singletons in the order in which they start."""
    return [
        ChildSpec(
            kind="vault",
            entry=_entry("vault"),
            config=VaultConfig(
                data_dir=str(data_dir),
                passphrase_fd=None if passphrase_fd is None else FIRST_EXTRA_FD,
                device_name=config.name,
                app_version=__version__,
            ),
            stepping=True,
            fds=() if passphrase_fd is None else (passphrase_fd,),
            sandbox=sandbox_profiles.vault(data_dir, sealed=passphrase_fd is not None),
            preload=True,
        ),
        ChildSpec(
            kind="metrics",
            entry=_entry("metrics"),
            config=MetricsConfig(
                socket_fd=None if metrics_fd is None else FIRST_EXTRA_FD, version=__version__
            ),
            stepping=True,
            fds=() if metrics_fd is None else (metrics_fd,),
            sandbox=sandbox_profiles.METRICS,
            preload=True,
        ),
        ChildSpec(
            kind="gateway",
            entry=_entry("gateway"),
            config=GatewayConfig(
                socket_fd=FIRST_EXTRA_FD, version=__version__, code_lifetime=config.code_lifetime
            ),
            fds=(control_fd,),
            sandbox=sandbox_profiles.GATEWAY,
            preload=True,
        ),
        ChildSpec(
            kind="discovery",
            entry=_entry("discovery"),
            config=DiscoveryConfig(
                runtime_dir=str(runtime_dir()),
                bootstrap=tuple(_peer_addresses(text) for text in config.bootstrap),
                same_host=config.same_host,
                mdns=config.mdns,
            ),
            sandbox=sandbox_profiles.discovery(runtime_dir() if config.same_host else None),
            preload=True,
        ),
        ChildSpec(
            kind="swarm",
            entry=_entry("swarm"),
            config=SwarmConfig(
                listen=config.listen or (DEFAULT_LISTEN,),
                default_port=not config.listen,
                announce=config.announce,
                dht_protocol=config.dht_protocol,
                dht_mode=config.dht_mode,
                lan_only=config.lan_only,
            ),
            sandbox=sandbox_profiles.SWARM,
        ),
    ]


def session_spec() -> ChildSpec:
    """Return what every pairing session runs."""
    return ChildSpec(
        kind="session",
        entry=_entry("session"),
        config=SessionConfig(),
        restart="transient",
        stepping=True,
        intensity=SESSION_INTENSITY,
        sandbox=sandbox_profiles.SESSION,
        preload=True,
        spare=True,
    )


def _entry(kind: str) -> str:
    return f"{__package__}.actors.{kind}:main"


def _peer_addresses(text: str) -> PeerAddresses:
    address, _, peer = text.rpartition("/p2p/")
    return PeerAddresses(peer=peer_id_from_text(peer), addresses=(address,))


class _Descriptors:
    """Open the control socket and the metrics socket, and register the node; undo it all at the end."""

    def __init__(self, config: NodeConfig, data_dir: Path, log: WriteLog) -> None:
        self._config, self._data_dir, self._log = config, data_dir, log
        self._sockets: list[socket.socket] = []

    def __enter__(self) -> tuple[Path, socket.socket, socket.socket | None]:
        try:
            self._control = (
                Path(self._config.control) if self._config.control else control_path(self._data_dir)
            )
            control = bind_control(self._control)
            self._sockets.append(control)
            metrics = self._bind_metrics()
            register_node(self._data_dir, self._control)
        except UnsafePathError as error:
            self._undo()
            raise NodeFailedError(str(error)) from None
        except OSError as error:
            self._undo()
            raise NodeFailedError(
                f"cannot register the node beside {self._control}: {error.strerror}"
            ) from None
        except BaseException:
            self._undo()
            raise
        return self._control, control, metrics

    def _undo(self) -> None:
        """A node that does not start leaves no socket behind; one that was bound by another stays."""
        if self._sockets:
            remove_control(self._control)
        self._close()

    def _bind_metrics(self) -> socket.socket | None:
        wanted = self._config.metrics_endpoint
        if wanted is None:
            return None
        host, port, is_wish = wanted
        try:
            listener = _listen(host, port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or not is_wish:
                raise NodeFailedError(
                    f"metrics cannot listen on {host}:{port}: {os.strerror(error.errno or 0)}; "
                    "choose another address with --metrics-listen, or --metrics-listen off"
                ) from None
            listener = _listen(host, 0)
            actual = listener.getsockname()[1]
            self._log("supervisor", "warning", "metrics port taken", {"wanted": port, "instead": actual})
        self._sockets.append(listener)
        return listener

    def __exit__(self, *_: object) -> None:
        unregister_node(self._data_dir, self._control)
        self._close()

    def _close(self) -> None:
        for listener in self._sockets:
            listener.close()


def _listen(host: str, port: int) -> socket.socket:
    family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, proto)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_METRICS_BACKLOG)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


def _allow_descriptors(max_sessions: int, log: WriteLog) -> None:
    """Raise the soft limit of this process as far as its sessions need; its actors have their own."""
    needed = _OWN_DESCRIPTORS + _SESSION_DESCRIPTORS * max_sessions
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < needed:
        sessions = max(allowed - _OWN_DESCRIPTORS, 0) // _SESSION_DESCRIPTORS
        log("supervisor", "warning", "open files are limited: fewer sessions", {"sessions": sessions})


def _fileno(listener: socket.socket | None) -> int | None:
    return None if listener is None else listener.fileno()


async def _watch_signals(stop: trio.Event, log: WriteLog) -> None:
    numbers = [signal.SIGTERM, signal.SIGINT]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup: it outlives its terminal
        numbers.append(signal.SIGHUP)
    with trio.open_signal_receiver(*numbers) as signals:
        async for number in signals:
            if stop.is_set():
                continue  # already stopping, which takes five seconds at most
            log("supervisor", "info", "stopping", {"signal": signal.Signals(number).name})
            stop.set()


async def _watch_lifeline(stop: trio.Event) -> None:
    async with trio.lowlevel.FdStream(os.dup(sys.stdin.fileno())) as stdin:
        while await stdin.receive_some(4096):
            pass
    stop.set()


async def _announce_ready(
    control: Path, metrics_socket: socket.socket | None, ready: Callable[[Ready], None], log: WriteLog
) -> None:
    """Ask the gateway, as any client does, until the node listens; say now and then what is missing."""
    status: NodeStatus | None = None
    said = trio.current_time()
    while status is None or not (status.peer and status.addresses):
        try:
            async with open_client(control) as client:
                status = await client.status()
                while not (status.peer and status.addresses):
                    if trio.current_time() - said > _STILL_STARTING:
                        said = trio.current_time()
                        log("supervisor", "warning", "still starting", {"missing": "; ".join(status.missing)})
                    await trio.sleep(_READY_POLL)
                    status = await client.status()
        except (NodeGoneError, NoNodeRunningError):
            await trio.sleep(_READY_POLL)
    ready(
        Ready(
            name=status.name,
            peer=status.peer,
            addresses=status.addresses,
            control=str(control),
            metrics=_endpoint(metrics_socket),
        )
    )


def _endpoint(listener: socket.socket | None) -> str | None:
    if listener is None:
        return None
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
