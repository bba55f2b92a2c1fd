"""The blocking client, for programs of threads: the same methods as the asynchronous one, without `await`.

Every object may be used by several threads at once. Owns one thread for each open client or node, in which an
event loop runs the asynchronous client (client/node_client.py); holds no protocol of its own. See
docs/interfaces.md, "Python".

A thread that waits is woken by the end of the block: what still waits then, and what is called later,
raises NodeGoneError. Ctrl-C in a thread that waits gives up what it waits for. Where a method takes
`wait_seconds`, it raises TimeoutError after so long, and nothing at the node has changed by that.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path
from typing import Generic, TypeVar

from anyio.from_thread import BlockingPortal, start_blocking_portal

from .client import embedded, node_client
from .client.errors import NodeEndedError, NodeGoneError
from .client.pairing import Code, Confirmation
from .client.pairing import Pairing as AsyncPairing
from .config.settings import NodeConfig
from .messages.control_protocol import NodeStatus, SessionState
from .messages.to_gateway import ActorInfo, Device, ReloadReport
from .messages.types import Role

__all__ = ["Node", "NodeClient", "Pairing", "open_client", "open_node"]

_T = TypeVar("_T")


class _Loop:
    """The thread with the event loop, as other threads use it."""

    def __init__(self, portal: BlockingPortal) -> None:
        self._portal = portal

    def call(self, make: Callable[[], Awaitable[_T]], wait_seconds: float | None = None) -> _T:
        """Run what `make` returns in the loop and wait for its result. Raises NodeGoneError at its end."""
        try:
            future = self._portal.start_task_soon(make)
        except RuntimeError:
            raise NodeGoneError("this client is closed") from None
        try:
            return future.result(wait_seconds)
        except CancelledError:
            raise NodeGoneError("this client is closed") from None
        except BaseException:
            future.cancel()  # Ctrl-C, or too long a wait; without effect on what has ended
            raise

    def run(self, function: Callable[[], _T]) -> _T:
        """Run a function that does not wait in the loop. Raises NodeGoneError at its end."""

        async def call() -> _T:
            return function()

        return self.call(call)


class _BlockingIterator(Iterator[_T], Generic[_T]):
    """An asynchronous iterator as threads use it; each of its values goes to one of them."""

    def __init__(self, loop: _Loop, values: AsyncIterator[_T]) -> None:
        self._loop = loop
        self._values = values

    def __next__(self) -> _T:
        try:
            return self._loop.call(self._values.__anext__)
        except StopAsyncIteration:
            raise StopIteration from None


class Pairing:
    """One pairing session of the node, from either side; as spacedrive_node.Pairing."""

    def __init__(self, loop: _Loop, pairing: AsyncPairing) -> None:
        self._loop = loop
        self._pairing = pairing

    @property
    def id(self) -> str:
        """Names the session on its node: 16 hex digits."""
        return self._pairing.id

    @property
    def role(self) -> Role:
        """`initiator` shows the code, `joiner` enters it."""
        return self._pairing.role

    @property
    def state(self) -> SessionState:
        """The newest state that has arrived."""
        return self._pairing.state

    @property
    def code(self) -> Code:
        """The code to show. Raises LookupError when this side shows none."""
        return self._pairing.code

    def states(self, *, history: bool = False) -> Iterator[SessionState]:
        """Yield the present state, then each that follows, up to the one that has an `outcome`."""
        return _BlockingIterator(self._loop, self._loop.run(lambda: self._pairing.states(history=history)))

    def confirmation(self, *, wait_seconds: float | None = None) -> Confirmation:
        """Wait until the other device has proved itself. Raises PairingFailedError, NodeGoneError."""
        return self._loop.call(self._pairing.confirmation, wait_seconds)

    def paired(self, *, accept: bool = False, wait_seconds: float | None = None) -> SessionState:
        """Wait for the end and return the last state. Raises PairingFailedError, NodeGoneError."""
        return self._loop.call(lambda: self._pairing.paired(accept=accept), wait_seconds)

    def accept(self) -> None:
        """Trust the device shown first. The first decision is final. Raises ControlError, NodeGoneError."""
        self._loop.call(self._pairing.accept)

    def reject(self) -> None:
        """Refuse the device shown. The first decision is final. Raises ControlError, NodeGoneError."""
        self._loop.call(self._pairing.reject)

    def cancel(self) -> None:
        """Give the pairing up. Raises ControlError `already_decided` after a decision, NodeGoneError."""
        self._loop.call(self._pairing.cancel)


class NodeClient:
    """A connection with a running node; from :func:`open_client`. As spacedrive_node.NodeClient."""

    def __init__(self, loop: _Loop, client: node_client.NodeClient) -> None:
        self._loop = loop
        self._client = client

    def watch_connection(self, watch: Callable[[bool], None]) -> None:
        """Have `watch` called with False when the connection is lost, and with True when it is back.

        It is called in the client's own thread, must be quick, and must not call the client.
        """
        self._loop.run(lambda: self._client.watch_connection(watch))

    def start_pairing(self, lifetime: float | None = None) -> Pairing:
        """Show a new code that lives `lifetime` seconds (60 to 3600; None: as the node is configured)."""
        return Pairing(self._loop, self._loop.call(lambda: self._client.start_pairing(lifetime)))

    def join_pairing(self, text: str, timeout: float = 60) -> Pairing:
        """Enter a code: twelve words or a QR text; search `timeout` seconds. ControlError `bad_code`."""
        return Pairing(self._loop, self._loop.call(lambda: self._client.join_pairing(text, timeout)))

    def session(self, id: str) -> Pairing:
        """Return the session with that id, running or lately ended. ControlError `no_such_session`."""
        return Pairing(self._loop, self._loop.call(lambda: self._client.session(id)))

    def sessions(self) -> list[SessionState]:
        """Return the sessions that run, oldest first, and those lately ended, without their QR texts."""
        return self._loop.call(self._client.sessions)

    def all_states(self) -> Iterator[SessionState]:
        """Yield the present state of every session, and then each change of any of them, without an end."""
        return _BlockingIterator(self._loop, self._loop.run(self._client.all_states))

    def devices(self) -> list[Device]:
        """Return every trusted device, in order of device id."""
        return self._loop.call(self._client.devices)

    def all_devices(self) -> Iterator[list[Device]]:
        """Yield the list of all devices, and again each time it has changed, without an end."""
        return _BlockingIterator(self._loop, self._loop.run(self._client.all_devices))

    def rename(self, device_id: bytes, name: str) -> None:
        """Give a trusted device another name. ControlError `no_such_device`, `invalid_name`."""
        self._loop.call(lambda: self._client.rename(device_id, name))

    def forget(self, device_id: bytes) -> None:
        """Trust a device no longer. ControlError `no_such_device`."""
        self._loop.call(lambda: self._client.forget(device_id))

    def status(self) -> NodeStatus:
        """Return the node's addresses, reachability, sessions and readiness."""
        return self._loop.call(self._client.status)

    def actors(self) -> Sequence[ActorInfo]:
        """Return the processes of the node, in order of start."""
        return self._loop.call(self._client.actors)

    def reload(self, *, check: bool = False, wait_seconds: float | None = None) -> ReloadReport:
        """Have the node read its settings again and change what differs, all of it or nothing.

        `check`: only say what would change. Raises ReloadFailedError. After `wait_seconds` it may go on.
        """
        return self._loop.call(lambda: self._client.reload(check=check), wait_seconds)

    def shutdown(self) -> None:
        """Drain and stop the node; returns when it has agreed, or is no longer there."""
        self._loop.call(self._client.shutdown)


