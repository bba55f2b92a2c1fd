"""Composition: which actors a node has, and with which configuration (docs/architecture.md, "The tree").

Owns the signals of the supervisor's process. The sockets that outlive actors are config/node_sockets.py's,
what each actor may do is sandbox_profiles.py's, what is told of the node's state is node_status.py's, and how
another configuration takes effect is node_reload.py's.
Decides nothing about pairings.
"""

import os
import resource
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

import trio

from . import __version__, sandbox_profiles
from .config.multiaddrs import named_peers
from .config.node_sockets import NodeSocketError, NodeSockets
from .config.page_token import PageTokenError, page_token
from .config.paths import UnsafePathError, default_data_dir, readable_by_others, runtime_dir
from .config.settings import NodeConfig
from .logs import WriteLog
from .messages.actor_configs import (
    DiscoveryConfig,
    GatewayConfig,
    LanConfig,
    MetricsConfig,
    SessionConfig,
    SwarmConfig,
    VaultConfig,
    WebConfig,
    page_token_digest,
)
from .node_reload import Reloader, SettingsSource
from .node_status import Ready, ready_line, report_status
from .open_files import raise_descriptor_limit
from .supervisor.child_specs import FIRST_EXTRA_FD, SESSION_INTENSITY, ChildSpec
from .supervisor.libc import set_dumpable
from .supervisor.process_spawner import ProcessSpawner
from .supervisor.reload_desk import ReloadDesk
from .supervisor.spawner import Spawner
from .supervisor.systemd_notify import ServiceManager
from .supervisor.tree import NodeFailedError, run_tree

_REGISTER_INTERVAL_S = 2.0
__all__ = ["NodeFailedError", "Ready", "run_node", "serve"]


