"""Writes the figures of a run into docs/performance.md, between two marks, as Markdown tables."""

import re
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .benchmark_run import Row
from .report import cells

BEGIN, END = "<!-- figures: written by make bench PUBLISH=1 -->\n", "<!-- end of the figures -->\n"
TITLES = {
    "pairing": "Pairing",
    "commands": "Command lines",
    "sessions": "A process for each pairing",
    "many_sessions": "Many sessions",
    "node": "One node",
    "watching": "What watching costs",
    "load": "Under load",
    "messages": "The supervisor",
    "transports": "Transports",
    "distance": "At a distance",
    "discovery": "Discovery",
    "dht_size": "A DHT of 200",
}


def publish(figures: dict[str, Any], document: Path) -> None:
    """Replace the sections between the marks; those without figures stay as they are, perhaps by hand.

    Raises ValueError if the marks are missing.
    """
    before, begin, rest = document.read_text().partition(BEGIN)
    old, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{document} has no place for figures")
    kept = {
        text.partition("\n")[0]: f"### {text.rstrip()}\n" for text in re.split("^### ", old, flags=re.M)[1:]
    }
    new = {TITLES[name]: _section(TITLES[name], found) for name, found in figures.items() if name in TITLES}
    titles = [*TITLES.values(), *kept]
    sections = sorted({**kept, **new}.items(), key=lambda section: titles.index(section[0]))
    text = "\n".join(section for _title, section in sections)
    document.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")


def _section(title: str, found: dict[str, Any]) -> str:
    about = found["machine"]
    machine = f"{about['cores']} cores of {about['processor']}, {about['memory_gib']} GiB"
    lines = [
        f"### {title}",
        "",
        f"{found['date']}, {machine}, Linux {about['kernel']}, Python {about['python']}.",
        "",
        "| | aim | figure | beside it | ratio | |",
        "|---|--:|--:|---|--:|---|",
        *("| " + " | ".join(_markdown(row)) + " |" for row in found["rows"]),
        *(["", *map(_note, found["notes"])] if found["notes"] else []),
        "",
    ]
    return "\n".join(lines)


def _note(text: str) -> str:
    return textwrap.fill(f"- {text}", 118, subsequent_indent="  ")


def _markdown(stored: dict[str, Any]) -> Sequence[str]:
    row = Row(**{key: value for key, value in stored.items() if key not in ("ratio", "reached")})
    what, *rest, reached = cells(row)
    return what.replace("|", "\\|"), *rest, f"**{reached}**" if reached == "missed" else reached
