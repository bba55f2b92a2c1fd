"""How the words of a code come in: as arguments, from standard input, or typed at a prompt.

Refuses here what cannot be a code, before anything is sent; the gateway checks it once more, for it trusts no
client. Never keeps the words: they stay out of the history of the line editor and, as far as possible, out
of the list of processes.
"""

import codecs
import os
import select
import stat
import sys
import termios
from contextlib import suppress

from ..config.paths import expand_user
from ..protocol.code import CodeError, complete, parse_code
from ..protocol.words import WORD_COUNT, are_enough, begins_anew, count_words, words_before
from . import exit_codes
from .errors import CommandError, print_to_stderr
from .output import write_line
from .tables import print_text
from .terminal_lines import read_edited

_MAX_INPUT_BYTES = 4096
_MAX_MISTAKES = 3
_PASTE_PAUSE_S = 0.05
"""Between two keys of what is pasted; a person is slower."""


def read_code_text(words: tuple[str, ...], *, interactive: bool) -> str:
    """Return the text of a well-formed code, from the arguments `words` or what they name.

    Raises CommandError (exit 2) when there is none.
    """
    if words == ("-",):
        return _validated(_read_stdin())
    if words:
        hide_arguments(words)
        return _validated(" ".join(words))
    if not interactive:
        raise CommandError(
            "no words: give them as arguments, or - to read them from standard input", exit_codes.USAGE
        )
    return _prompt()


def read_code_source(words: tuple[str, ...], file: str | None, descriptor: int | None) -> str:
    """Return the text of a well-formed code from --words-file or --words-fd, whichever is given.

    A descriptor is read to its end and closed; 0 is standard input, read as with `-`. Raises CommandError
    (exit 2).
    """
    if words:
        hide_arguments(words)
    if sum((bool(words), file is not None, descriptor is not None)) > 1:
        raise CommandError("give one of WORDS, --words-file and --words-fd", exit_codes.USAGE)
    if file is not None:
        return _validated(_decoded(_read_file(file)))
    assert descriptor is not None
    if descriptor == 0:
        return _validated(_read_stdin())
    if descriptor < 3:
        raise CommandError(
            "--words-fd: give 0, or a descriptor from 3 on that is open for reading", exit_codes.USAGE
        )
    try:
        with open(descriptor, "rb") as opened:
            return _validated(_decoded(opened.read(_MAX_INPUT_BYTES)))
    except OSError as error:
        raise CommandError(
            f"--words-fd {descriptor} cannot be read: {error.strerror}", exit_codes.USAGE
        ) from None


