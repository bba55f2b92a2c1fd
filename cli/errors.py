"""The outermost frame of every command: turns whatever happens into one line on stderr and an exit code.

No traceback reaches a user, and no text of an unexpected error either, for it might quote a secret: those
come only with --debug.
"""

import errno
import os
import sys
import traceback
from contextlib import suppress

import click

from . import exit_codes

# Exceptions that say more than others when several tasks failed together, in order.
_TELLING = (
    KeyboardInterrupt,
    click.exceptions.Exit,
    click.Abort,
    exit_codes.CommandError,
    click.ClickException,
)


def guarded(argv: list[str]) -> int:
    """Run the command line and return its exit code."""
    debug = "--debug" in argv or bool(os.environ.get("SDNODE_DEBUG"))
    if "--debug" in argv:
        argv = [argument for argument in argv if argument != "--debug"]
    _open_standard_streams()
    try:
        from .main import cli

        result = cli.main(args=argv, prog_name="sdnode", standalone_mode=False)
        code = result if isinstance(result, int) else exit_codes.OK
        sys.stdout.flush()
    except BaseException as error:  # the last resort by purpose: nothing may pass
        if debug:
            traceback.print_exc()
        code = report(leading(error))
    return code


def _open_standard_streams() -> None:
    """Put /dev/null where a standard stream is closed: whatever is opened next would take its place."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
    for name, number, mode in (("stdin", 0, "r"), ("stdout", 1, "w"), ("stderr", 2, "w")):
        if getattr(sys, name) is None:  # it was closed when the interpreter began
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115 - for the whole process


def leading(error: BaseException) -> BaseException:
    """Return the one error that explains a group of errors, as trio raises them."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    leaves = [leading(part) for part in error.exceptions]
    for kind in _TELLING:
        for leaf in leaves:
            if isinstance(leaf, kind):
                return leaf
    return leaves[0]


def report(error: BaseException) -> int:
    """Say what happened, in one line, and return the exit code for it."""
    match error:
        case click.exceptions.Exit():
            return error.exit_code
        case SystemExit():
            return error.code if isinstance(error.code, int) else exit_codes.INTERNAL
        case KeyboardInterrupt() | click.Abort():
            return exit_codes.INTERRUPTED
        case exit_codes.CommandError():
            say(str(error))
            return error.code
        case click.UsageError():
            hint = f"\ntry: {error.ctx.command_path} --help" if error.ctx is not None else ""
            say(error.format_message() + hint)
            return exit_codes.USAGE
        case click.ClickException():
            say(error.format_message())
            return error.exit_code
        case BrokenPipeError():
            _mute_stdout()
            return exit_codes.INTERNAL
        case OSError(errno=errno.ENOSPC):
            _mute_stdout()
            say("no space left on the device that the output, or a file, was to be written to")
            return exit_codes.INTERNAL
    return _report_node_error(error)


def _report_node_error(error: BaseException) -> int:
    # Only what a command has imported can have been raised; a command that needed no node pays for nothing.
    if "spacedrive_node.config.settings" in sys.modules:
        from ..config.settings import ConfigError

        if isinstance(error, ConfigError):
            say("\n".join(["the configuration is not usable", *error.problems]))
            return exit_codes.USAGE
    if "spacedrive_node.config.paths" in sys.modules:
        from ..config.paths import NoNodeRunningError, SeveralNodesError, UnsafePathError

        match error:
            case NoNodeRunningError():
                say(str(error))
                return exit_codes.NO_NODE
            case SeveralNodesError() | UnsafePathError():
                say(str(error))
                return exit_codes.USAGE
    if "spacedrive_node.client.errors" in sys.modules:
        from ..client.errors import ControlError, NodeGoneError

        match error:
            case ControlError():
                say(error.message or f"the node refused: {error.code}")
                return exit_codes.of_error(error.code)
            case NodeGoneError():
                say(str(error))
                return exit_codes.NO_NODE
    say(f"internal error ({type(error).__name__}{_place(error)}); run with --debug for details")
    return exit_codes.INTERNAL


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f" at {os.path.basename(frames[-1].filename)}:{frames[-1].lineno}" if frames else ""


def say(message: str) -> None:
    """Write one message to stderr."""
    with suppress(OSError):  # nobody listens
        print(f"sdnode: {message}", file=sys.stderr, flush=True)


def _mute_stdout() -> None:
    """Keep the interpreter from complaining about the closed pipe when it flushes at exit."""
    with suppress(OSError, ValueError):  # stdout is no real file: then nothing is flushed into it either
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
