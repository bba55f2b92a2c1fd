"""Refuses every system call that is not on a list, with a classic BPF program (seccomp(2)).

Owns the form of that program. A call that is not allowed fails with EPERM; a call of another architecture
kills the process. The list is in syscall_allowlist.py.
"""

import ctypes
import errno
import os
import struct
import sys
from functools import lru_cache

from .child_specs import Sandbox
from .libc import check, libc
from .syscall_allowlist import Absent, ByValue, Calls, Condition, Only, With, Without, allowed

_PR_SET_SECCOMP = 22
_SECCOMP_MODE_FILTER = 2
_LOAD, _IF_EQUAL, _IF_AT_LEAST, _IF_BITS, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW = 0x7FFF0000
_REFUSE = 0x00050000 | errno.EPERM
_UNKNOWN = 0x00050000 | errno.ENOSYS
_KILL = 0x80000000
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
"""Offsets in struct seccomp_data.

Of an argument the low half is compared (both machines are little-endian).
"""
_X32 = 0x40000000
"""Bit in the numbers of the x32 calls of x86-64."""

MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""The column of a machine in the tables of syscall_allowlist.py, and its AUDIT_ARCH."""


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


@lru_cache(maxsize=32)
def filter_for(keep: Sandbox) -> bytes:
    """Return the program for this machine. Raises OSError if its system call numbers are not known here.

    Cached, so that the fork server can build it before it forks many children with the same sandbox.
    """
    machine = os.uname().machine
    if machine not in MACHINES or sys.maxsize < 2**32:  # a 32-bit process has other numbers
        raise OSError(errno.ENOSYS, f"no seccomp table for {machine}")
    return program(machine, allowed(keep))


def install_filter(code: bytes) -> None:
    """Install a program on this thread. Raises OSError."""
    buffer = ctypes.create_string_buffer(code, len(code))
    filter_ = _Program(len(code) // 8, ctypes.addressof(buffer))
    check(libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(filter_), 0, 0), "seccomp")


def program(machine: str, calls: Calls) -> bytes:
    """Assemble the filter for "x86_64" or "aarch64"."""
    column, architecture = MACHINES[machine]
    code = [
        _op(_LOAD, _ARCHITECTURE),
        _op(_IF_EQUAL, architecture, 1, 0),
        _op(_RETURN, _KILL),
        _op(_LOAD, _NUMBER),
        _op(_IF_AT_LEAST, _X32, 0, 1),
        _op(_RETURN, _KILL),
    ]
    for numbers, condition in calls.values():
        number = numbers[column]
        if number is not None:
            verdict = _verdict(condition)
            code += [_op(_IF_EQUAL, number, 0, len(verdict)), *verdict]
    return b"".join([*code, _op(_RETURN, _REFUSE)])


def _verdict(condition: Condition) -> list[bytes]:
    """Return the instructions that follow when the number of a call has matched; they end the program."""
    allow, refuse = _op(_RETURN, _ALLOW), _op(_RETURN, _REFUSE)
    match condition:
        case Only(argument, values):
            last = len(values) - 1
            tests = [_op(_IF_EQUAL, value, last - place + 1, 0) for place, value in enumerate(values)]
            return [_load_argument(argument), *tests, refuse, allow]
        case Without(argument, bits):
            return [_load_argument(argument), _op(_IF_BITS, bits, 0, 1), refuse, allow]
        case With(argument, bit):
            return [_load_argument(argument), _op(_IF_BITS, bit, 1, 0), refuse, allow]
        case ByValue(argument, cases):
            code = [_load_argument(argument)]
            for value, inner in cases:
                verdict = _verdict(inner)
                code += [_op(_IF_EQUAL, value, 0, len(verdict)), *verdict]
            return [*code, refuse]
        case Absent():
            return [_op(_RETURN, _UNKNOWN)]
        case None:
            return [allow]


def _load_argument(argument: int) -> bytes:
    return _op(_LOAD, _ARGUMENTS + 8 * argument)


def _op(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("HBBI", code, if_true, if_false, value)
