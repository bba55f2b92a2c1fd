"""Commands and groups that never repeat what they were given in the wrong place.

It may be the words of a code (`sdnode pair WORDS`) or a passphrase (`--passphrase-fd PASSPHRASE`), and what
stands on standard error is kept by terminals, services and scripts. Owns these messages and nothing else.
"""

from difflib import get_close_matches

import click

_LONGEST_NAME = 16
"""Characters of a mistyped command that are shown: there is no secret so short."""


class Command(click.Command):
    """A command whose usage errors say what is wrong and not what was given."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse. Raises UsageError."""
        ctx.allow_extra_args = True  # click would list them
        try:
            extra = super().parse_args(ctx, args)
        except click.MissingParameter:
            raise
        except click.BadParameter as error:
            raise click.BadParameter(_wanted(error.param), ctx, error.param, error.param_hint) from None
        if extra and not ctx.resilient_parsing:
            ctx.fail(
                "there is an argument too many" if len(extra) == 1 else f"{len(extra)} arguments too many"
            )
        return extra


class Group(click.Group):
    """A group of such commands; one that it does not have is named only if it looks like a name."""

    command_class = Command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command. Raises UsageError."""
        names = self.list_commands(ctx)
        if args and args[0] not in names and not args[0].startswith("-"):
            if len(args[0]) > _LONGEST_NAME:
                raise click.UsageError("no such command", ctx)
            near = get_close_matches(args[0], names, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise click.UsageError(f"no such command: {args[0]!r}{hint}", ctx)
        return super().resolve_command(ctx, args)


def _wanted(param: click.Parameter | None) -> str:
    kind = param.type if param is not None else None
    if isinstance(kind, click.IntRange | click.FloatRange):
        return f"a number from {kind.min:g} to {kind.max:g} is needed"
    return "a number is needed" if kind in (click.INT, click.FLOAT) else "this cannot be used"
