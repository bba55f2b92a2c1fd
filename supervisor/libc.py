"""Calls of the C library that Python does not offer, such as prctl(2), and the library itself."""

import ctypes
import os
import signal
import struct
from contextlib import suppress

libc = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_CAPABILITY_VERSION_3 = 0x20080522


def check(result: int, what: str) -> int:
    """Return the result of a C call. Raises OSError, with `what` in its text, if the result is negative."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return int(result)


def prctl(option: int, value: int) -> None:
    """Call prctl(2) with one value. Raises OSError."""
    zero = ctypes.c_ulong(0)
    check(libc.prctl(option, ctypes.c_ulong(value), zero, zero, zero), "prctl")


def set_dumpable(value: bool) -> None:
    """Set whether processes of the same user may attach to this one and read its memory. Raises OSError.

    False also gives its files in /proc to root and disables core dumps (proc(5)). exec resets it.
    """
    prctl(_PR_SET_DUMPABLE, int(value))


def drop_capabilities() -> None:
    """Give up every capability of this process (capset(2), version 3). Raises OSError."""
    header = ctypes.create_string_buffer(struct.pack("Ii", _CAPABILITY_VERSION_3, 0))
    nothing = ctypes.create_string_buffer(24)
    check(libc.capset(header, nothing), "capset")


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when the thread that forked it ends (PR_SET_PDEATHSIG).

    Exits at once if `parent` has ended already. A change of credentials clears the setting, so this is called
    again after one.
    """
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def give_back_free_memory() -> None:
    """Give the kernel what the C heap has free, after much was allocated for a while: after imports.

    Does nothing with a C library that has no malloc_trim(3).
    """
    with suppress(AttributeError):
        libc.malloc_trim(0)
