"""Command classes for click whose usage errors never repeat what was typed.

An argument in the wrong place may be the words of a code (`sdnode pair WORDS`) or a passphrase
(`--passphrase-fd PASSPHRASE`), and terminals, services and scripts keep what is written to standard error.
Owns these messages and nothing else.
"""

import math
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

import click

_MAX_SHOWN_CHARS = 16
"""Of a mistyped command: a longer one is not repeated. No secret is so short."""


class FiniteRange(click.FloatRange):
    """A number between two others; `nan` is between no two, whatever comparisons say of it."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number. Raises BadParameter."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail("not a number", param, ctx)
        return number


class _HelpFormatter(click.HelpFormatter):
    """Help whose options leave room for their text, on a narrow terminal too."""

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        """Write options and what they do, in two columns."""
        super().write_dl(rows, min(col_max, self.width // 2), col_spacing)


class _Context(click.Context):
    formatter_class = _HelpFormatter


class Command(click.Command):
    """A command whose usage errors name what is wrong and not what was given."""

    context_class = _Context

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse. Raises UsageError."""
        ctx.allow_extra_args = True  # click would refuse them by listing them
        try:
            extra = super().parse_args(ctx, args)
        except click.MissingParameter:
            raise
        except click.BadParameter as error:
            expected = _expected_value(error.param)
            raise click.BadParameter(expected, ctx, error.param, error.param_hint) from None
        if extra and not ctx.resilient_parsing:
            ctx.fail(
                "there is an argument too many" if len(extra) == 1 else f"{len(extra)} arguments too many"
            )
        return extra


class Group(click.Group):
    """A group of such commands; an unknown name is repeated only if it is short enough to be a mistake."""

    command_class = Command
    context_class = _Context

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command. Raises UsageError."""
        if ctx.resilient_parsing:  # a shell completes what is being typed
            known = self.get_command(ctx, args[0])
            return args[0], known, args[1:]
        names = self.list_commands(ctx)
        if args and args[0] not in names and not args[0].startswith("-"):
            if len(args[0]) > _MAX_SHOWN_CHARS:
                raise click.UsageError("no such command", ctx)
            near = get_close_matches(args[0], names, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise click.UsageError(f"no such command: {args[0]!r}{hint}", ctx)
        return super().resolve_command(ctx, args)


def _expected_value(param: click.Parameter | None) -> str:
    """Return what a parameter accepts, in place of click's message, which quotes the value."""
    kind = param.type if param is not None else None
    if expected := getattr(kind, "expected", ""):
        return str(expected)
    if isinstance(kind, click.IntRange | click.FloatRange):
        return f"a number from {kind.min:g} to {kind.max:g} is needed"
    if isinstance(kind, click.Choice):
        return f"one of {', '.join(kind.choices)} is needed"
    return "a number is needed" if kind in (click.INT, click.FLOAT) else "this cannot be used"
