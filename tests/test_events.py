"""docs/events.md lists every event of the log, with its level, actor and fields, and no other.

Read from the source: each call that writes a line, however the line gets into the log. An event is a constant
there: what varies is in fields, so that a line can be searched for and counted by its event.
"""

import ast
import re
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import msgspec
import pytest

from spacedrive_node.messages.types import Reason, SessionId
from spacedrive_node.tests.harness.message_unions import UNIONS, members
from spacedrive_node.tests.test_layout import ROOT, sources

PAGE = ROOT / "docs" / "events.md"
ENTRY = re.compile(
    r"^- \*\*`(?P<event>[^`]+)`\*\* · (?P<levels>[a-z, ]+) · (?P<actors>[a-z, ]+) · (?P<fields>.+)$"
)
ANY = "any"
"""The actor of a line that each of them may write, or that is written about each of them."""
DYNAMIC = None


@dataclass(frozen=True)
class Form:
    """Where a function that writes a line gets it: positions of its arguments, which may be given by name.

    `level` may be the level itself. Without a position of `fields` they are all other arguments by name.
    """

    event: int
    level: int | str
    fields: int | None = None
    actor: int | None = None


WRITERS = {
    "log": Form(event=2, level=1, fields=3, actor=0),
    "_log": Form(event=2, level=1, fields=3, actor=0),
    "on_log": Form(event=2, level=1, fields=3, actor=0),
    "_line": Form(event=2, level=1, fields=3, actor=0),
    "mailbox.log": Form(event=1, level=0),
    "write_log": Form(event=1, level=0),
    "log_frame": Form(event=1, level=0, fields=2),
    "Log": Form(event=1, level=0, fields=2),
    "_log_for": Form(event=3, level=2, fields=4),
    "_on_log": Form(event=2, level=1, fields=3, actor=0),
    "Warn": Form(event=1, level="error", fields=2),
    "_warn": Form(event=0, level="warning", fields=1),
    "_warn_rarely": Form(event=0, level="warning"),
}
ABOUT = {"about"}
"""Arguments by name that are no fields."""
CALLABLES = {"WriteLog": {"log", "write_log"}, "OnLog": {"on_log"}, "LogFor": {"log_for"}, "Warn": {"warn"}}
"""What a parameter of such a type is called, so that calls of it are found."""


@dataclass
class Known:
    """What is known of one event."""

    levels: set[str] = field(default_factory=set)
    actors: set[str] = field(default_factory=set)
    fields: set[str] = field(default_factory=set)
    is_dynamic: bool = False
    """Its level or its fields are not all to be read from the source."""


def documented() -> dict[str, Known]:
    found = {}
    lines = PAGE.read_text().splitlines()
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if not line.startswith("- **`"):
            continue
        if line.endswith(","):  # its fields go on
            line = f"{line} {following.strip()}"
        entry = ENTRY.match(line)
        assert entry is not None, line
        assert following.startswith("  "), f"nothing is said about {entry['event']}"
        assert entry["event"] not in found, f"{entry['event']} is there twice"
        found[entry["event"]] = Known(
            set(entry["levels"].split(", ")),
            set(entry["actors"].split(", ")),
            set(re.findall(r"`([a-z_]+)`", entry["fields"])),
        )
    return found


