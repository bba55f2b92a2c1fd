"""The fork server: `python -m spacedrive_node.supervisor.fork_server FD PARENT MODULE,MODULE`.

Owns forking, and the knowledge of how each child ended. Single-threaded, runs trio only to warm it up, holds
no message and no key. Dies with its supervisor, and its children with it (docs/architecture.md, "The tree").

    FD       a SOCK_SEQPACKET socket: one request or reply in each packet, descriptors beside it
    PARENT   the pid of the supervisor, which must have started this with subprocess.Popen on a thread that
             lives as long as it does: the kernel ties the end of a child to the thread that made it
    MODULE   what to import, and warm up, before the first fork: what many children need

A sandboxed child cannot import any more. So before it enters, its module is imported, and if that has a
function `warm_up`, it is called, so that its libraries have imported all they ever will.

What was imported and has run here is cheaper in every child: both write into pages all over the heap (the
interpreter adapts code as it runs), and each page that a child writes into is one that it no longer shares.
"""

import fcntl
import gc
import os
import resource
import select
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import NoReturn

import trio

from ..messages.base import Decoder, encode
from ..messages.child_protocol import Log, Ping, decode_to_child
from .actor_entry import CRASHED, Entry, Served, crash_report, load_entry, run_entry, warm_up
from .channel import BlockingChannel, Channel
from .child_specs import FIRST_EXTRA_FD
from .fork_protocol import LARGEST, MAX_FDS, Exited, Fork, Forked, ForkFailed, Serving
from .libc import die_with_parent, set_dumpable
from .namespaces import make_namespaces
from .sandbox import enter_sandbox, severity
from .seccomp import filter_for

_CHANNEL_FD = 3
_ASIDE = 200
"""Descriptors are moved above this before they get their final numbers."""
_ACCOUNT_GRACE = 1.0
"""Seconds for a child's very first step."""
_TURNS = 12
"""Runs after which the interpreter has adapted nearly all that it adapts (measured: fewer pages written)."""
_SMALLEST, _LARGEST, _GRAIN = 48, 512, 16
"""Bytes of the objects that the interpreter's allocator puts together by size, but the smallest."""
_HEADER = 33
"""Bytes of an empty bytes object."""
_FILL = 32 * 1024
"""Bytes for each size: a little more than there is room in the gaps."""
_filling: list[bytes] = []
_decode_fork: Decoder[Fork] = Decoder(Fork)
_PRELOAD = (
    "traceback",
    "encodings.ascii",
    "encodings.idna",
    "encodings.latin_1",
    "spacedrive_node.actors.base",
)


def serve(control: socket.socket) -> NoReturn:
    """Fork on request and report every exit, until the supervisor is gone."""
    readable, writable = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(writable)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    namespaces = _set_aside(make_namespaces())
    _send_fds(control, encode(Serving()), _open_account())
    gc.disable()
    gc.collect()
    _filling.extend(_fill_gaps())
    gc.freeze()  # or the first collection in a child would copy every page that it inherited
    while True:
        ready, _, _ = select.select([control.fileno(), readable], [], [])
        try:
            if readable in ready:
                os.read(readable, 4096)
                _report_exits(control)
            if control.fileno() in ready:
                _serve_request(control, namespaces)
        except ConnectionError:
            os._exit(0)


