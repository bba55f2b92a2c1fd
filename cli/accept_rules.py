"""Which device `sdnode pair` and `join` accept unasked: --accept, for machines where nobody answers.

Pure: texts and a device in, a decision out. A device has proved that it knows the words before any rule is
looked at, and `id` and `peer` name keys, which nobody else can have. A name is what a device calls itself
(docs/security.md, "What an attacker gets").
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ..messages.control_protocol import ShownDevice

_MAX_RULES = 64
_is_device_id = re.compile("[0-9a-f]{32}").fullmatch


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: `kind` is any, name, id or peer."""

    kind: str
    value: str = ""

    def fits(self, device: "ShownDevice") -> bool:
        """Return whether this rule accepts a device."""
        match self.kind:
            case "any":
                return True
            case "name":
                return device.name == self.value
            case "id":
                return device.device_id.hex() == self.value
            case "peer":
                return device.peer_id == self.value
        return False


ANY = Rule("any")


def are_fit(rules: Sequence[Rule], device: "ShownDevice | None") -> bool:
    """Return whether one of the rules accepts a device; nobody is accepted who is not known."""
    return device is not None and any(rule.fits(device) for rule in rules)


class RuleType(click.ParamType):  # type: ignore[type-arg] # generic in new versions of click only
    """The value of --accept: any, name=TEXT, id=DEVICE-ID or peer=PEER-ID."""

    name = "rule"
    expected = (
        "any, name=TEXT, id=… (32 digits, as `sdnode devices --json` shows) or peer=12D3KooW… is needed"
    )

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Rule:
        """Return the rule. Raises BadParameter."""
        if isinstance(value, Rule):
            return value
        kind, separator, wanted = str(value).partition("=")
        if value == "any":
            return ANY
        if kind == "id":
            wanted = wanted.replace(" ", "").lower()
        is_right = {
            "name": bool(wanted.strip()),
            "id": bool(_is_device_id(wanted)),
            "peer": _is_peer_id(wanted),
        }
        if not separator or not is_right.get(kind, False):
            self.fail(self.expected, param, ctx)
        return Rule(kind, wanted)


def _is_peer_id(text: str) -> bool:
    from ..protocol.peer_ids import peer_id_from_text

    try:
        peer_id_from_text(text)
    except ValueError:
        return False
    return True


def check_rules(rules: Sequence[Rule], *, yes: bool, check: bool) -> tuple[Rule, ...] | None:
    """Return the rules by which to accept unasked, None if somebody is to be asked. Raises UsageError."""
    if check and (yes or rules):
        given = "--yes" if yes else "--accept"
        raise click.UsageError(
            f"{given} asks nothing, so --check cannot ask for the digits; give one of them"
        )
    if yes and rules:
        raise click.UsageError("--yes accepts every device, so --accept changes nothing; give one of them")
    if len(rules) > _MAX_RULES:
        raise click.UsageError(f"there are more than {_MAX_RULES} rules")
    return (ANY,) if yes else tuple(rules) or None
