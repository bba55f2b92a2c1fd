"""The names by which `ps` and `top` show a process: its title and its command name.

The title is what /proc/PID/cmdline gives. That is no copy: the kernel reads it from the process's memory,
where it put the arguments when the program began, so a process names itself by writing there (proc(5)). The
command name, of 15 bytes, is the kernel's own (prctl(2), PR_SET_NAME).

Owns the memory of the arguments, in a process that has claimed it. An actor that runs as a task of another
program has not, and names nothing. Never takes a secret: every user of the machine reads both.
"""

import ctypes

from .libc import libc

PREFIX = "sdnode: "
_PR_SET_NAME = 15
_memory: tuple[int, int] | None = None
"""Where the title begins and ends."""


def argument_memory() -> tuple[int, int] | None:
    """Return from where to where the arguments of this process lie in its memory; None: not to be had."""
    try:
        with open("/proc/self/stat", "rb") as file:
            # The name of the program comes second, in parentheses, and may itself hold spaces and
            # parentheses: the fields are counted from behind it, where the third of proc(5) is the first.
            fields = file.read().rpartition(b")")[2].split()
        begin, end = int(fields[45]), int(fields[46])  # arg_start and arg_end, 48 and 49 in proc(5)
    except (OSError, IndexError, ValueError):
        return None
    return (begin, end) if 0 < begin < end else None


def claim_title() -> None:
    """Let this process, and those that it forks, name themselves."""
    global _memory
    _memory = argument_memory()


def set_title(name: str) -> None:
    """Show this process as `sdnode: <name>`, cut to the room that its arguments had. Needs no system call."""
    if _memory is None:
        return
    begin, end = _memory
    # A last byte that is not 0 tells the kernel that this is a title, which ends at the first 0.
    title = (PREFIX + name).encode()[: end - begin - 2].ljust(end - begin - 1, b"\0") + b"."
    ctypes.memmove(begin, title, len(title))


def set_command_name(name: str) -> None:
    """Give this process the command name `sdnode: <name>`, cut to 15 bytes by the kernel."""
    if _memory is not None:
        libc.prctl(_PR_SET_NAME, ctypes.c_char_p((PREFIX + name).encode()), 0, 0, 0)
