"""The sockets of a node that outlive its actors: those of control, metrics and the page.

The supervisor's process opens them before any actor exists and hands copies to the gateway, metrics and web,
at each of their starts: so a client that connects while one of them restarts waits and is not refused. Owns
opening them, the node's entry in the register of running nodes, and undoing both. Never accepts a
connection, and never writes to the log: node.py does.
"""

import errno
import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from ..messages.errors import ReportedError, is_temporary
from .control_socket import bind_control, remove_control
from .paths import (
    UnsafePathError,
    check_socket_path,
    control_path,
    expand_user,
    real_data_dir,
    remove_if_empty,
)
from .running_nodes import keep_registered, register_node, unregister_node
from .settings import NodeConfig

_HTTP_BACKLOG = 64


class NodeSocketError(ReportedError):
    """A socket cannot be opened, or the node not registered."""


class OpenSockets(NamedTuple):
    """The listening sockets of a node; `metrics` is None when no HTTP is wanted, `web` when no page is.

    `taken_port`: the metrics port that was wanted and is taken, so that `metrics` has another; else None.
    """

    control_path: Path
    control: socket.socket
    metrics: socket.socket | None
    taken_port: int | None
    web: socket.socket | None = None

    @property
    def metrics_endpoint(self) -> str | None:
        """`HOST:PORT` of the metrics, None when there are none."""
        return None if self.metrics is None else _endpoint_of(self.metrics)

    @property
    def page_address(self) -> str | None:
        """The address of the page for a browser, None when there is none."""
        return None if self.web is None else f"http://{_endpoint_of(self.web)}/"


def wanted_control(config: NodeConfig, data_dir: Path) -> Path:
    """Return where the control socket of a node is to be: as configured, or as follows from its data
    directory. Makes nothing. Raises UnsafePathError.
    """
    if config.control:
        return check_socket_path(Path(expand_user(config.control)))
    return control_path(data_dir)