class Source:
    """One module: its calls that write lines, each in the function that it is in."""

    def __init__(self, path: Path, text: str, constants: dict[str, str]) -> None:
        self.path = path
        self._tree = ast.parse(text)
        self._constants = constants
        self.problems: list[str] = []
        self.events: dict[str, Known] = {}

    def read(self) -> None:
        self._visit(self._tree, [])

    def _visit(self, node: ast.AST, functions: list[ast.AST]) -> None:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            functions = [*functions, node]
            self._check_names(node)
        if isinstance(node, ast.Call):
            self._read_call(node, functions)
        if isinstance(node, ast.Assign) and _name(node.value) in set().union(*CALLABLES.values()):
            for target in node.targets:
                if _name(target) not in WRITERS:
                    self._complain(target, f"a log that is called {_name(target)}")
        for child in ast.iter_child_nodes(node):
            self._visit(child, functions)

    def _check_names(self, function: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        for argument in _parameters(function):
            kind = getattr(argument.annotation, "id", "")
            if kind in CALLABLES and argument.arg not in CALLABLES[kind]:
                self._complain(argument, f"a {kind} that is called {argument.arg}")

    def _read_call(self, call: ast.Call, functions: list[ast.AST]) -> None:
        arguments = call.args
        name = _name(call.func)
        if name == "partial" and arguments:
            name, arguments = _name(arguments[0]), arguments[1:]
        form = WRITERS.get(name)
        if form is None or (name == "_line" and self.path.name != "logs.py"):
            return
        given = {keyword.arg: keyword.value for keyword in call.keywords}
        event = given.get("event", arguments[form.event] if form.event < len(arguments) else None)
        if event is None:
            if name not in ("log", "Log", "_on_log"):  # math.log, a matched frame, a line for a program
                self._complain(call, "no event")
            return
        if self._passes_on(event, functions):
            return
        text = self._constant(event)
        if text is None:
            self._complain(call, f"an event that varies: {ast.unparse(event)}")
            return
        known = self.events.setdefault(text, Known())
        known.actors.add(self._actor(form, arguments))
        known.levels |= self._levels(known, form, arguments, given)
        known.fields |= self._fields(known, form, arguments, given, functions)

    def _passes_on(self, event: ast.expr, functions: list[ast.AST]) -> bool:
        """Whether the event is a parameter of a function that is itself a writer, or of a child's frame."""
        if isinstance(event, ast.Attribute) and event.attr == "event":
            return True
        if isinstance(event, ast.Subscript):  # log_frame cuts it
            event = event.value
        writers = {*WRITERS, "__call__"}
        return isinstance(event, ast.Name) and any(
            function.name in writers and event.id in [one.arg for one in _parameters(function)]  # type: ignore[attr-defined]
            for function in functions
        )

    def _constant(self, value: ast.expr) -> str | None:
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            return value.value
        return self._constants.get(_name(value))

    def _actor(self, form: Form, arguments: list[ast.expr]) -> str:
        parts = self.path.relative_to(ROOT).parts
        if parts[0] == "actors" and len(parts) > 2:
            return parts[1]
        if form.actor is not None:
            return self._constant(arguments[form.actor]) or ANY
        return ANY

    def _levels(
        self, known: Known, form: Form, arguments: list[ast.expr], given: dict[str | None, ast.expr]
    ) -> set[str]:
        if isinstance(form.level, str):
            return {form.level}
        level = given.get("level", arguments[form.level] if form.level < len(arguments) else None)
        options = [level.body, level.orelse] if isinstance(level, ast.IfExp) else [level]
        found = {option.value for option in options if isinstance(option, ast.Constant)}
        known.is_dynamic |= len(found) < len(options)
        return {str(level) for level in found}

    def _fields(
        self,
        known: Known,
        form: Form,
        arguments: list[ast.expr],
        given: dict[str | None, ast.expr],
        functions: list[ast.AST],
    ) -> set[str]:
        if form.fields is None:
            known.is_dynamic |= None in given
            return {name for name in given if name is not None and name not in ABOUT}
        value = given.get("fields", arguments[form.fields] if form.fields < len(arguments) else None)
        if isinstance(value, ast.Name):
            value = _assigned(value.id, functions)
        if value is None and len(arguments) <= form.fields and "fields" not in given:
            return set()
        if not isinstance(value, ast.Dict):
            known.is_dynamic = True
            return set()
        names = {key.value for key in value.keys if isinstance(key, ast.Constant)}
        known.is_dynamic |= len(names) < len(value.keys)
        return {str(name) for name in names}

    def _complain(self, node: ast.expr | ast.arg, what: str) -> None:
        self.problems.append(f"{self.path.relative_to(ROOT)}:{node.lineno}: {what}")


def _parameters(function: ast.AST) -> list[ast.arg]:
    arguments = function.args  # type: ignore[attr-defined]
    return [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]


def _name(function: ast.expr) -> str:
    """The last name of a function or constant; `.log` of a mailbox is another one than `log`."""
    if isinstance(function, ast.Attribute):
        owner = _name(function.value)
        return f"mailbox.{function.attr}" if owner.endswith("mailbox") else function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _assigned(name: str, functions: list[ast.AST]) -> ast.expr | None:
    """What a local variable is set to, if that is done once."""
    found = []
    for node in ast.walk(functions[-1]):
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if isinstance(node, ast.Assign | ast.AnnAssign) and getattr(targets[0], "id", "") == name:
            found.append(node.value)
        elif isinstance(node, ast.Subscript) and getattr(node.value, "id", "") == name:
            return None  # items are added
    return found[0] if len(found) == 1 else None


def constants(paths: list[Path]) -> dict[str, str]:
    """The texts of the package's modules that have a name in capitals."""
    found: dict[str, str] = {}
    for path in paths:
        for node in ast.parse(path.read_text()).body:
            target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
            value = getattr(node, "value", None)
            if not (isinstance(target, ast.Name) and isinstance(value, ast.Constant)):
                continue
            if target.id.isupper() and isinstance(value.value, str):
                found[target.id] = value.value
    return found


def read_texts(texts: dict[Path, str], named: dict[str, str]) -> tuple[dict[str, Known], list[str]]:
    """Return the events of these modules, and what is wrong with their calls; `named` are constants."""
    events: dict[str, Known] = {}
    problems: list[str] = []
    for path, text in texts.items():
        source = Source(path, text, named)
        source.read()
        problems += source.problems
        for event, known in source.events.items():
            total = events.setdefault(event, Known())
            total.levels |= known.levels
            total.actors |= known.actors
            total.fields |= known.fields
            total.is_dynamic |= known.is_dynamic
    return events, problems


def read_package() -> tuple[dict[str, Known], list[str]]:
    paths = [path for path in sources() if path.relative_to(ROOT).parts[0] != "benchmarks"]
    return read_texts({path: path.read_text() for path in paths}, constants(paths))


EVENTS, PROBLEMS = read_package()


def test_every_event_is_a_constant() -> None:
    assert PROBLEMS == []
    assert len(EVENTS) > 40


def test_the_page_lists_every_event_and_no_other() -> None:
    assert sorted(documented()) == sorted(EVENTS)


@pytest.mark.parametrize("event", sorted(EVENTS))
def test_level_actor_and_fields_are_as_documented(event: str) -> None:
    """Where the source does not show all of them, at least those that it shows."""
    said, known = documented()[event], EVENTS[event]
    assert said.actors == known.actors
    if known.is_dynamic:
        assert known.levels <= said.levels
        assert known.fields <= said.fields
    else:
        assert (said.levels, said.fields) == (known.levels, known.fields)
    assert said.levels <= {"debug", "info", "warning", "error"}


def test_what_the_log_shows_of_messages_is_documented_and_no_secret() -> None:
    """Words of closed lists, yes and no, ids of sessions, and short reasons: at most four of each message."""
    kinds = {kind for union, _decode in UNIONS.values() for kind in members(union)}
    shown = {(kind, name) for kind in kinds for name in getattr(kind, "_logged", ())}
    assert {name for _kind, name in shown} <= documented()["message"].fields
    assert len(shown) > 10
    for kind, name in shown:
        assert len(kind._logged) <= 4
        assert name not in kind._secret
        field = next(one for one in msgspec.structs.fields(kind) if one.name == name)
        options = typing.get_args(field.type) if _is_union(field.type) else (field.type,)
        assert all(_may_be_shown(option) for option in options), (kind, name)


def _is_union(kind: object) -> bool:
    return isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union


def _may_be_shown(kind: object) -> bool:
    if typing.get_origin(kind) is Annotated and kind not in (Reason, SessionId):
        kind = typing.get_args(kind)[0]
    if typing.get_origin(kind) is tuple:
        return all(option is ... or _may_be_shown(option) for option in typing.get_args(kind))
    return kind in (bool, type(None), Reason, SessionId) or typing.get_origin(kind) is typing.Literal


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('log("swarm", "info", f"port {port}", {})', "an event that varies"),
        ("log_frame(level, remark, {})", "an event that varies"),
        ("async def f(self, event): await self._mailbox.log('info', event)", "an event that varies"),
        ("def f(tell: WriteLog): tell('swarm', 'info', 'new', {})", "a WriteLog that is called tell"),
        ("def f(self, log: WriteLog): self._tell = log", "a log that is called _tell"),
    ],
)
def test_an_event_that_varies_is_found(text: str, problem: str) -> None:
    _events, problems = read_texts({ROOT / "more.py": text}, {})
    assert len(problems) == 1
    assert problem in problems[0]


@pytest.mark.parametrize(
    "text",
    [
        'log("swarm", "info", "quite new", {"a": 1})',
        'log_frame("info", "quite new", {"a": 1})',
        'Log(level="info", event="quite new", fields={"a": 1})',
        "async def f(self): await self._mailbox.log('info', 'quite new', a=1)",
        "self.start_task(partial(self._mailbox.log, 'info', 'quite new', a=1))",
        'def f():\n  fields = {"a": 1}\n  on_log("x", "info", "quite new", fields)',
    ],
)
def test_a_new_event_is_found(text: str) -> None:
    """However it is written; so one that is not on the page fails the tests above."""
    events, problems = read_texts({ROOT / "more.py": text}, {})
    assert problems == []
    assert (events["quite new"].levels, events["quite new"].fields) == ({"info"}, {"a"})
