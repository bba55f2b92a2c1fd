"""The fork server: `python -m spacedrive_node.supervisor.fork_server FD PARENT MODULE,MODULE`.

A process that has imported what the actors need and forks one child for each request, so that an actor
starts in some milliseconds and shares most of its memory with the others. `sdnode actors` calls it
"zygote".

Owns forking, and the exit statuses of its children. Single-threaded; holds no message and no key. Dies with
its supervisor, and its children with it (docs/architecture.md, "The tree").

    FD       a SOCK_SEQPACKET socket: one request or reply in each packet, with descriptors attached
    PARENT   the pid of the supervisor, which must have started this with subprocess.Popen on a thread that
             lives as long as it does (fork_client.py)
    MODULE   what to import, and warm up, before the first fork: what many children need

A sandboxed child cannot import any more. So before it enters its sandbox, its module is imported, and if
that has a function `warm_up`, it is called: it has its libraries import what they would import at first
use.

What was imported and has run here is cheaper in every child. Both write into pages all over the heap (the
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

from ..messages.base import encode
from ..messages.child_protocol import Log, Ping, Pong, decode_to_child
from .actor_entry import CRASH_STATUS, BlockingEntry, Entry, crash_report, load_entry, run_entry, warm_up
from .channel import BlockingChannel, Channel
from .child_specs import FIRST_EXTRA_FD
from .fork_protocol import (
    MAX_FDS,
    MAX_PACKET_BYTES,
    Exited,
    Fork,
    Forked,
    ForkFailed,
    Serving,
    decode_request,
)
from .libc import die_with_parent, give_back_free_memory, set_dumpable
from .memory_handover import MemoryHandover, hand_over_memory_file, open_memory_file, send_fds
from .namespaces import make_namespaces
from .process_title import claim_title, set_command_name, set_title
from .sandbox import enter_sandbox, severity
from .seccomp import filter_for

_NAME = "zygote"
_CHANNEL_FD = 3
_FIRST_PARKED_FD = 200
"""Descriptors wait from this number on, while those of a child get their final numbers."""
_WARM_UP_RUNS = 12
"""Runs after which the interpreter has adapted nearly all that it adapts (measured: fewer pages written)."""
_MIN_OBJECT_BYTES, _MAX_OBJECT_BYTES, _OBJECT_STEP_BYTES = 48, 512, 16
"""The sizes by which the interpreter's allocator keeps small objects together, except the smallest."""
_BYTES_HEADER = 33
"""Size of an empty bytes object."""
_FILL_BYTES = 32 * 1024
"""For each size: a little more than there is room in the gaps."""
_fillers: list[bytes] = []
_PRELOAD = (
    "traceback",
    "encodings.ascii",
    "encodings.idna",
    "encodings.latin_1",
    "spacedrive_node.actors.base",
)


def serve(control: socket.socket) -> NoReturn:
    """Fork on request and report every exit, until the supervisor is gone."""
    claim_title()  # after the warm-ups, in which actors are started as in a child
    set_command_name(_NAME)
    set_title(_NAME)
    readable, writable = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(writable)  # each SIGCHLD writes a byte, which ends the select below
    signal.signal(signal.SIGCHLD, lambda *_: None)
    namespaces = _park(make_namespaces())
    stat = os.open("/proc/self/stat", os.O_RDONLY | os.O_CLOEXEC)
    try:
        send_fds(control, encode(Serving()), [stat, *open_memory_file()])
    except ConnectionError:  # the node was stopped while this one was starting
        os._exit(0)
    gc.disable()
    gc.collect()
    _fillers.extend(_fill_gaps())
    handover = MemoryHandover()
    gc.freeze()  # or the first collection in a child would copy every page that it inherited
    while True:
        waiting = [control.fileno(), readable, *handover.descriptors]
        ready, _, _ = select.select(waiting, [], [], handover.timeout())
        try:
            handover.receive()
            if readable in ready:
                os.read(readable, 4096)
                _report_exits(control)
            if control.fileno() in ready:
                _serve_request(control, namespaces, handover)
        except ConnectionError:
            os._exit(0)


