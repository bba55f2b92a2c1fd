"""The bounds of a code's life are the same wherever they are stated.

The command line states them as figures, because it imports no message before it knows what it has to do.
"""

import click

from spacedrive_node.cli.pair_and_join import join
from spacedrive_node.cli.up import up
from spacedrive_node.messages.types import MAX_CODE_LIFETIME_SECONDS, MIN_CODE_LIFETIME_SECONDS


def test_the_help_of_up_states_the_bounds_that_the_configuration_has() -> None:
    option = next(option for option in up.params if option.name == "code_lifetime")
    assert isinstance(option, click.Option)
    assert f"{MIN_CODE_LIFETIME_SECONDS} to {MAX_CODE_LIFETIME_SECONDS}" in (option.help or "")


def test_nobody_searches_longer_than_a_code_lives() -> None:
    option = next(option for option in join.params if option.name == "timeout")
    assert isinstance(option.type, click.FloatRange)
    assert option.type.max == MAX_CODE_LIFETIME_SECONDS
