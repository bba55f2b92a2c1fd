"""Where the passphrase of the identity comes from: a file, a descriptor, or the terminal without echo.

Owns the passphrase until it is in sealed memory behind a descriptor (memfd_create(2)), which the supervisor
passes on to the vault and never reads. Keeps it in one buffer, which is cleared; never in a string, an
argument, the environment or an error.
"""

import errno
import fcntl
import os
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hmac import compare_digest

from ..messages.actor_configs import PASSPHRASE_LIMIT
from . import exit_codes
from .errors import CommandError
from .terminal_lines import read_silently

_MAX_READ_BYTES = PASSPHRASE_LIMIT + 3
"""A passphrase, a line's end of two bytes, and one byte more, which shows that there is too much."""
_MEMFD_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
_SEALING_WARNING = (
    "This seals the identity of this device. Without the passphrase nobody can open it again: "
    "whoever forgets it starts as a new device.\n"
)


@dataclass(frozen=True, slots=True)
class PassphraseSource:
    """Where to read the passphrase: at most one of a file's name, a descriptor, and the terminal."""

    file: str | None = None
    descriptor: int | None = None
    ask: bool = False


def choose_source(
    flag: object, configured: str | None, descriptor: int | None, *, ask: bool
) -> PassphraseSource:
    """Return the one source that counts: a flag before a configured file.

    `flag` is the value of --passphrase-file, `configured` that of the loaded configuration (the same, or
    from a variable or the configuration file). Raises CommandError when several flags are given.
    """
    if sum((flag is not None, descriptor is not None, ask)) > 1:
        raise _usage_error("give one of --ask-passphrase, --passphrase-file and --passphrase-fd")
    if ask or descriptor is not None:
        return PassphraseSource(descriptor=descriptor, ask=ask)
    return PassphraseSource(file=configured)


@contextmanager
def open_passphrase(source: PassphraseSource, is_new: Callable[[], bool]) -> Iterator[int | None]:
    """Give a descriptor from which the passphrase can be read again and again; None if there is none.

    `is_new` returns whether the passphrase would seal an identity that is not sealed yet: a new one is
    asked for twice. Raises CommandError (exit 2).
    """
    if source.descriptor is not None:
        secret = _read_descriptor(source.descriptor)
    elif source.file is not None:
        secret = _read_file(source.file)
    elif source.ask:
        secret = _read_terminal(new=is_new())
    else:
        yield None
        return
    fd = _store_in_memfd(secret)
    try:
        yield fd
    finally:
        os.close(fd)


def _store_in_memfd(secret: memoryview) -> int:
    """Move the passphrase into memory that nobody can change, and return its descriptor; clear it here."""
    try:
        fd = os.memfd_create("passphrase", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            if os.write(fd, secret) != len(secret):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _MEMFD_SEALS)
        except BaseException:
            os.close(fd)
            raise
    except OSError as error:
        raise _usage_error(f"the passphrase cannot be kept: {error.strerror}") from None
    finally:
        _clear(secret)
    return fd


def _read_file(name: str) -> memoryview:
    try:
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return _validated(_read_all(fd), f"--passphrase-file {name}")
        finally:
            os.close(fd)
    except OSError as error:
        raise _usage_error(f"--passphrase-file {name} cannot be read: {error.strerror}") from None


def _read_descriptor(fd: int) -> memoryview:
    label = f"--passphrase-fd {fd}"
    if fd in (1, 2) or fd < 0:
        raise _usage_error(f"{label}: give 0, or a descriptor from 3 on that is open for reading")
    try:
        if os.isatty(fd):
            raise _usage_error(
                f"{label} is a terminal, which would show the passphrase; use --ask-passphrase"
            )
        try:
            return _validated(_read_all(fd), label)
        finally:
            _close_source(fd)
    except (OSError, OverflowError) as error:
        why = error.strerror if isinstance(error, OSError) else "there is no such descriptor"
        raise _usage_error(f"{label} cannot be read: {why}") from None


def _close_source(fd: int) -> None:
    """Close the descriptor; 0 becomes /dev/null instead, for the next file opened would take the number."""
    if fd != 0:
        os.close(fd)
        return
    null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    os.dup2(null, fd)
    os.close(null)


def _read_all(fd: int) -> memoryview:
    """Read to the end, or so much that it is seen to be too long. Raises OSError."""
    view = memoryview(bytearray(_MAX_READ_BYTES))  # of a fixed size: resizing it would leave copies
    size = 0
    while size < _MAX_READ_BYTES and (count := os.readv(fd, [view[size:]])):
        size += count
    return view[:size]


def _validated(secret: memoryview, label: str) -> memoryview:
    """Return the passphrase without one line's end.

    Raises CommandError for one that could not be typed at the prompt.
    """
    for end in b"\n\r":
        if secret and secret[-1] == end:
            secret = secret[:-1]
    problem = _problem(secret)
    if problem:
        _clear(secret)
        raise _usage_error(f"the passphrase {problem} ({label})")
    return secret


def _problem(secret: memoryview) -> str | None:
    """Return what is wrong with a passphrase, None if nothing is."""
    if not secret:
        return "is empty"
    if len(secret) > PASSPHRASE_LIMIT:
        return f"is longer than {PASSPHRASE_LIMIT} bytes"
    if any(byte < 0x20 or byte == 0x7F for byte in secret):
        return "must be one line of text, without control characters"
    return None


def _read_terminal(*, new: bool) -> memoryview:
    try:
        fd = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        raise _usage_error(
            "--ask-passphrase needs a terminal; use --passphrase-file FILE or --passphrase-fd N"
        ) from None
    try:
        return _prompt_new(fd) if new else _prompt_once(fd, "Passphrase: ")
    except (OSError, termios.error):
        raise _usage_error("the terminal is gone, and there is no passphrase") from None
    finally:
        os.close(fd)


def _prompt_new(fd: int) -> memoryview:
    os.write(fd, _SEALING_WARNING.encode())
    first = _prompt_once(fd, "New passphrase: ")
    try:
        second = _prompt_once(fd, "The same again: ")
        same = compare_digest(first, second)
        _clear(second)
        if not same:
            raise _usage_error("these are two different passphrases; nothing was changed")
    except BaseException:
        _clear(first)
        raise
    return first


def _prompt_once(fd: int, prompt: str) -> memoryview:
    """Ask once, with echo off."""
    view = memoryview(bytearray(_MAX_READ_BYTES))
    try:
        return _validated(view[: read_silently(fd, prompt, view)], "entered at the prompt")
    except BaseException:
        _clear(view)
        raise


def _clear(secret: memoryview) -> None:
    secret[:] = bytes(len(secret))


def _usage_error(message: str) -> CommandError:
    return CommandError(message, exit_codes.USAGE)
