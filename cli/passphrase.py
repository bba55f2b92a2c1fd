"""Where the passphrase of the identity comes from: a file, a descriptor, or the terminal without echo.

Owns it until it stands in memory behind a descriptor, which the supervisor hands to the vault and never
reads. Kept in one buffer that is cleared, never in a string, an argument, the environment or an error.
"""

import errno
import fcntl
import os
import stat
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hmac import compare_digest

from ..messages.actor_configs import PASSPHRASE_LIMIT
from . import exit_codes

_READ = PASSPHRASE_LIMIT + 3
"""With a line's end of two bytes, and one byte more that shows that it is not the end."""
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
_NEW = (
    "This seals the identity of this device. Without the passphrase nobody can open it again: "
    "whoever forgets it starts as a new device.\n"
)


@dataclass(frozen=True, slots=True)
class Source:
    """At most one of a file's name, a descriptor, and the terminal."""

    file: str | None = None
    descriptor: int | None = None
    ask: bool = False


def choose(flag: object, configured: str | None, descriptor: int | None, *, ask: bool) -> Source:
    """Return the one source that counts: a flag before a configured file.

    Raises CommandError when several are given.

    `flag` is what --passphrase-file says, `configured` the same or what a variable or the file says.
    """
    if sum((flag is not None, descriptor is not None, ask)) > 1:
        raise _wrong("give one of --ask-passphrase, --passphrase-file and --passphrase-fd")
    if ask or descriptor is not None:
        return Source(descriptor=descriptor, ask=ask)
    return Source(file=configured)


@contextmanager
def passphrase(source: Source, is_new: Callable[[], bool]) -> Iterator[int | None]:
    """Give a descriptor from which the passphrase can be read again and again; None: there is none.

    `is_new` says whether a passphrase would be a new one, which is asked for twice. Raises CommandError
    (exit 2).
    """
    if source.descriptor is not None:
        secret = _from_descriptor(source.descriptor)
    elif source.file is not None:
        secret = _from_file(source.file)
    elif source.ask:
        secret = _from_terminal(new=is_new())
    else:
        yield None
        return
    fd = _kept(secret)
    try:
        yield fd
    finally:
        os.close(fd)


def readable_by_others(file: str) -> bool:
    """Say whether a plain file can be read by anyone on this machine."""
    try:
        mode = os.stat(file).st_mode
    except OSError:
        return False
    return stat.S_ISREG(mode) and bool(mode & stat.S_IROTH)


def _kept(secret: memoryview) -> int:
    """Move the passphrase into memory that nobody can change, behind a descriptor; clear it here."""
    try:
        fd = os.memfd_create("passphrase", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            if os.write(fd, secret) != len(secret):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
        except BaseException:
            os.close(fd)
            raise
    except OSError as error:
        raise _wrong(f"the passphrase cannot be kept: {error.strerror}") from None
    finally:
        _clear(secret)
    return fd


def _from_file(name: str) -> memoryview:
    try:
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return _checked(_read(fd), f"--passphrase-file {name}")
        finally:
            os.close(fd)
    except OSError as error:
        raise _wrong(f"--passphrase-file {name} cannot be read: {error.strerror}") from None


def _from_descriptor(fd: int) -> memoryview:
    label = f"--passphrase-fd {fd}"
    if fd in (1, 2) or fd < 0:
        raise _wrong(f"{label}: give 0, or a descriptor from 3 on that is open for reading")
    try:
        if os.isatty(fd):
            raise _wrong(f"{label} is a terminal, which would show the passphrase; use --ask-passphrase")
        try:
            return _checked(_read(fd), label)
        finally:
            _dispose(fd)
    except (OSError, OverflowError) as error:
        why = error.strerror if isinstance(error, OSError) else "there is no such descriptor"
        raise _wrong(f"{label} cannot be read: {why}") from None


def _dispose(fd: int) -> None:
    if fd != 0:
        os.close(fd)
        return
    null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)  # or the next file to be opened would be number 0
    os.dup2(null, fd)
    os.close(null)


def _read(fd: int) -> memoryview:
    """Read to the end, or as much as shows that it is too long. Raises OSError."""
    view = memoryview(bytearray(_READ))  # of a fixed size: one that grows or shrinks would leave copies
    size = 0
    while size < _READ and (count := os.readv(fd, [view[size:]])):
        size += count
    return view[:size]


def _checked(secret: memoryview, label: str) -> memoryview:
    """Take one line's end away; refuse what cannot be typed at the prompt. Raises CommandError."""
    for end in b"\n\r":
        if secret and secret[-1] == end:
            secret = secret[:-1]
    problem = _problem(secret)
    if problem:
        _clear(secret)
        raise _wrong(f"the passphrase {problem} ({label})")
    return secret


def _problem(secret: memoryview) -> str | None:
    if not secret:
        return "is empty"
    if len(secret) > PASSPHRASE_LIMIT:
        return f"is longer than {PASSPHRASE_LIMIT} bytes"
    if any(byte < 0x20 or byte == 0x7F for byte in secret):
        return "must be one line of text, without control characters"
    return None


def _from_terminal(*, new: bool) -> memoryview:
    try:
        fd = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        raise _wrong(
            "--ask-passphrase needs a terminal; use --passphrase-file FILE or --passphrase-fd N"
        ) from None
    try:
        return _new(fd) if new else _asked(fd, "Passphrase: ")
    except (OSError, termios.error):
        raise _wrong("the terminal is gone, and there is no passphrase") from None
    finally:
        os.close(fd)


def _new(fd: int) -> memoryview:
    os.write(fd, _NEW.encode())
    first = _asked(fd, "New passphrase: ")
    try:
        second = _asked(fd, "The same again: ")
        same = compare_digest(first, second)
        _clear(second)
        if not same:
            raise _wrong("these are two different passphrases; nothing was changed")
    except BaseException:
        _clear(first)
        raise
    return first


def _asked(fd: int, prompt: str) -> memoryview:
    """Ask once. The terminal hides what is typed, and forgets what was typed before the question."""
    before = termios.tcgetattr(fd)
    silent = list(before)
    silent[3] &= ~termios.ECHO
    termios.tcsetattr(fd, termios.TCSAFLUSH, silent)
    try:
        os.write(fd, prompt.encode())
        view = memoryview(bytearray(_READ))
        size = os.readv(fd, [view])  # a line as a whole, or as much as shows that it is too long
        return _checked(view[:size], "entered at the prompt")
    finally:
        termios.tcsetattr(fd, termios.TCSAFLUSH, before)
        os.write(fd, b"\n")


def _clear(secret: memoryview) -> None:
    secret[:] = bytes(len(secret))


def _wrong(message: str) -> exit_codes.CommandError:
    return exit_codes.CommandError(message, exit_codes.USAGE)