def _fill_gaps() -> Iterator[bytes]:
    """Yield objects that fill the gaps which imports have left in the heap, for as long as they are kept.

    A child's own objects would come to lie there, one here and one there, each on a page that it then no
    longer shares (measured: 0.2 MiB of each child, and a millisecond of its start).
    """
    for size in range(_SMALLEST, _LARGEST + 1, _GRAIN):
        for _ in range(_FILL // size):
            yield bytes(size - _HEADER)


def _report_exits(control: socket.socket) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        control.send(encode(Exited(pid, os.waitstatus_to_exitcode(status))))


def _serve_request(control: socket.socket, namespaces: Sequence[int]) -> None:
    data, fds, _, _ = socket.recv_fds(control, LARGEST, MAX_FDS, socket.MSG_CMSG_CLOEXEC)
    if not data:
        os._exit(0)
    request = _decode_fork(data)
    parent = os.getpid()
    _prepare(request)
    try:
        told, tell = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with told, tell:
            pid = os.fork()
            if pid == 0:
                told.close()
                _child(request, fds, parent, namespaces, tell)
            pidfd = os.pidfd_open(pid)
            tell.close()
            account = _take_account(told)
    except OSError as error:
        control.send(encode(ForkFailed(request.number, error.errno or 0)))
    else:
        _send_fds(control, encode(Forked(request.number, pid)), [pidfd, *account])
    finally:
        for fd in fds:
            os.close(fd)


def _prepare(request: Fork) -> None:
    """Do here, once, what each child of that kind would have to do again."""
    if request.sandbox is not None:
        with suppress(OSError):  # it says so itself
            filter_for(request.sandbox)


def _send_fds(sock: socket.socket, data: bytes, fds: list[int]) -> None:
    """Send descriptors and close them here."""
    socket.send_fds(sock, [data], fds)
    for fd in fds:
        os.close(fd)


def _open_account() -> list[int]:
    """Open this process's account of its memory; a process that cannot be dumped shows it to itself alone."""
    try:
        return [os.open("/proc/self/smaps_rollup", os.O_RDONLY | os.O_CLOEXEC)]
    except OSError:  # before Linux 4.14
        return []


def _take_account(told: socket.socket) -> list[int]:
    """Take a child's account of its memory; nothing if it does not come, whatever has become of the child."""
    told.settimeout(_ACCOUNT_GRACE)
    try:
        return list(socket.recv_fds(told, 1, 1, socket.MSG_CMSG_CLOEXEC)[1])
    except OSError:
        return []


def _child(
    request: Fork, fds: list[int], parent: int, namespaces: Sequence[int], tell: socket.socket
) -> NoReturn:
    status = CRASHED
    try:
        die_with_parent(parent)
        with tell, suppress(OSError):  # the fork server has not waited so long
            _send_fds(tell, b"m", _open_account())
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        _place_descriptors(fds, len(namespaces))
        gc.enable()
        status = _run(request, parent, namespaces)
    except BaseException:  # nothing may return into the fork server's loop
        os._exit(CRASHED)
    os._exit(status)


def _set_aside(fds: Sequence[int]) -> Sequence[int]:
    """Move descriptors out of the way of those of a child, one after another from _ASIDE on."""
    for number, fd in enumerate(fds, _ASIDE):
        os.dup2(fd, number, inheritable=False)
        os.close(fd)
    return range(_ASIDE, _ASIDE + len(fds))


def _place_descriptors(fds: list[int], aside: int) -> None:
    """Leave /dev/null as 0 to 2, the channel as 3, the others from 10 on, so many aside, and nothing else."""
    first = _ASIDE + aside
    moved = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, first) for fd in fds]
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    os.dup2(moved[0], _CHANNEL_FD, inheritable=False)
    os.closerange(_CHANNEL_FD + 1, FIRST_EXTRA_FD)
    for number, fd in enumerate(moved[1:], FIRST_EXTRA_FD):
        os.dup2(fd, number, inheritable=False)
    os.closerange(FIRST_EXTRA_FD + len(fds) - 1, _ASIDE)
    os.closerange(first, resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def _run(request: Fork, parent: int, namespaces: Sequence[int]) -> int:
    """Run the actor, on trio unless it needs no event loop; return the exit status."""
    sock = socket.socket(fileno=_CHANNEL_FD)
    channel = BlockingChannel(sock, decode_to_child)
    try:
        entry = load_entry(request.entry)
        if request.sandbox is not None:
            warm_up(request.entry.partition(":")[0])

        def give_up() -> Log | None:
            """Enter the sandbox: after the imports, and after the start of trio, both of which open files."""
            if request.sandbox is None:
                return None
            applied = enter_sandbox(request.sandbox, parent, namespaces)
            for fd in namespaces:
                os.close(fd)
            return Log(level=severity(request.sandbox, applied), event="sandbox", fields={**applied})

        if not isinstance(entry, Served):
            return trio.run(_on_trio, entry, sock, give_up)
        if (log := give_up()) is not None:
            channel.send(log)
        entry.serve(channel)
    except trio.EndOfChannel:
        return 0
    except Exception as error:  # the top of the process: whatever it is, the supervisor must be told
        channel.send(crash_report(error))
        return CRASHED
    return 0


async def _on_trio(entry: Entry, sock: socket.socket, give_up: Callable[[], Log | None]) -> int:
    channel = Channel(trio.SocketStream(trio.socket.from_stdlib_socket(sock)), decode_to_child)
    if (log := give_up()) is not None:
        await channel.send(log)
    return await run_entry(lambda: entry, channel)


async def _talk() -> None:
    """Do what every actor on trio does: wait, with a limit, for a frame that another task sends."""
    ends = [trio.socket.from_stdlib_socket(end) for end in socket.socketpair()]
    here, there = (Channel(trio.SocketStream(end), decode_to_child) for end in ends)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(here.send, Ping())
        with trio.move_on_after(1):
            await there.receive()
    for channel in (here, there):
        await channel.aclose()


def main(arguments: list[str]) -> NoReturn:
    """Import what is to be shared by all children, then serve."""
    fd, parent, modules = int(arguments[0]), int(arguments[1]), arguments[2]
    die_with_parent(parent)
    set_dumpable(False)  # its children will hold keys, and have all that it has
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # a terminal or service manager means the supervisor
    for _ in range(_TURNS):  # first, for whatever is imported later fills the gaps that it leaves in the heap
        trio.run(_talk)
    for module in (*_PRELOAD, *filter(None, modules.split(","))):
        warm_up(module)
    serve(socket.socket(fileno=fd))


if __name__ == "__main__":
    main(sys.argv[1:])
