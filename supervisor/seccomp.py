"""The system calls that a sandboxed process keeps, as a classic BPF program: anything else fails with EPERM.

Owns the allow-list and its numbers on x86-64 and aarch64 (seccomp(2), asm/unistd.h). Mapping memory stays
allowed, mapping it executable does not; another architecture's calls kill the process.
"""

import ctypes
import errno
import os
import struct

from .syscalls import check, libc

_PR_SET_SECCOMP = 22
_SECCOMP_MODE_FILTER = 2
_LOAD, _IF_EQUAL, _IF_AT_LEAST, _IF_BITS, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW = 0x7FFF0000
_REFUSE = 0x00050000 | errno.EPERM
_KILL = 0x80000000
_NUMBER, _ARCHITECTURE, _ARGUMENT_2 = 0, 4, 32
"""Offsets in struct seccomp_data; of the third argument the low half (both machines are little-endian)."""
_PROT_EXEC = 4
_X32 = 0x40000000

# name: (x86-64, aarch64); None: does not exist there
_ALLOWED: dict[str, tuple[int, int | None]] = {
    # its channel, and trio's own wake-up
    "read": (0, 63), "write": (1, 64), "readv": (19, 65), "writev": (20, 66), "close": (3, 57),
    "sendto": (44, 206), "recvfrom": (45, 207), "shutdown": (48, 210),
    "getsockopt": (55, 209), "getsockname": (51, 204), "getpeername": (52, 205),
    "fcntl": (72, 25), "fstat": (5, 80), "lseek": (8, 62),
    "poll": (7, None), "ppoll": (271, 73), "select": (23, None), "pselect6": (270, 72),
    "epoll_wait": (232, None), "epoll_pwait": (281, 22), "epoll_pwait2": (441, 441), "epoll_ctl": (233, 21),
    # memory
    "brk": (12, 214), "munmap": (11, 215), "mremap": (25, 216), "madvise": (28, 233),
    # time and randomness
    "clock_gettime": (228, 113), "clock_getres": (229, 114), "clock_nanosleep": (230, 115),
    "nanosleep": (35, 101), "gettimeofday": (96, 169), "getrandom": (318, 278), "restart_syscall": (219, 128),
    # locks and signals within the process
    "futex": (202, 98), "set_robust_list": (273, 99), "membarrier": (324, 283), "rseq": (334, 293),
    "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139),
    "sigaltstack": (131, 132), "sched_yield": (24, 124), "sched_getaffinity": (204, 123),
    # who and where it is
    "getpid": (39, 172), "getppid": (110, 173), "gettid": (186, 178), "getuid": (102, 174),
    "geteuid": (107, 175), "getgid": (104, 176), "getegid": (108, 177), "getrusage": (98, 165),
    "uname": (63, 160), "sysinfo": (99, 179),
    "exit": (60, 93), "exit_group": (231, 94),
}  # fmt: skip
_ALLOWED_UNLESS_EXECUTABLE: dict[str, tuple[int, int]] = {"mmap": (9, 222), "mprotect": (10, 226)}
_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


def install_filter() -> None:
    """Install the filter on this thread. Raises OSError, also on a machine whose numbers are not known."""
    machine = os.uname().machine
    if machine not in _MACHINES:
        raise OSError(errno.ENOSYS, f"no seccomp table for {machine}")
    code = program(machine)
    buffer = ctypes.create_string_buffer(code, len(code))
    filter_ = _Program(len(code) // 8, ctypes.addressof(buffer))
    check(libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(filter_), 0, 0), "seccomp")


def program(machine: str) -> bytes:
    """Assemble the filter for "x86_64" or "aarch64"."""
    column, architecture = _MACHINES[machine]
    known = {numbers[column] for numbers in _ALLOWED.values()}
    allowed = sorted(number for number in known if number is not None)
    checked = sorted(numbers[column] for numbers in _ALLOWED_UNLESS_EXECUTABLE.values())
    code = [
        _op(_LOAD, _ARCHITECTURE),
        _op(_IF_EQUAL, architecture, 1, 0),
        _op(_RETURN, _KILL),
        _op(_LOAD, _NUMBER),
        _op(_IF_AT_LEAST, _X32, 0, 1),
        _op(_RETURN, _KILL),
    ]
    for number in allowed:
        code += [_op(_IF_EQUAL, number, 0, 1), _op(_RETURN, _ALLOW)]
    for number in checked:
        code += [
            _op(_IF_EQUAL, number, 0, 4),
            _op(_LOAD, _ARGUMENT_2),
            _op(_IF_BITS, _PROT_EXEC, 0, 1),
            _op(_RETURN, _REFUSE),
            _op(_RETURN, _ALLOW),
        ]
    return b"".join([*code, _op(_RETURN, _REFUSE)])


def _op(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("HBBI", code, if_true, if_false, value)