def _read_file(name: str) -> bytes:
    """Read a file, or a pipe that has a name, as far as a code may reach. Raises CommandError (exit 2)."""
    try:
        with open(expand_user(name), "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(_MAX_INPUT_BYTES)
    except OSError as error:
        raise CommandError(
            f"--words-file {name} cannot be read: {error.strerror}", exit_codes.USAGE
        ) from None
    if stat.S_ISREG(mode) and mode & stat.S_IROTH:
        print_to_stderr(f"everyone on this machine can read the words in {name}")
    return data


def hide_arguments(secrets: tuple[str, ...]) -> None:
    """Overwrite these arguments of this process, which every user of the machine can read with `ps`.

    They are replaced by asterisks of the same length in the memory from which the kernel shows them
    (supervisor/process_title.py). Python works with copies, so nothing else changes.

    Until here, for some hundredths of a second, the words could be read, and a shell may keep them in its
    history. The prompt and standard input have neither weakness. Does nothing where the addresses are not
    to be had.
    """
    import ctypes

    from ..supervisor.process_title import argument_memory

    memory = argument_memory()
    if memory is None:
        return
    begin, end = memory
    hidden = {os.fsencode(secret) for secret in secrets}
    arguments = ctypes.string_at(begin, end - begin).split(b"\0")
    shown = b"\0".join(b"*" * len(one) if one in hidden else one for one in arguments)
    ctypes.memmove(begin, shown, len(shown))


def _read_stdin() -> str:
    """Read standard input as far as a code goes: what follows may be the answer to a question."""
    data = b""
    while len(data) < _MAX_INPUT_BYTES:
        try:
            byte = os.read(sys.stdin.fileno(), 1)
        except OSError as error:  # it is open for writing only, or a terminal that is gone
            raise CommandError(f"standard input cannot be read: {error.strerror}", exit_codes.USAGE) from None
        data += byte
        if byte in (b"\n", b"") and (not byte or _is_complete(_decoded(data))):
            break
    return _decoded(data)


def _decoded(data: bytes) -> str:
    """Return what a file or a pipe holds as text: UTF-8, or UTF-16 if it begins with its byte-order mark."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data[: len(data) // 2 * 2].decode("utf-16", errors="replace")
    return data.decode(errors="replace")


def _is_complete(text: str) -> bool:
    """Return whether nothing that could follow would make this text a code, or make it another one."""
    try:
        parse_code(text)
    except CodeError:
        # Twelve words that are no code do not become one by a thirteenth, so nothing is waited for.
        return not _is_qr(text) and are_enough(text)
    return True


def _validated(text: str) -> str:
    """Return the text, or raise CommandError if it is not a code."""
    try:
        parse_code(text)
    except CodeError as error:
        raise CommandError(str(error), exit_codes.USAGE) from None
    return text.strip()


def _prompt() -> str:
    """Ask until it is a code; the words may be entered on several lines. Gives up after three mistakes."""
    print_text("Enter the twelve words that the other device shows (Tab completes a word).")
    _prepare_line_editor()
    text = ""
    mistakes = 0
    while mistakes < _MAX_MISTAKES:
        count = count_words(text)
        line = _read_line(f"words {count + 1} to {WORD_COUNT}: " if count else "words: ")
        if not count_words(line):
            # Between the lines of a list that was pasted there may be empty ones, or a frame.
            if line.strip() or _more_is_typed():
                continue
            raise CommandError("no words, nothing was sent", exit_codes.USAGE)
        goes_on = _is_qr(text) and not _is_qr(line)  # it was pasted as it stood there, in several lines
        text = f"{text}\n{line}" if goes_on or not begins_anew(line, text) else line.strip()
        try:
            parse_code(text)
        except CodeError as error:
            if error.position is None and count_words(text) < WORD_COUNT and not _is_qr(text):
                continue  # no word is wrong so far: the rest may follow
            if _is_qr(text) and _more_is_typed():
                continue
            mistakes += 1
            text = "" if error.position is None else words_before(text, error.position)
            print_text(str(error))
            termios.tcflush(sys.stdin.fileno(), termios.TCIFLUSH)  # the rest of what was pasted with it
            if text:
                print_text(_progress_text(count_words(text)))
            continue
        return text
    raise CommandError("these are not the words of a code; nothing was sent", exit_codes.USAGE)


def _is_qr(text: str) -> bool:
    return "spacedrive:" in text.lower()


def _more_is_typed() -> bool:
    """Return whether more can be read at once, as in the middle of what is pasted."""
    return bool(select.select([sys.stdin.fileno()], [], [], _PASTE_PAUSE_S)[0])


def _progress_text(count: int) -> str:
    if count == 1:
        return "The first word is fine; go on after it, or enter all twelve again."
    return f"The first {count} words are fine; go on after them, or enter all twelve again."


def _read_line(prompt: str) -> str:
    try:
        return read_edited(prompt)
    except EOFError:
        write_line("")
        raise CommandError("no words, nothing was sent", exit_codes.USAGE) from None


def _prepare_line_editor() -> None:
    with suppress(ImportError):  # not every Python has it; the prompt works without
        import readline

        readline.set_auto_history(False)
        readline.set_completer(_completion)
        readline.set_completer_delims(" ,\t\n")
        readline.parse_and_bind("tab: complete")


def _completion(prefix: str, number: int) -> str | None:
    """Return the completion of that number for readline, which asks for one after another until None.

    A Tab behind a number or a whole word, with more behind it, was not pressed but pasted: it is a blank.
    """
    found = complete(prefix) if len(prefix) >= 2 else ()
    if number == 0 and prefix and (not found or prefix in found) and _more_is_typed():
        return f"{prefix} "
    return f"{found[number]} " if number < len(found) else None