def _fill_gaps() -> Iterator[bytes]:
    """Yield objects that fill the gaps which imports have left in the heap, for as long as they are kept.

    A child's own objects would come to lie there, one here and one there, each on a page that it then no
    longer shares (measured: 0.2 MiB of each child, and a millisecond of its start).
    """
    for size in range(_MIN_OBJECT_BYTES, _MAX_OBJECT_BYTES + 1, _OBJECT_STEP_BYTES):
        for _ in range(_FILL_BYTES // size):
            yield bytes(size - _BYTES_HEADER)


def _report_exits(control: socket.socket) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        control.send(encode(Exited(pid, os.waitstatus_to_exitcode(status))))


def _serve_request(control: socket.socket, namespaces: Sequence[int], handover: MemoryHandover) -> None:
    data, fds, _, _ = socket.recv_fds(control, MAX_PACKET_BYTES, MAX_FDS, socket.MSG_CMSG_CLOEXEC)
    if not data:
        os._exit(0)
    request = decode_request(data)
    if isinstance(request, Ping):
        control.send(encode(Pong()))
        return
    _build_filter(request)
    try:
        pid, receiver = _fork(request, fds, namespaces)
        pidfd = os.pidfd_open(pid)
    except OSError as error:
        control.send(encode(ForkFailed(request.number, error.errno or 0)))
    else:
        reply = encode(Forked(request.number, pid))
        handover.expect(receiver, lambda memory_file: send_fds(control, reply, [pidfd, *memory_file]))
    finally:
        for fd in fds:
            os.close(fd)


def _fork(request: Fork, fds: list[int], namespaces: Sequence[int]) -> tuple[int, socket.socket]:
    """Return the child's pid, and the socket on which it hands over its memory file. Raises OSError."""
    parent = os.getpid()
    receiver, sender = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with sender:
        try:
            pid = os.fork()
        except OSError:
            receiver.close()
            raise
        if pid == 0:
            receiver.close()
            _run_child(request, fds, parent, namespaces, sender)
    return pid, receiver


def _build_filter(request: Fork) -> None:
    """Build the seccomp program before the fork: `filter_for` caches it, and children inherit the cache."""
    if request.sandbox is not None:
        with suppress(OSError):  # the child reports it, as a step of its sandbox
            filter_for(request.sandbox)


def _run_child(
    request: Fork, fds: list[int], parent: int, namespaces: Sequence[int], sender: socket.socket
) -> NoReturn:
    """Be the child, from the fork to its exit."""
    status = CRASH_STATUS
    try:
        die_with_parent(parent)
        set_command_name(request.kind)
        set_title(request.title)
        hand_over_memory_file(sender)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        _place_descriptors(fds, len(namespaces))
        gc.enable()
        status = _run_actor(request, parent, namespaces)
    except BaseException:  # nothing may return into the fork server's loop
        os._exit(CRASH_STATUS)
    os._exit(status)


def _park(fds: Sequence[int]) -> Sequence[int]:
    """Move descriptors to the numbers from _FIRST_PARKED_FD on, one after another; return those numbers."""
    for number, fd in enumerate(fds, _FIRST_PARKED_FD):
        os.dup2(fd, number, inheritable=False)
        os.close(fd)
    return range(_FIRST_PARKED_FD, _FIRST_PARKED_FD + len(fds))


def _place_descriptors(fds: list[int], parked: int) -> None:
    """Give a child its final descriptors and close all others.

    0 to 2 are /dev/null, 3 is the channel, those of ChildSpec.fds follow from 10 on; the `parked` ones, which
    are namespaces, stay. The descriptors are first moved above all final numbers, so that none is overwritten
    before it has been placed.
    """
    first = _FIRST_PARKED_FD + parked
    moved = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, first) for fd in fds]
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    os.dup2(moved[0], _CHANNEL_FD, inheritable=False)
    os.closerange(_CHANNEL_FD + 1, FIRST_EXTRA_FD)
    for number, fd in enumerate(moved[1:], FIRST_EXTRA_FD):
        os.dup2(fd, number, inheritable=False)
    os.closerange(FIRST_EXTRA_FD + len(fds) - 1, _FIRST_PARKED_FD)
    os.closerange(first, resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def _run_actor(request: Fork, parent: int, namespaces: Sequence[int]) -> int:
    """Load the actor, enter its sandbox, run it; return the exit status.

    Here is decided what runs an actor, by what its entry is (`actors.<kind>:main`). A coroutine function
    needs an event loop: trio. An object with a `serve` method (actor_entry.BlockingEntry) waits for nothing
    but its channel and the time: it gets a blocking channel and no loop. Starting trio would cost a forked
    child some 450 pages that it otherwise shares (docs/decisions/0007), and there is one such child for
    each pairing.
    """
    sock = socket.socket(fileno=_CHANNEL_FD)
    channel = BlockingChannel(sock, decode_to_child)
    try:
        entry = load_entry(request.entry)
        if request.sandbox is not None and warm_up(request.entry.partition(":")[0]):
            give_back_free_memory()

        def give_up_rights() -> Log | None:
            """Enter the sandbox: after the imports and after the start of trio, both of which open files."""
            if request.sandbox is None:
                return None
            applied = enter_sandbox(request.sandbox, parent, namespaces)
            for fd in namespaces:
                os.close(fd)
            return Log(level=severity(request.sandbox, applied), event="sandbox", fields={**applied})

        if not isinstance(entry, BlockingEntry):
            return trio.run(_run_on_trio, entry, sock, give_up_rights)
        if (log := give_up_rights()) is not None:
            channel.send(log)
        entry.serve(channel)
    except trio.EndOfChannel:
        return 0
    except Exception as error:  # the top of the process: whatever it is, the supervisor must learn of it
        channel.send(crash_report(error))
        return CRASH_STATUS
    return 0


async def _run_on_trio(entry: Entry, sock: socket.socket, give_up_rights: Callable[[], Log | None]) -> int:
    channel = Channel(trio.SocketStream(trio.socket.from_stdlib_socket(sock)), decode_to_child)
    if (log := give_up_rights()) is not None:
        await channel.send(log)
    return await run_entry(lambda: entry, channel)


async def _exchange_one_frame() -> None:
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
    set_dumpable(False)  # its children, which inherit this, will hold keys
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(
            number, signal.SIG_IGN
        )  # they are meant for the supervisor, which then ends this process
    for _ in range(_WARM_UP_RUNS):  # before the imports, which then fill the gaps that it leaves in the heap
        trio.run(_exchange_one_frame)
    for module in (*_PRELOAD, *filter(None, modules.split(","))):
        warm_up(module)
    serve(socket.socket(fileno=fd))


if __name__ == "__main__":
    main(sys.argv[1:])