async def run_node(
    config: NodeConfig,
    *,
    ready: Callable[[Ready], None],
    log: WriteLog,
    lifeline: bool = False,
    passphrase_fd: int | None = None,
    settings: SettingsSource | None = None,
) -> None:
    """Run a node in this process until a signal stops it, or with `lifeline` until standard input ends.

    Signals are SIGTERM, SIGINT, and SIGHUP, the end of the terminal: unless it is ignored (nohup), and where
    there is no terminal it has the settings read again. They come from `settings`; without, no reload is
    possible. `ready` is called once, when the node listens. `passphrase_fd` is a descriptor that holds the
    passphrase of the identity, which only the vault reads (VaultConfig). Raises NodeFailedError with a text
    for the user when the node cannot run: a port or data directory in use, a damaged identity, an actor that
    keeps dying.
    """
    # No core dump of this process, or of any that it starts: they would hold keys.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    set_dumpable(False)
    max_sessions = raise_descriptor_limit(config.max_sessions, log)
    stop, reloads = trio.Event(), ReloadDesk()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_watch_signals, stop, reloads, log)
        on_ready, on_status = ready, None
        if lifeline:
            nursery.start_soon(_watch_lifeline, stop)
        else:  # otherwise the service, if there is one, is the program that started this node
            on_ready, on_status = _notify_service_manager(nursery, stop, reloads, ready)
        await serve(
            config,
            spawner=ProcessSpawner(),
            stop=stop,
            ready=on_ready,
            log=log,
            passphrase_fd=passphrase_fd,
            on_status=on_status,
            settings=settings,
            reloads=reloads,
            max_sessions=max_sessions,
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
    on_status: Callable[[str], None] | None = None,
    settings: SettingsSource | None = None,
    reloads: ReloadDesk | None = None,
    max_sessions: int | None = None,
) -> None:
    """Run a node whose actors are started by `spawner`, until `stop` is set. Raises NodeFailedError.

    Clients, and `reloads`, have `settings` read again. Once it is ready, `on_status` is called every few
    seconds with a line that says how the node is. `max_sessions`: fewer than configured may run at once.
    """
    if problems := config.contradictions():
        raise NodeFailedError("\n".join(text for _key, text in problems))
    data_dir = Path(config.data_dir) if config.data_dir else default_data_dir()
    try:
        token = page_token(config)
    except PageTokenError as error:
        raise NodeFailedError(str(error), is_temporary=error.is_temporary) from None
    token_file = config.web_token_file
    if token is not None and token_file is not None and readable_by_others(token_file):
        log("supervisor", "warning", "page token is readable by all users", {"file": token_file})
    with ExitStack() as stack:
        node_sockets = NodeSockets(config, data_dir)
        try:
            sockets = stack.enter_context(node_sockets)
        except NodeSocketError as error:
            raise NodeFailedError(str(error), is_temporary=error.is_temporary) from None
        if sockets.taken_port is not None and sockets.metrics is not None:
            ports = {"wanted": sockets.taken_port, "instead": sockets.metrics.getsockname()[1]}
            log("supervisor", "warning", "metrics port taken", ports)
        page = None if sockets.web is None or token is None else page_spec(sockets.web.fileno(), token)
        made_token = None if token_file else token

        def compose(config: NodeConfig, metrics: socket.socket | None) -> list[ChildSpec]:
            metrics_fd = None if metrics is None else metrics.fileno()
            control_fd = sockets.control.fileno()
            specs = child_specs(config, data_dir, control_fd, metrics_fd, passphrase_fd=passphrase_fd)
            return specs if page is None else [*specs, page]

        reloads = reloads or ReloadDesk()
        if settings is not None:
            limit_files = partial(raise_descriptor_limit, log=log)
            reloads.carry_out = Reloader(
                config, sockets.metrics, settings, compose, node_sockets, limit_files, log
            ).reload
        async with trio.open_nursery() as nursery:
            nursery.start_soon(report_status, node_sockets, sockets, made_token, ready, log, on_status)
            nursery.start_soon(_keep_sockets, node_sockets, log)
            await run_tree(
                compose(config, sockets.metrics),
                session_spec(),
                spawner=spawner,
                max_sessions=max_sessions or config.max_sessions,
                on_log=log,
                stop=stop,
                debug=config.log_level == "debug",
                reloads=reloads,
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
    """Return the actors of which there is one each, in the order in which they start.

    `control_fd`, `metrics_fd` and `passphrase_fd` are this process's; a child gets its own as FIRST_EXTRA_FD.
    """
    specs = [
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
            sandbox=sandbox_profiles.vault_sandbox(data_dir, sealed=passphrase_fd is not None),
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
                socket_fd=FIRST_EXTRA_FD,
                version=__version__,
                code_lifetime=config.code_lifetime,
                mdns=config.mdns and not config.offline,
                lan_only=config.lan_only,
                offline=config.offline,
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
                bootstrap=named_peers(config.bootstrap_addresses),
                same_host=config.same_host,
                mdns=config.mdns and not config.offline,
            ),
            sandbox=sandbox_profiles.discovery_sandbox(runtime_dir() if config.same_host else None),
            preload=True,
        ),
        ChildSpec(
            kind="swarm",
            entry=_swarm_entry(config),
            config=SwarmConfig(
                listen=config.listen_addresses,
                default_port=not config.listen,
                announce=config.announce,
                dht_protocol=config.used_dht_protocol,
                dht_mode=config.dht_mode,
                lan_only=config.lan_only,
                offline=config.offline,
                public=config.public,
                name_servers=config.dns,
                port_mapping=config.maps_ports,
                relays=named_peers(config.relay),
                relay_service=config.relay_service,
                websocket=config.uses_websocket,
                webrtc=config.uses_webrtc,
                websocket_path=config.websocket_path,
                websocket_proxies=config.websocket_proxies,
                tls_certificate=config.tls_certificate,
                tls_key=config.tls_key,
                tls_ca=config.tls_ca,
            ),
            sandbox=sandbox_profiles.swarm_sandbox(
                [file for file in (config.tls_certificate, config.tls_key, config.tls_ca) if file],
                offline=config.offline,
            ),
        ),
    ]
    if config.needs_lan:
        specs.insert(
            -1,
            ChildSpec(
                kind="lan",
                entry=_entry("lan"),
                config=LanConfig(mdns=config.mdns and not config.offline, port_mapping=config.maps_ports),
                sandbox=sandbox_profiles.LAN,
                preload=True,
                takes_back=True,
            ),
        )
    return specs


