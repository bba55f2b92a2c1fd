"""The bounds of a code's life are the same wherever they are stated.

The command line states them as figures, because it imports no message before it knows what it has to do.
"""

import math

import click
import pytest

from spacedrive_node.cli.pair_and_join import join
from spacedrive_node.cli.up import up
from spacedrive_node.messages.base import MalformedMessageError, encode
from spacedrive_node.messages.to_gateway import SessionView, decode
from spacedrive_node.messages.types import MAX_CODE_LIFETIME_SECONDS, MIN_CODE_LIFETIME_SECONDS


def test_the_help_of_up_states_the_bounds_that_the_configuration_has() -> None:
    option = next(option for option in up.params if option.name == "code_lifetime")
    assert isinstance(option, click.Option)
    assert f"{MIN_CODE_LIFETIME_SECONDS} to {MAX_CODE_LIFETIME_SECONDS}" in (option.help or "")


@pytest.mark.parametrize("field", ["started", "expires", "seconds"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0, 1e300])
def test_a_session_cannot_name_a_time_that_no_clock_has(field: str, value: float) -> None:
    """A client would have to print it, or count it down."""
    fields: dict[str, object] = {"session": "0" * 16, "role": "joiner", "stage": "waiting", "started": 1.0}
    assert isinstance(decode(encode(SessionView(**fields))), SessionView)  # type: ignore[arg-type]
    with pytest.raises(MalformedMessageError):
        decode(encode(SessionView(**{**fields, field: value})))  # type: ignore[arg-type]


def test_nobody_searches_longer_than_a_code_lives() -> None:
    option = next(option for option in join.params if option.name == "timeout")
    assert isinstance(option.type, click.FloatRange)
    assert option.type.max == MAX_CODE_LIFETIME_SECONDS
