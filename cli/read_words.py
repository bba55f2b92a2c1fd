"""How the words of a code come in: as arguments, from standard input, or typed at a prompt.

Whatever cannot be a code is refused here, before anything is sent to anybody. Never keeps the words: they
stay out of the history of the line editor.
"""

import os
import sys
from contextlib import suppress

import click

from ..protocol.code import CodeError, complete, parse_code
from . import exit_codes

_MAX_INPUT = 4096
_TRIES = 3
_WORDS = 12


def code_text(words: tuple[str, ...], *, interactive: bool) -> str:
    """Return the text of a code that is well formed. Raises CommandError (exit 2) when there is none."""
    if words == ("-",):
        return _checked(_piped())
    if words:
        hide_arguments(words)
        return _checked(" ".join(words))
    if not interactive:
        raise exit_codes.CommandError(
            "no words: give them as arguments, or - to read them from standard input", exit_codes.USAGE
        )
    return _prompted()


def hide_arguments(secrets: tuple[str, ...]) -> None:
    """Overwrite these arguments of this process, which every user of the machine can read (proc(5), cmdline).

    Until here, some hundredths of a second, they stood there, and where a shell has kept them they still
    do: the prompt and standard input have neither. Does nothing where the system does not say where they lie.
    """
    import ctypes

    try:
        with open("/proc/self/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        begin, end = int(fields[45]), int(fields[46])  # arg_start and arg_end, 48 and 49 of all
    except (OSError, IndexError, ValueError):
        return
    if not 0 < begin < end:
        return
    hidden = {os.fsencode(secret) for secret in secrets}
    arguments = ctypes.string_at(begin, end - begin).split(b"\0")
    shown = b"\0".join(b"*" * len(one) if one in hidden else one for one in arguments)
    ctypes.memmove(begin, shown, len(shown))


def _piped() -> str:
    """Read standard input as far as a code goes: what follows may be the answer to a question."""
    text = b""
    while len(text) < _MAX_INPUT:
        byte = os.read(sys.stdin.fileno(), 1)
        text += byte
        if byte in (b"\n", b""):
            with suppress(CodeError):
                parse_code(text.decode(errors="replace"))
                break
        if not byte:
            break
    return text.decode(errors="replace")


def _checked(text: str) -> str:
    try:
        parse_code(text)
    except CodeError as error:
        raise exit_codes.CommandError(str(error), exit_codes.USAGE) from None
    return text.strip()


def _prompted() -> str:
    """Ask until it is a code; words may come on several lines. Gives up after three mistakes."""
    click.echo("Enter the twelve words that the other device shows (Tab completes a word).")
    _prepare_line_editor()
    text = ""
    mistakes = 0
    while mistakes < _TRIES:
        count = len(text.split())
        line = _input(f"words {count + 1} to {_WORDS}: " if text else "words: ")
        if not line.strip():
            raise exit_codes.CommandError("no words, nothing was sent", exit_codes.USAGE)
        # Whoever begins again types all of them, whatever the prompt says.
        text = line.strip() if _typed(line) >= _WORDS else f"{text} {line}".strip()
        try:
            parse_code(text)
        except CodeError as error:
            if error.position is None and 0 < _typed(text) < _WORDS:
                continue  # good so far: the rest may follow
            mistakes += 1
            text = _good_part(text, error)
            click.echo(f"{error}")
            if text:
                click.echo(_kept(_typed(text)))
            continue
        return text
    raise exit_codes.CommandError("these are not the words of a code; nothing was sent", exit_codes.USAGE)


def _typed(text: str) -> int:
    return len(text.split())


def _kept(count: int) -> str:
    if count == 1:
        return "The first word is fine; go on after it, or enter all twelve again."
    return f"The first {count} words are fine; go on after them, or enter all twelve again."


def _good_part(text: str, error: CodeError) -> str:
    """Return the words before the wrong one, when that is certain; else nothing, to begin again."""
    pieces = text.split()
    if error.position is None or error.position == 1 or not all(piece.isalpha() for piece in pieces):
        return ""
    return " ".join(pieces[: error.position - 1])


def _input(prompt: str) -> str:
    try:
        return input(prompt)
    except EOFError:
        click.echo()
        raise exit_codes.CommandError("no words, nothing was sent", exit_codes.USAGE) from None


def _prepare_line_editor() -> None:
    with suppress(ImportError):  # not every Python has it; the prompt works without
        import readline

        readline.set_auto_history(False)
        readline.set_completer(_completion)
        readline.set_completer_delims(" ,\t\n")
        readline.parse_and_bind("tab: complete")


def _completion(prefix: str, number: int) -> str | None:
    found = complete(prefix) if len(prefix) >= 2 else ()
    return f"{found[number]} " if number < len(found) else None
