"""Runs a command under what the systemd unit restricts, without a systemd.

Real: no privilege, a user namespace with one user (PrivateUsers), /proc of ProtectProc and
ProcSubset, and the system calls of SystemCallFilter, MemoryDenyWriteExecute, RestrictNamespaces and
RestrictAddressFamilies, by libseccomp as systemd does it. Not here: mounts that are read-only,
devices, limits. `command` wraps a command; it needs root, libseccomp and systemd-analyze, and
`missing` says what is not there.
"""

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

_MASKED_EQ, _EQ = 7, 4
_ERRNO_EPERM, _ALLOW = 0x00050001, 0x7FFF0000
_NAMESPACES = {"user": 0x10000000, "net": 0x40000000, "ipc": 0x08000000, "uts": 0x04000000}
_OTHER_NAMESPACES = 0x00020000 | 0x20000000 | 0x02000000  # mount, pid, cgroup
_FAMILIES = {"AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10, "AF_NETLINK": 16}
_WRITE, _EXEC = 2, 4


def missing() -> str | None:
    """Return why nothing can be run so here; None if it can."""
    if os.geteuid() != 0:
        return "needs root"
    for program in ("systemd-analyze", "unshare", "setpriv"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    try:
        ctypes.CDLL("libseccomp.so.2")
    except OSError:
        return "libseccomp is not installed"
    return None


def command(unit: Path, argv: list[str]) -> list[str]:
    """Return the command that runs `argv` so, as user 1000 of a user namespace who is this user outside."""
    proc = "mount -t proc -o hidepid=invisible,subset=pid proc /proc"
    user = "unshare --user --map-user=1000 --map-group=1000 setpriv --bounding-set=-all --no-new-privs"
    inner = [sys.executable, __file__, str(unit), *argv]
    apart = ["unshare", "--pid", "--mount", "--fork", "--kill-child=SIGKILL"]
    return [*apart, "sh", "-c", f'{proc} && exec {user} "$@"', "sh", *inner]


class _Comparison(ctypes.Structure):
    _fields_ = (
        ("argument", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("a", ctypes.c_uint64),
        ("b", ctypes.c_uint64),
    )


def service(unit: Path) -> dict[str, list[str]]:
    """Return the settings of [Service], each with its values in order."""
    lines = unit.read_text().partition("[Service]")[2].partition("[Install]")[0].splitlines()
    found: dict[str, list[str]] = {}
    for line in lines:
        if line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


def _calls(name: str) -> set[str]:
    """Return the calls of a set of systemd, or the call."""
    if not name.startswith("@"):
        return {name}
    done = subprocess.run(
        ["systemd-analyze", "syscall-filter", name], capture_output=True, text=True, check=True
    )
    lines = [line.strip() for line in done.stdout.splitlines()[1:]]
    return set().union(*(_calls(line) for line in lines if line and not line.startswith("#")))


def _allowed(filters: list[str]) -> set[str]:
    allowed = _calls("@default")
    for one in filters:
        calls = set().union(*(_calls(name) for name in one.lstrip("~").split()))
        allowed = allowed - calls if one.startswith("~") else allowed | calls
    return allowed


def _conditions(settings: dict[str, list[str]]) -> dict[str, list[tuple[int, int, int, int]]]:
    """Return the calls that are allowed by their arguments: (argument, comparison, mask or value, value)."""
    assert settings["MemoryDenyWriteExecute"] == ["yes"]
    (namespaces,), (families,) = settings["RestrictNamespaces"], settings["RestrictAddressFamilies"]
    both = _WRITE | _EXEC
    return {
        "mmap": [(2, _MASKED_EQ, both, value) for value in (0, _WRITE, _EXEC)],
        "mprotect": [(2, _MASKED_EQ, _EXEC, 0)],
        "pkey_mprotect": [(2, _MASKED_EQ, _EXEC, 0)],
        "unshare": [(0, _MASKED_EQ, _OTHER_NAMESPACES, 0)],
        "clone": [(0, _MASKED_EQ, _OTHER_NAMESPACES, 0)],
        "clone3": [],
        "setns": [(1, _EQ, _NAMESPACES[name], 0) for name in namespaces.split()],
        "socket": [(0, _EQ, _FAMILIES[name], 0) for name in families.split()],
    }


def _restrict(settings: dict[str, list[str]]) -> None:
    lib = ctypes.CDLL("libseccomp.so.2")
    lib.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(lib.seccomp_init(ctypes.c_uint32(_ERRNO_EPERM)))
    conditions = _conditions(settings)
    for name in sorted(_allowed(settings["SystemCallFilter"])):
        number = lib.seccomp_syscall_resolve_name(name.encode())
        if number < 0:
            continue  # not on this machine
        for rule in conditions.get(name, [None]):
            array = (_Comparison * 1)(_Comparison(*rule)) if rule else None
            assert lib.seccomp_rule_add_array(context, _ALLOW, number, len(array or ()), array) == 0, name
    # The C library then falls back on clone, whose arguments a filter can read.
    clone3 = lib.seccomp_syscall_resolve_name(b"clone3")
    assert lib.seccomp_rule_add_array(context, 0x00050000 | 38, clone3, 0, None) == 0
    assert lib.seccomp_load(context) == 0


if __name__ == "__main__":
    _restrict(service(Path(sys.argv[1])))
    os.execvp(sys.argv[2], sys.argv[2:])
