"""`sdnode devices`: list the trusted devices, rename one, forget one."""

import os
import re
import sys
from typing import TYPE_CHECKING, NamedTuple

import click

from . import exit_codes
from .choose_node import choose_control, node_options
from .click_commands import Group
from .complete_values import device_ids
from .errors import CommandError, print_to_stderr
from .json_output import json_option, print_json
from .output import printable, write_line

if TYPE_CHECKING:
    from pathlib import Path

    from ..messages.to_gateway import Device

_SHORT_ID_DIGITS = 12
_is_id_prefix = re.compile("[0-9a-f]{1,32}").fullmatch


class Options(NamedTuple):
    """The options that may be given before the name of the subcommand as well as after it."""

    data_dir: str | None
    control: str | None
    as_json: bool

    def overridden(self, data_dir: str | None, control: str | None, as_json: bool) -> "Options":
        """Return these options with those given after the name in their place."""
        return Options(data_dir or self.data_dir, control or self.control, as_json or self.as_json)


@click.group(cls=Group, invoke_without_command=True)
@node_options
@json_option
@click.pass_context
def devices(ctx: click.Context, data_dir: str | None, control: str | None, as_json: bool) -> int:
    """List, rename and forget trusted devices; alone it lists them.

    ID is the id of a device or its first digits, as long as they fit one device only.
    """
    ctx.obj = Options(data_dir, control, as_json)
    if ctx.invoked_subcommand is not None:
        return exit_codes.OK
    return _print_devices(ctx.obj)


@devices.command("list")
@node_options
@json_option
@click.pass_obj
def list_devices(group: Options, data_dir: str | None, control: str | None, as_json: bool) -> int:
    """List the trusted devices."""
    return _print_devices(group.overridden(data_dir, control, as_json))


@devices.command()
@click.argument("id", shell_complete=device_ids)
@click.argument("name")
@node_options
@json_option
@click.pass_obj
def rename(
    group: Options, id: str, name: str, data_dir: str | None, control: str | None, as_json: bool
) -> int:
    """Give a device another name on this node."""
    from ..client.one_shot import call
    from ..messages.control_protocol import Done, RenameDevice

    options = group.overridden(data_dir, control, as_json)
    node = choose_control(options.data_dir, options.control)
    device = find_device(id, fetch_devices(node))
    key = os.urandom(16)
    call(node, Done, lambda id: RenameDevice(id, key, device.device_id, name))
    _print_change(options.as_json, "renamed", device, name)
    return exit_codes.OK


@devices.command()
@click.argument("id", shell_complete=device_ids)
@click.option("--yes", is_flag=True, help="Do not ask.")
@node_options
@json_option
@click.pass_obj
def forget(
    group: Options, id: str, yes: bool, data_dir: str | None, control: str | None, as_json: bool
) -> int:
    """Trust a device no longer; to trust it again both must be paired again."""
    from ..client.one_shot import call
    from ..messages.control_protocol import Done, ForgetDevice

    options = group.overridden(data_dir, control, as_json)
    node = choose_control(options.data_dir, options.control)
    device = find_device(id, fetch_devices(node))
    if not yes:
        if not sys.stdin.isatty():
            raise CommandError(
                "nobody is there to ask; give --yes to forget without a question", exit_codes.USAGE
            )
        short_id = device.device_id.hex()[:_SHORT_ID_DIGITS]
        if not click.confirm(f"Forget {printable(device.name)} ({short_id})?"):
            print_to_stderr("nothing was changed")
            return exit_codes.OK
    key = os.urandom(16)
    call(node, Done, lambda id: ForgetDevice(id, key, device.device_id))
    _print_change(options.as_json, "forgotten", device, device.name)
    return exit_codes.OK


def fetch_devices(node: "Path", timeout: float | None = None) -> "list[Device]":
    """Return all trusted devices of a node, requested page after page, in order of device id.

    Each page within `timeout`, if one is given.
    """
    from ..client.one_shot import call
    from ..messages.control_protocol import DeviceList, ListDevices

    found: list[Device] = []
    more = True
    while more:
        after = found[-1].device_id if found else b""
        page = call(node, DeviceList, lambda id, after=after: ListDevices(id, after), timeout)  # type: ignore[misc]
        found += page.devices
        more = page.more and bool(page.devices)
    return found


def find_device(prefix: str, known: "list[Device]") -> "Device":
    """Return the device whose id begins with `prefix`. Raises CommandError unless it is exactly one."""
    wanted = prefix.strip().lower().replace(" ", "")
    if not _is_id_prefix(wanted):
        raise CommandError(
            "an id has up to 32 digits and letters a to f, as `sdnode devices` shows them", exit_codes.USAGE
        )
    found = [device for device in known if device.device_id.hex().startswith(wanted)]
    if len(found) == 1:
        return found[0]
    if not found:
        raise CommandError(f"no trusted device has an id that begins with {wanted!r}", exit_codes.USAGE)
    lines = [f"  {device.device_id.hex()}  {device.name}" for device in found]
    raise CommandError(
        f"several devices have an id that begins with {wanted!r}:\n" + "\n".join(lines), exit_codes.USAGE
    )


def _print_change(as_json: bool, event: str, device: "Device", name: str) -> None:
    if as_json:
        print_json({"event": event, "id": device.device_id.hex(), "name": name})
    else:
        change = name if name == device.name else f"{device.name} is now {name}"
        write_line(printable(f"{event}: {change}"))


def _print_devices(options: Options) -> int:
    found = fetch_devices(choose_control(options.data_dir, options.control))
    if options.as_json:
        for device in found:
            print_json(device_object(device))
    elif not found:
        write_line("no trusted devices yet; pair one with: sdnode pair")
    else:
        from .tables import print_table

        rows = [
            (
                device.device_id.hex()[:_SHORT_ID_DIGITS],
                device.name,
                device.os,
                device.state,
                local_time(device.paired_at),
                device.fingerprint,
            )
            for device in found
        ]
        print_table(("id", "name", "system", "state", "paired", "fingerprint"), rows)
    return exit_codes.OK


def device_object(device: "Device") -> dict[str, object]:
    """Return a device as scripts read it; `paired_at` is Unix time in seconds."""
    from ..protocol.peer_ids import peer_id_text

    return {
        "id": device.device_id.hex(),
        "name": device.name,
        "os": device.os,
        "peer_id": peer_id_text(device.peer),
        "public_key": device.public_key.hex(),
        "state": device.state,
        "paired_at": device.paired_at,
        "fingerprint": device.fingerprint,
    }


def local_time(seconds: float) -> str:
    """Return a moment in local time, to the minute."""
    import time

    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
