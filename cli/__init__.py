"""The sdnode command: a thin program that talks to a node through its control socket (docs/interfaces.md).

The frame:
    main             the command group: names and descriptions of all commands, each imported when it is run
    errors           the outermost frame of every command: an error becomes one line and an exit code
    exit_codes       what each exit code means
    click_commands   command classes whose usage errors never repeat what was typed
    choose_node      --data-dir and --control: which running node a command talks to
    output           what the locale cannot print, and what must not command a terminal, is escaped
    json_output      --json: one object per line
    text_layout      lines, fields and tables on so many columns
    tables           … printed; sizes and time spans for people

The commands:
    up               `sdnode up`: the node itself
    passphrase       … where its passphrase comes from
    terminal_lines   … typed without echo, and the terminal left as it was
    pair_and_join    `sdnode pair` and `sdnode join`: their options
    accept_rules     … which device is accepted unasked
    read_words       … the words of a code, from arguments, standard input or a prompt
    follow_pairing   … the pairing, from its start to its exit code
    pairing_events   … what happens in it, as events for scripts
    views            … how events are shown: as JSON or plain lines
    rich_view        … how they are shown on a terminal
    code_layout      … how the code stands there: words in a frame, and a QR code where it fits
    steady_view      … that no output error ends a pairing
    core_dumps       … that the words are in no core dump
    prompts          … questions that do not stop the rest
    devices          `sdnode devices`: list, rename, forget
    status           `sdnode status`
    actors           `sdnode actors`
    doctor           `sdnode doctor`
    doctor_facts     … what it knows, as values
    doctor_gather    … from where: the node, files, the clock
    doctor_probe     … and the kernel
    doctor_findings  … what follows from it
    doctor_bundle    … and what goes into a bug report
    completion       `sdnode completion`: the scripts of shells
    complete_values  … and what they offer
    man_pages        manual pages, at build time
    help_and_version `sdnode help` and `sdnode version`
    demo             `sdnode demo`: the command
    demo_run         … its course
    demo_nodes       … its nodes
    demo_view        … what it shows

Importing this package imports nothing else; every command imports what it needs when it runs.
"""

from collections.abc import Sequence

__all__ = ["run"]


def run(argv: Sequence[str]) -> int:
    """Run one command line (without the program's name) and return its exit code. Never raises."""
    from .errors import run_guarded

    return run_guarded(list(argv))
