"""`sdnode doctor`: looks for what is wrong with a node, or with this host, and says what to do.

Owns the options, the order of these steps, and how findings are shown. What is known is gathered by
doctor_gather.py and judged by doctor_findings.py; doctor_bundle.py writes what goes into a bug report.
"""

import os
from typing import TYPE_CHECKING

import click

from . import exit_codes
from .choose_node import node_options
from .click_commands import Command
from .complete_values import files
from .errors import CommandError, print_to_stderr
from .json_output import json_option, print_json
from .output import write_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from .doctor_findings import Finding


def _file_option(name: str, text: str) -> "Callable[[Callable[..., int]], Callable[..., int]]":
    return click.option(name, metavar="FILE", shell_complete=files, help=text)


@click.command(cls=Command)
@node_options
@_file_option("--config", "TOML file with the settings of the node.")
@_file_option("--bundle", "Write a tar.gz for a bug report; it holds no secrets.")
@_file_option("--log", "The node's log, whose end goes into the bundle.")
@json_option
def doctor(
    data_dir: str | None,
    control: str | None,
    config: str | None,
    bundle: str | None,
    log: str | None,
    as_json: bool,
) -> int:
    """Look for what is wrong with the node, and with this host, and say what to do.

    Without a running node it checks what can be checked. It sends nothing to any network.

    Exit codes: 0 nothing to mend, 9 a problem was found, 2 usage.
    """
    from .doctor_bundle import write_bundle
    from .doctor_findings import find
    from .doctor_gather import gather

    if log is not None and bundle is None:
        raise CommandError("--log needs --bundle FILE, into which its end goes", exit_codes.USAGE)
    facts, scrape = gather(data_dir, control, config, os.environ)
    findings = find(facts)
    if as_json:
        for finding in findings:
            print_json(finding_object(finding))
    else:
        _print_findings(findings)
    if bundle is not None:
        write_bundle(bundle, facts, findings, scrape, log or facts.log_file)
        print_to_stderr(
            f"wrote {bundle}; it names this device, its addresses and its peer id, and no secret: "
            "look into it before you send it"
        )
    has_problems = any(finding.level == "problem" for finding in findings)
    return exit_codes.FINDINGS if has_problems else exit_codes.OK


def finding_object(finding: "Finding") -> dict[str, object]:
    """Return a finding as scripts read it (docs/interfaces.md, "sdnode doctor")."""
    return {
        "area": finding.area,
        "check": finding.check,
        "level": finding.level,
        "text": finding.text,
        "advice": finding.advice,
    }


def _print_findings(findings: "list[Finding]") -> None:
    from .tables import print_text

    area = ""
    for finding in findings:
        if finding.area != area:
            if area:
                write_line("")
            area = finding.area
            write_line(area)
        print_text(f"  {finding.level:<7}  {finding.text}", " " * 11)
        if finding.advice:
            print_text(f"{' ' * 11}-> {finding.advice}", " " * 14)
    counts = {level: sum(finding.level == level for finding in findings) for level in ("problem", "note")}
    write_line("")
    if counts["problem"]:
        print_text(f"{_counted(counts['problem'], 'problem')} and {_counted(counts['note'], 'note')}")
    else:
        print_text(f"nothing is broken; {_counted(counts['note'], 'note')}")


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