class NodeSockets:
    """A context manager: opens the sockets and registers the node; closes and removes all of it at the end.

    Raises NodeSocketError. `keep` is called now and then in between.
    """

    def __init__(self, config: NodeConfig, data_dir: Path) -> None:
        self._config, self._data_dir = config, data_dir
        self._open: list[socket.socket] = []
        self._metrics_listener: socket.socket | None = None
        self._made: list[Path] = []

    def __enter__(self) -> OpenSockets:
        try:
            self._control_path = wanted_control(self._config, self._data_dir)
            self._make_control_directory()
            control = bind_control(self._control_path)
            self._open.append(control)
            metrics, taken_port = _bind_metrics(self._config)
            self._metrics_listener = metrics
            self._open += [] if metrics is None else [metrics]
            web = _bind_web(self._config)
            self._open += [] if web is None else [web]
            sockets = OpenSockets(self._control_path, control, metrics, taken_port, web)
            self._metrics = sockets.metrics_endpoint
            register_node(self._data_dir, self._control_path, self._metrics)
        except UnsafePathError as error:
            self._undo()
            raise NodeSocketError(str(error), is_temporary=error.is_temporary) from None
        except OSError as error:
            self._undo()
            raise NodeSocketError(
                f"cannot register the node beside {self._control_path}: {error.strerror}",
                is_temporary=is_temporary(error),
            ) from None
        except BaseException:
            self._undo()
            raise
        return sockets

    def open_metrics(self, config: NodeConfig) -> socket.socket | None:
        """Return a listening socket for metrics as another configuration wants it; None for no HTTP.

        It is the caller's until `replace_metrics`. Raises NodeSocketError.
        """
        return _bind_metrics(config)[0]

    def replace_metrics(self, listener: socket.socket | None) -> None:
        """Make a socket of `open_metrics` the node's, and close the one that it had."""
        if (former := self._metrics_listener) is not None:
            former.close()
            self._open.remove(former)
        self._open += [] if listener is None else [listener]
        self._metrics_listener = listener
        self._metrics = None if listener is None else _endpoint_of(listener)
        with suppress(OSError, UnsafePathError):  # `keep` says it if it lasts
            register_node(self._data_dir, self._control_path, self._metrics)

    @property
    def control_path(self) -> Path:
        """Where the control socket is now: it moves when the runtime directory does."""
        return self._control_path

    def keep(self) -> list[str]:
        """Make again what a cleaner of directories has removed; return what that was.

        A socket cannot be bound twice, so the control socket is another one then, under the same descriptor.
        The former is shut down: the gateway, which has a copy, notices, ends, and gets the new one. Raises
        OSError, UnsafePathError.
        """
        made = []
        if not os.path.lexists(self._control_path):
            self._listen_anew()
            made.append("control socket")
        if keep_registered(self._data_dir, self._control_path, self._metrics):
            made.append("runtime record")
        return made

    def _listen_anew(self) -> None:
        # Elsewhere than before if the runtime directory is another one now.
        self._control_path = wanted_control(self._config, self._data_dir)
        with bind_control(self._control_path) as new:
            control = self._open[0]
            former = socket.socket(fileno=os.dup(control.fileno()))
            os.dup2(new.fileno(), control.fileno(), inheritable=False)
        with former:
            former.shutdown(socket.SHUT_RDWR)

    def __exit__(self, *_: object) -> None:
        # Files that cannot be removed stay: nobody listens there, so they mislead nobody.
        with suppress(OSError, UnsafePathError):
            unregister_node(self._data_dir, self._control_path)
        self._close()

    def _make_control_directory(self) -> None:
        """Make the socket's directory if it is in the data directory, which the vault has not made yet."""
        data_dir = Path(real_data_dir(self._data_dir))
        directory = Path(real_data_dir(self._control_path.parent))
        if not directory.is_relative_to(data_dir):
            return
        missing = [one for one in (directory, *directory.parents) if not one.exists()]
        for one in reversed(missing):
            try:
                one.mkdir(mode=0o700)
            except OSError as error:
                raise UnsafePathError(
                    f"cannot make {one}: {error.strerror}", is_temporary=is_temporary(error)
                ) from None
            self._made.append(one)

    def _undo(self) -> None:
        """Leave no socket file of a node that does not start; one that another node has bound stays."""
        if self._open:
            remove_control(self._control_path)
        for directory in reversed(self._made):
            remove_if_empty(directory)
        self._close()

    def _close(self) -> None:
        for listener in self._open:
            listener.close()


def _bind_metrics(config: NodeConfig) -> tuple[socket.socket | None, int | None]:
    """Return the listening socket, and the port that was wanted if it was taken. Raises NodeSocketError."""
    wanted = config.metrics_endpoint
    if wanted is None:
        return None, None
    host, port, may_fall_back = wanted
    taken_port = None
    try:
        listener = _listen(host, port)
    except OSError as error:
        if error.errno != errno.EADDRINUSE or not may_fall_back:
            raise NodeSocketError(
                f"metrics cannot listen on {host}:{port}: {os.strerror(error.errno or 0)}; "
                "choose another address with --metrics-listen, or --metrics-listen off",
                is_temporary=is_temporary(error),
            ) from None
        listener, taken_port = _listen(host, 0), port
    return listener, taken_port


def _bind_web(config: NodeConfig) -> socket.socket | None:
    """Return the page's listening socket; None for no page. Raises NodeSocketError."""
    wanted = config.web_endpoint
    if wanted is None:
        return None
    host, port = wanted
    try:
        return _listen(host, port)
    except OSError as error:
        raise NodeSocketError(
            f"the page cannot listen on {host}:{port}: {os.strerror(error.errno or 0)}; "
            "choose another address with --web",
            is_temporary=is_temporary(error),
        ) from None


def _endpoint_of(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _listen(host: str, port: int) -> socket.socket:
    family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, proto)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_HTTP_BACKLOG)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener
