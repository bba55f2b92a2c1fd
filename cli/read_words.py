"""How the words of a code come in: as arguments, from standard input, or typed at a prompt.

Refuses here what cannot be a code, before anything is sent; the gateway checks it once more, for it trusts no
client. Never keeps the words: they stay out of the history of the line editor and, as far as possible, out
of the list of processes.
"""

import os
import sys
from contextlib import suppress

import click

from ..protocol.code import CodeError, complete, parse_code
from . import exit_codes
from .errors import CommandError

_MAX_INPUT_BYTES = 4096
_MAX_MISTAKES = 3
_WORDS = 12


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


def hide_arguments(secrets: tuple[str, ...]) -> None:
    """Overwrite these arguments of this process, which every user of the machine can read with `ps`.

    /proc/PID/cmdline is no copy: the kernel reads it from the process's memory, where it put the arguments
    when the program began. /proc/self/stat gives the addresses (arg_start and arg_end), and the strings
    there are replaced by asterisks of the same length. Python works with copies, so nothing else changes.

    Until here, for some hundredths of a second, the words could be read, and a shell may keep them in its
    history. The prompt and standard input have neither weakness. Does nothing where the addresses are not
    to be had.
    """
    import ctypes

    try:
        with open("/proc/self/stat", "rb") as file:
            # The name of the program comes second, in parentheses, and may itself hold spaces and
            # parentheses: the fields are counted from behind it, where the third of proc(5) is the first.
            fields = file.read().rpartition(b")")[2].split()
        begin, end = int(fields[45]), int(fields[46])  # arg_start and arg_end, 48 and 49 in proc(5)
    except (OSError, IndexError, ValueError):
        return
    if not 0 < begin < end:
        return
    hidden = {os.fsencode(secret) for secret in secrets}
    arguments = ctypes.string_at(begin, end - begin).split(b"\0")
    shown = b"\0".join(b"*" * len(one) if one in hidden else one for one in arguments)
    ctypes.memmove(begin, shown, len(shown))


def _read_stdin() -> str:
    """Read standard input as far as a code goes: what follows may be the answer to a question."""
    text = b""
    while len(text) < _MAX_INPUT_BYTES:
        byte = os.read(sys.stdin.fileno(), 1)
        text += byte
        if byte in (b"\n", b""):
            with suppress(CodeError):
                parse_code(text.decode(errors="replace"))
                break
        if not byte:
            break
    return text.decode(errors="replace")


def _validated(text: str) -> str:
    """Return the text, or raise CommandError if it is not a code."""
    try:
        parse_code(text)
    except CodeError as error:
        raise CommandError(str(error), exit_codes.USAGE) from None
    return text.strip()


def _prompt() -> str:
    """Ask until it is a code; the words may be entered on several lines. Gives up after three mistakes."""
    click.echo("Enter the twelve words that the other device shows (Tab completes a word).")
    _prepare_line_editor()
    text = ""
    mistakes = 0
    while mistakes < _MAX_MISTAKES:
        count = len(text.split())
        line = _read_line(f"words {count + 1} to {_WORDS}: " if text else "words: ")
        if not line.strip():
            raise CommandError("no words, nothing was sent", exit_codes.USAGE)
        # A line of twelve words or more is a new beginning, even where the prompt asks for the rest.
        text = line.strip() if _word_count(line) >= _WORDS else f"{text} {line}".strip()
        try:
            parse_code(text)
        except CodeError as error:
            if error.position is None and 0 < _word_count(text) < _WORDS:
                continue  # no word is wrong so far: the rest may follow
            mistakes += 1
            text = _words_before_mistake(text, error)
            click.echo(f"{error}")
            if text:
                click.echo(_progress_text(_word_count(text)))
            continue
        return text
    raise CommandError("these are not the words of a code; nothing was sent", exit_codes.USAGE)


def _word_count(text: str) -> int:
    return len(text.split())


def _progress_text(count: int) -> str:
    if count == 1:
        return "The first word is fine; go on after it, or enter all twelve again."
    return f"The first {count} words are fine; go on after them, or enter all twelve again."


def _words_before_mistake(text: str, error: CodeError) -> str:
    """Return the words before the wrong one, if it is certain which that is; else nothing, to begin again."""
    pieces = text.split()
    if error.position is None or error.position == 1 or not all(piece.isalpha() for piece in pieces):
        return ""
    return " ".join(pieces[: error.position - 1])


def _read_line(prompt: str) -> str:
    try:
        return input(prompt)
    except EOFError:
        click.echo()
        raise CommandError("no words, nothing was sent", exit_codes.USAGE) from None


def _prepare_line_editor() -> None:
    with suppress(ImportError):  # not every Python has it; the prompt works without
        import readline

        readline.set_auto_history(False)
        readline.set_completer(_completion)
        readline.set_completer_delims(" ,\t\n")
        readline.parse_and_bind("tab: complete")


def _completion(prefix: str, number: int) -> str | None:
    """Return the completion of that number for readline, which asks for one after another until None."""
    found = complete(prefix) if len(prefix) >= 2 else ()
    return f"{found[number]} " if number < len(found) else None
