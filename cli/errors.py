"""The outermost frame of every command: an error becomes one line on stderr and an exit code.

Owns CommandError and the mapping of every other exception. No traceback reaches a user, and no text of an
unexpected error either, for it might quote a secret: both come only with --debug.
"""

import errno
import os
import sys
import traceback
from contextlib import suppress

import click

from ..messages.errors import SpacedriveNodeError
from . import exit_codes
from .output import discard_stdout, open_standard_streams, shown, terminal_columns
from .text_layout import wrapped


class CommandError(SpacedriveNodeError):
    """Ends the command: its text goes to stderr, for people, and `code` to the shell."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


_OUTPUT_ERRORS = frozenset({errno.EBADF, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENOSPC})
"""Of a standard output that takes nothing: a full disk, a terminal that is gone, a file open for reading."""

# When several tasks have failed together, an error of the first of these types explains the others.
_EXPLANATORY_ERRORS = (
    KeyboardInterrupt,
    click.exceptions.Exit,
    click.Abort,
    CommandError,
    click.ClickException,
)


def run_guarded(argv: list[str]) -> int:
    """Run the command line and return its exit code. Never raises."""
    debug = "--debug" in argv or bool(os.environ.get("SDNODE_DEBUG"))
    if "--debug" in argv:
        argv = [argument for argument in argv if argument != "--debug"]
    open_standard_streams()
    try:
        from .main import cli

        if "_SDNODE_COMPLETE" in os.environ:  # a shell asks: see completion.py
            from .completion import register_shells

            register_shells()

        result = cli.main(args=argv, prog_name="sdnode", standalone_mode=False)
        code = result if isinstance(result, int) else exit_codes.OK
        sys.stdout.flush()
    except BaseException as error:  # nothing may pass: this is the last place that can report it
        if debug:
            traceback.print_exc()
        code = report(root_cause(error))
    return code


def root_cause(error: BaseException) -> BaseException:
    """Return the one error that explains a group of errors, as trio raises them; any other error as it is."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    leaves = [root_cause(part) for part in error.exceptions]
    for kind in _EXPLANATORY_ERRORS:
        for leaf in leaves:
            if isinstance(leaf, kind):
                return leaf
    return leaves[0]


def report(error: BaseException) -> int:
    """Print what happened, in one line on stderr, and return the exit code for it."""
    match error:
        case click.exceptions.Exit():
            return error.exit_code
        case SystemExit():
            return error.code if isinstance(error.code, int) else exit_codes.INTERNAL
        case KeyboardInterrupt() | click.Abort():
            return exit_codes.INTERRUPTED
        case CommandError():
            print_to_stderr(str(error))
            return error.code
        case click.UsageError():
            hint = f"\ntry: {error.ctx.command_path} --help" if error.ctx is not None else ""
            # Where a choice is missing, click lists it behind tabs.
            print_to_stderr(error.format_message().replace("\t", "  ") + hint)
            return exit_codes.USAGE
        case click.ClickException():
            print_to_stderr(error.format_message())
            return error.exit_code
        case BrokenPipeError():
            discard_stdout()
            return exit_codes.INTERNAL
        case OSError(errno=number) if number in _OUTPUT_ERRORS:
            discard_stdout()
            print_to_stderr(f"the output, or a file, cannot be written: {os.strerror(number)}")
            return exit_codes.INTERNAL
    return _report_node_error(error)


def _report_node_error(error: BaseException) -> int:
    # An exception can only come from a module that the command has imported. Those that it has not imported
    # are not imported here either, so a command that needed no node does not pay for the client.
    if "spacedrive_node.config.loading" in sys.modules:
        from ..config.loading import ConfigError

        if isinstance(error, ConfigError):
            print_to_stderr("\n".join(["the configuration is not usable", *error.problems]))
            return exit_codes.USAGE
    if "spacedrive_node.config.paths" in sys.modules:
        from ..config.paths import UnsafePathError

        if isinstance(error, UnsafePathError):
            print_to_stderr(str(error))
            return exit_codes.of_refusal(error)
    if "spacedrive_node.config.running_nodes" in sys.modules:
        from ..config.running_nodes import NoNodeRunningError, SeveralNodesError

        match error:
            case NoNodeRunningError():
                print_to_stderr(str(error))
                return exit_codes.NO_NODE
            case SeveralNodesError():
                print_to_stderr(str(error))
                return exit_codes.USAGE
    if "spacedrive_node.client.errors" in sys.modules:
        from ..client.errors import ControlError, NodeGoneError

        match error:
            case ControlError():
                print_to_stderr(error.message or f"the node refused: {error.code}")
                return exit_codes.of_error(error.code)
            case NodeGoneError():
                print_to_stderr(str(error))
                return exit_codes.NO_NODE
    print_to_stderr(f"internal error ({type(error).__name__}{_place(error)}); run with --debug for details")
    return exit_codes.INTERNAL


def _place(error: BaseException) -> str:
    """Return file and line where the error was raised: enough to report a defect, and never a secret."""
    frames = traceback.extract_tb(error.__traceback__)
    return f" at {os.path.basename(frames[-1].filename)}:{frames[-1].lineno}" if frames else ""


def print_to_stderr(message: str) -> None:
    """Write an error, or a remark that must not be mixed with the output, to stderr."""
    columns = None
    with suppress(ValueError):  # it is closed
        columns = terminal_columns(sys.stderr)
    lines = [
        part
        for line in f"sdnode: {message}".split("\n")
        for part in wrapped(shown(line, sys.stderr), columns)
    ]
    with suppress(OSError, ValueError):  # its reader is gone
        if "JOURNAL_STREAM" in os.environ:
            from ..config import journal

            mark = journal.priority("error") if journal.is_journal(sys.stderr.fileno()) else ""
            lines = [f"{mark}{line}" for line in lines]
        print("\n".join(lines), file=sys.stderr, flush=True)
