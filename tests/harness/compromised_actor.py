"""An actor under an attacker's control: in its sandbox it tries everything, and logs what was allowed.

Then it does the actor's work, so that the node goes on. The entries are `compromised_actor:<kind of actor>`.
"""

import ctypes
import fcntl
import importlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from spacedrive_node.messages.child_protocol import Log
from spacedrive_node.supervisor.actor_entry import Entry
from spacedrive_node.supervisor.actor_entry import warm_up as warm_up_module

EVENT = "operations that were allowed"
PATHS = "COMPROMISED_ACTOR_PATHS"
"""Environment variable: home, data directory, runtime directory, control socket and a port, joined by `:`."""
_PEEKDATA, _READV, _KEYCTL = (101, 310, 250) if os.uname().machine == "x86_64" else (117, 270, 219)
_PIDFD_SEND_SIGNAL = 424
_libc = ctypes.CDLL(None, use_errno=True)
_kind = ""


def __getattr__(kind: str) -> Entry:
    """Return the entry for one kind of actor, and act as that kind from now on."""
    global _kind
    if kind not in ("vault", "metrics", "gateway", "discovery", "lan", "swarm", "session"):
        raise AttributeError(kind)
    _kind = kind
    return _Blocking() if kind == "lan" else _main  # type: ignore[return-value]


def warm_up() -> None:
    warm_up_module(_module())


def _module() -> str:
    return f"spacedrive_node.actors.{_kind}"


def _report() -> Log:
    return Log(level="info", event=EVENT, fields={"operations": " ".join(sorted(allowed_operations()))})


class _Blocking:
    """For an actor that has no event loop."""

    def serve(self, channel: Any) -> None:
        channel.send(_report())
        importlib.import_module(_module()).main.serve(channel)


async def _main(channel: Any) -> None:
    await channel.send(_report())
    await importlib.import_module(_module()).main(channel)


def allowed_operations() -> Iterator[str]:
    """Try everything. Yield the name of each operation that was not forbidden, even if it failed."""
    for name, attempt in _tries(os.environ[PATHS].split(":")).items():
        try:
            attempt()
        except (PermissionError, MemoryError, RuntimeError):
            continue
        except OSError:
            pass
        yield name


def _tries(paths: list[str]) -> dict[str, Callable[[], object]]:
    home, data, runtime, control = (Path(spot) for spot in paths[:4])
    port = int(paths[4])
    return {
        "read-the-identity": lambda: (data / "identity.key").read_bytes(),
        "read-the-devices": lambda: (data / "devices.db").read_bytes(),
        "write-beside-them": lambda: _make_and_remove(data / f"of-{_kind}"),
        "read-at-home": lambda: (home / "diary").read_bytes(),
        "write-at-home": lambda: (home / "diary").write_bytes(b"overwritten"),
        "remove-at-home": lambda: (home / f"for-{_kind}").unlink(),
        "list-home": lambda: os.listdir(home),
        "write-elsewhere": lambda: _make_and_remove(Path("/tmp") / f"of-{os.getpid()}"),
        "read-passwords": lambda: Path("/etc/passwd").read_bytes(),
        "read-name-servers": lambda: Path("/etc/resolv.conf").read_bytes(),
        "read-environments": lambda: Path(f"/proc/{os.getppid()}/environ").read_bytes(),
        "read-own-memory-map": lambda: Path("/proc/self/maps").read_bytes(),
        "register": lambda: _make_and_remove(runtime / "nodes" / f"of-{_kind}.new"),
        "remove-control-socket": lambda: os.rename(control, control.with_name(f"of-{_kind}")),
        "use-control-socket": lambda: _connect(socket.AF_UNIX, str(control)),
        "connect": lambda: _connect(socket.AF_INET, ("127.0.0.1", port)),
        "listen": lambda: socket.create_server(("127.0.0.1", 0)).close(),
        "send-datagrams": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close(),
        "make-socket-pairs": lambda: [end.close() for end in socket.socketpair()],
        "fork": _fork,
        "run-programs": lambda: os.execv("/nonexistent", ["nonexistent"]),
        "spawn-programs": lambda: os.posix_spawn("/nonexistent", ["nonexistent"], {}),
        "signal": lambda: os.kill(os.getppid(), 0),
        "signal-itself": lambda: os.kill(os.getpid(), 0),
        "signal-by-descriptor": _own,
        "signal-by-pidfd": lambda: _call(_PIDFD_SEND_SIGNAL, -1, 0, 0, 0),
        "watch-processes": lambda: os.close(os.pidfd_open(os.getppid())),
        "trace": lambda: _call(_PEEKDATA, 2, 0, 0, 0),
        "read-memory-of-others": lambda: _call(_READV, 0, 0, 0, 0, 0, 0),
        "use-keys-of-the-kernel": lambda: _call(_KEYCTL, 0, -2, 0, 0, 0),
        "leave-namespaces": lambda: _libc_check(_libc.unshare(0x04000000)),
        "start-threads": lambda: _thread(),
        "take-memory": lambda: bytearray(3 << 30),
        "random": lambda: os.urandom(16),
    }


def _make_and_remove(path: Path) -> None:
    path.touch()
    path.unlink()


def _connect(family: int, address: Any) -> None:
    with socket.socket(family) as sock:
        sock.connect(address)


def _own() -> None:
    fd = os.dup(0)
    try:
        fcntl.fcntl(fd, fcntl.F_SETOWN, os.getppid())
    finally:
        os.close(fd)


def _fork() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def _thread() -> None:
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()


def _call(number: int, *arguments: int) -> None:
    _libc_check(_libc.syscall(number, *(ctypes.c_long(argument) for argument in arguments)))


def _libc_check(result: int) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