def page_spec(socket_fd: int, token: str) -> ChildSpec:
    """Return the actor of the page, the last to start. The node goes on without one that keeps dying."""
    run = os.urandom(8).hex()
    return ChildSpec(
        kind="web",
        entry=_entry("web"),
        config=WebConfig(socket_fd=FIRST_EXTRA_FD, run=run, token_digest=page_token_digest(token.encode())),
        restart="transient",
        fds=(socket_fd,),
        sandbox=sandbox_profiles.WEB,
        preload=True,
    )


def session_spec() -> ChildSpec:
    """Return the specification that all pairing sessions have in common."""
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
    """Return where the fork server finds the actor: `module:attribute`.

    The attribute is called with the channel. Each actor's package sets it to an async function, which runs
    on trio, or to a SteppingEntry, which needs no event loop (docs/decisions/0007-sessions-without-a-
    loop.md).
    """
    return f"{__package__}.actors.{kind}:main"


_SWARM_ENTRIES = {
    (False, False, False): "swarm",
    (True, False, False): "swarm.quic",
    (False, True, False): "swarm.websocket",
    (True, True, False): "swarm.websocket.with_quic",
    (False, False, True): "swarm.webrtc",
    (True, False, True): "swarm.webrtc.with_quic",
    (False, True, True): "swarm.webrtc.with_websocket",
    (True, True, True): "swarm.webrtc.with_both",
}
"""By whether QUIC, WebSocket and WebRTC are used."""


def _swarm_entry(config: NodeConfig) -> str:
    """Return the entry that imports the transports of the swarm, which it cannot do once in its sandbox."""
    return _entry(_SWARM_ENTRIES[config.uses_quic, config.uses_websocket, config.uses_webrtc])


async def _watch_signals(stop: trio.Event, reloads: ReloadDesk, log: WriteLog) -> None:
    has_terminal = _has_terminal()
    numbers = [signal.SIGTERM, signal.SIGINT]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # under nohup it is ignored, and stays so
        numbers.append(signal.SIGHUP)
    with trio.open_signal_receiver(*numbers) as signals:
        async for number in signals:
            if stop.is_set():
                continue  # already stopping, which takes five seconds at most
            if number == signal.SIGHUP and not has_terminal:
                reloads.ask_by_signal()
                continue
            log("supervisor", "info", "stopping", {"signal": signal.Signals(number).name})
            stop.set()


def _has_terminal() -> bool:
    """Return whether this process has a controlling terminal, so that SIGHUP means that it has ended."""
    with suppress(OSError):
        os.close(os.open(os.ctermid(), os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
        return True
    return False


def _notify_service_manager(
    nursery: trio.Nursery, stop: trio.Event, reloads: ReloadDesk, ready: Callable[[Ready], None]
) -> tuple[Callable[[Ready], None], Callable[[str], None] | None]:
    """Have the service manager told how the node is.

    Return what to call when it is ready, and then with its status; None: nobody wants to know.
    """
    service_manager = ServiceManager()
    nursery.start_soon(service_manager.run, stop)
    reloads.on_change = service_manager.reloading

    def on_ready(line: Ready) -> None:
        service_manager.ready(ready_line(line.addresses))
        ready(line)

    return on_ready, service_manager.status if service_manager.is_there else None


async def _watch_lifeline(stop: trio.Event) -> None:
    """Set `stop` when standard input ends, that is when the program that started this node has ended."""
    async with trio.lowlevel.FdStream(os.dup(sys.stdin.fileno())) as stdin:
        while await stdin.receive_some(4096):
            pass
    stop.set()


async def _keep_sockets(sockets: NodeSockets, log: WriteLog) -> None:
    """Look after the control socket's file and the node's record, which a cleaner may remove."""
    problem = ""
    while True:
        await trio.sleep(_REGISTER_INTERVAL_S)  # there is no event for it that works on every file system
        former, problem = problem, ""
        try:
            for what in sockets.keep():
                log("supervisor", "warning", "runtime file was removed, made again", {"what": what})
        except (OSError, UnsafePathError) as error:
            problem = str(error)
        if problem and problem != former:
            log("supervisor", "warning", "commands may not find this node any more", {"reason": problem})