class Node(NodeClient):
    """A running node that this program has started; from :func:`open_node`. As spacedrive_node.Node."""

    def __init__(self, loop: _Loop, node: embedded.Node) -> None:
        super().__init__(loop, node)
        self._node = node
        self.name = node.name
        self.peer_id = node.peer_id
        self.addresses = node.addresses
        self.control = node.control
        self.metrics = node.metrics
        """`HOST:PORT` of the metrics, None when there are none."""
        self.page, self.page_token = node.page, node.page_token
        """Address of the page and what it asks for; None when there is no page, or its token is in a file."""

    @property
    def end(self) -> NodeEndedError | None:
        """How the node has ended, with its exit code and last words; None while it runs."""
        return self._node.end

    def wait_ended(self, *, wait_seconds: float | None = None) -> NodeEndedError:
        """Wait until the node has ended, and return how. It may do so by itself, or by `shutdown`."""
        return self._loop.call(self._node.wait_ended, wait_seconds)


@contextmanager
def open_client(control: Path) -> Iterator[NodeClient]:
    """Connect with the node whose control socket is `control`. Raises NoNodeRunningError."""
    with _running(node_client.open_client(control)) as (loop, client):
        yield NodeClient(loop, client)


@contextmanager
def open_node(
    config: NodeConfig,
    *,
    passphrase: bytes | None = None,
    on_log: Callable[[str], None] | None = None,
    log_fd: int | None = None,
) -> Iterator[Node]:
    """Run a node while the block runs; as spacedrive_node.open_node.

    `on_log` is called in the node's own thread; what it raises is raised at the end of the block. Raises
    NodeStartError, and ValueError for an impossible passphrase.
    """
    manager = embedded.open_node(config, passphrase=passphrase, on_log=on_log, log_fd=log_fd)
    with _running(manager) as (loop, node):
        yield Node(loop, node)


@contextmanager
def _running(manager: AbstractAsyncContextManager[_T]) -> Iterator[tuple[_Loop, _T]]:
    """Run an asynchronous context manager in an event loop of its own, while the block runs."""
    with start_blocking_portal("asyncio") as portal:
        try:
            with portal.wrap_async_context_manager(manager) as value:
                yield _Loop(portal), value
        finally:
            # What other threads still wait for ends here, and nothing keeps the loop.
            portal.call(portal.stop, True)
