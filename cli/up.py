"""`sdnode up`: reads the configuration, runs the node in this process, reports when it is ready.

Owns what people and scripts see of a starting node. What a node consists of, and its signals, are node.py's.
"""

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..import_stubs import stub_unused_modules
from . import exit_codes
from .click_commands import Command
from .complete_values import Completer, directories, files, one_of
from .errors import CommandError
from .json_output import json_line, json_option, print_json
from .output import terminal_columns
from .public_network import PUBLIC_HELP, PUBLIC_IS_USED

if TYPE_CHECKING:
    from ..config.loading import LoadedConfig
    from ..node import Ready
    from .passphrase import PassphraseSource

_UNUSED_BY_TRIO = ("idna", "ssl", "trio._dtls", "trio._highlevel_ssl_helpers", "trio._ssl")
"""1.3 MiB that the supervisor would keep for as long as the node runs. It speaks with no other machine."""
_MULTI = {"multiple": True, "metavar": "MULTIADDR"}
# In the order of the help. Values are not checked here: config/loading.py checks them, from whatever source.
_FLAGS: tuple[tuple[str, dict[str, Any]], ...] = (
    (
        "--data-dir",
        {"metavar": "DIR", "help": "Where the device's identity and its trusted devices are kept."},
    ),
    (
        "--passphrase-file",
        {"metavar": "FILE", "help": "The identity is sealed with the passphrase in this file."},
    ),
    ("--name", {"metavar": "TEXT", "help": "Name of this device, as others see it."}),
    ("--control", {"metavar": "PATH", "help": "Control socket."}),
    ("--metrics-listen", {"metavar": "HOST:PORT", "help": "Metrics over HTTP, or off. [127.0.0.1:9464]"}),
    ("--web", {"metavar": "HOST:PORT", "help": "A page for a browser on this host, or off. [off]"}),
    ("--web-token-file", {"metavar": "FILE", "help": "Its token is in this file, and is not printed."}),
    ("--listen", {**_MULTI, "help": "Listen here; may be repeated. [IPv4 and IPv6, port 7520]"}),
    ("--quic/--no-quic", {"default": None, "help": "Without --listen, listen on QUIC too. [yes]"}),
    ("--websocket-path", {"metavar": "PATH", "help": "Of WebSocket listeners. [/]"}),
    (
        "--websocket-proxies",
        {"multiple": True, "metavar": "NETWORK", "help": "Its X-Forwarded-For counts; may be repeated."},
    ),
    ("--tls-certificate", {"metavar": "FILE", "help": "Certificate of listeners with /tls/ws."}),
    ("--tls-key", {"metavar": "FILE", "help": "Its private key."}),
    ("--tls-ca", {"metavar": "FILE", "help": "More roots that are trusted in dials of /tls/ws."}),
    ("--announce", {**_MULTI, "help": "Tell others this address; may be repeated."}),
    ("--bootstrap", {**_MULTI, "help": "Join the DHT through this node, with /p2p/ID; may be repeated."}),
    ("--relay", {**_MULTI, "help": "Be reached through this relay, with /p2p/ID; may be repeated."}),
    ("--relay-service/--no-relay-service", {"default": None, "help": "Be a relay for others. [no]"}),
    ("--public/--no-public", {"default": None, "help": PUBLIC_HELP}),
    (
        "--dns",
        {"multiple": True, "metavar": "ADDRESS[:PORT]", "help": "Name server for /dnsaddr; may be repeated."},
    ),
    ("--dht-protocol", {"metavar": "ID", "help": "Protocol id of the DHT. [/spacedrive/kad/1.0.0]"}),
    ("--dht-mode", {"metavar": "auto|server|client", "help": "Answer the DHT requests of others? [auto]"}),
    ("--mdns/--no-mdns", {"default": None, "help": "Find devices on the local network by mDNS. [yes]"}),
    (
        "--same-host/--no-same-host",
        {"default": None, "help": "Find other nodes of yours on this host. [yes]"},
    ),
    ("--lan-only/--no-lan-only", {"default": None, "help": "Speak with the local network only. [no]"}),
    ("--offline/--no-offline", {"default": None, "help": "Speak with this host only. [no]"}),
    (
        "--port-mapping/--no-port-mapping",
        {"default": None, "help": "Have the router open the node's ports. [yes]"},
    ),
    ("--max-sessions", {"metavar": "N", "help": "Pairings at once. [256]"}),
    ("--code-lifetime", {"metavar": "SECONDS", "help": "How long a code may be used, 60 to 3600. [300]"}),
    ("--log-format", {"metavar": "console|json", "help": "[console]"}),
    ("--log-level", {"metavar": "LEVEL", "help": "debug, info, warning or error. [info]"}),
)


_COMPLETERS: dict[str, Completer] = {
    "--data-dir": directories,
    **dict.fromkeys(("--passphrase-file", "--web-token-file", "--control"), files),
    **dict.fromkeys(("--tls-certificate", "--tls-key", "--tls-ca"), files),
    "--metrics-listen": one_of("127.0.0.1:9464", "off"),
    "--listen": one_of("/ip4/0.0.0.0/tcp/7520", "/ip4/0.0.0.0/udp/7520/quic-v1", "/ip6/::/tcp/7520",
                       "/ip6/::/udp/7520/quic-v1"),
    "--dht-mode": one_of("auto", "server", "client"),
    "--log-format": one_of("console", "json"),
    "--log-level": one_of("debug", "info", "warning", "error"),
}  # fmt: skip


def _configuration_flags(command: Callable[..., Any]) -> Callable[..., Any]:
    for name, details in reversed(_FLAGS):
        command = click.option(name, shell_complete=_COMPLETERS.get(name), **details)(command)
    return command


@click.command(cls=Command)
@click.option(
    "--config",
    "file",
    metavar="FILE",
    envvar="SDNODE_CONFIG",
    shell_complete=files,
    help="TOML file, keys as the flags.",
)
@_configuration_flags
@click.option("--passphrase-fd", type=int, metavar="N", help="Read the passphrase from this descriptor.")
@click.option("--ask-passphrase", "ask", is_flag=True, help="Ask for the passphrase on the terminal.")
@json_option
@click.option(
    "--check-config", is_flag=True, help="Print the effective configuration and its sources, and end."
)
@click.option("--lifeline", is_flag=True, hidden=True, help="Stop when standard input ends.")
def up(
    file: str | None,
    passphrase_fd: int | None,
    ask: bool,
    as_json: bool,
    check_config: bool,
    lifeline: bool,
    **flags: object,
) -> int:
    """Run the node in the foreground, until SIGTERM, Ctrl-C or the end of its terminal (nohup outlives that).

    A flag counts before an SDNODE_… variable, that before the file, that before the default.

    With a passphrase the identity of this device is sealed, if it is not yet; without, only the mode of its
    file protects it.
    """
    from ..config.loading import ConfigError, load_config, reader_again
    from ..config.node_sockets import wanted_control
    from ..config.paths import default_data_dir
    from .passphrase import choose_source

    sources = flags, dict(os.environ), file
    try:
        loaded = load_config(*sources)
    except ConfigError as error:
        raise CommandError(
            "\n".join(["the configuration is not usable", *error.problems]), exit_codes.USAGE
        ) from None
    source = choose_source(flags["passphrase_file"], loaded.config.passphrase_file, passphrase_fd, ask=ask)
    if lifeline and passphrase_fd == 0:
        raise CommandError(
            "--lifeline needs standard input; give --passphrase-fd another one", exit_codes.USAGE
        )
    data_dir = Path(loaded.config.data_dir) if loaded.config.data_dir else default_data_dir()
    control = wanted_control(loaded.config, data_dir)  # raises if a socket's path cannot be so long
    if check_config:
        _print_configuration(loaded, data_dir, control, as_json=as_json)
        return exit_codes.OK
    load = reader_again(*sources)
    return _run_node(loaded, load, source, has_file=file is not None, as_json=as_json, lifeline=lifeline)


def _print_configuration(loaded: "LoadedConfig", data_dir: Path, control: Path, *, as_json: bool) -> None:
    import platform

    from ..config.effective import effective_settings, to_toml

    remarks = [*loaded.remarks, *_own_bootstrap_remarks(loaded, data_dir)]
    loaded = replace(loaded, remarks=remarks)
    defaults = {"data-dir": str(data_dir), "control": str(control), "name": platform.node()}
    if as_json:
        print_json({"event": "config", "settings": effective_settings(loaded, defaults), "remarks": remarks})
    else:
        click.echo(to_toml(loaded, defaults), nl=False)


def _own_bootstrap_remarks(loaded: "LoadedConfig", data_dir: Path) -> list[str]:
    """Return what the node would warn of, if its peer id is known already and open to be read."""
    from ..actors.vault.identity_file import unsealed_peer
    from ..protocol.peer_ids import peer_id_text
    from .core_dumps import forbid_core_dumps

    if not loaded.config.bootstrap:
        return []
    forbid_core_dumps()  # the keys of the device are in this process for a moment
    peer = unsealed_peer(data_dir)
    own = f"/p2p/{peer_id_text(peer)}" if peer else None
    return [
        f"bootstrap: {address} is this node itself, and will be left out"
        for address in loaded.config.bootstrap
        if own is not None and address.endswith(own)
    ]


def _run_node(
    loaded: "LoadedConfig",
    load: "Callable[[], LoadedConfig]",
    source: "PassphraseSource",
    *,
    has_file: bool,
    as_json: bool,
    lifeline: bool,
) -> int:
    """Run a node; `load` reads its configuration again."""
    with stub_unused_modules(_UNUSED_BY_TRIO):
        import trio

    from ..config.paths import readable_by_others, runtime_dirs
    from ..logs import LineWriter, make_log
    from ..node import NodeFailedError, run_node
    from ..node_reload import SettingsSource
    from .core_dumps import forbid_core_dumps
    from .errors import root_cause
    from .passphrase import open_passphrase

    config = loaded.config
    forbid_core_dumps()  # the passphrase may be typed now, and Ctrl-\ is near
    log = make_log(config.log_format, config.log_level)
    for remark in loaded.remarks:
        log("supervisor", "warning", "configuration remark", {"remark": remark})
    if source.file is not None and readable_by_others(source.file):
        log("supervisor", "warning", "passphrase is readable by all users", {"file": source.file})
    if environment := os.environ.get("XDG_RUNTIME_DIR"):
        instead = runtime_dirs()[0]
        if instead.parent != Path(environment):
            log("supervisor", "warning", "XDG_RUNTIME_DIR is not this user's", {"instead": str(instead)})
    is_ready = False
    out = LineWriter(sys.stdout.fileno(), sys.stdout.encoding)

    def ready(line: "Ready") -> None:
        nonlocal is_ready
        is_ready = True
        out.write(
            (
                json_line(ready_event(line))
                if as_json
                else ready_text(line, config.data_dir, terminal_columns(), public=config.public)
            )
            + "\n"
        )

    def is_new() -> bool:
        from ..actors.vault.identity_file import would_seal
        from ..config.paths import default_data_dir

        return would_seal(Path(config.data_dir) if config.data_dir else default_data_dir())

    try:
        with open_passphrase(source, is_new) as fd:
            settings = SettingsSource(load, log.change, has_file)
            run = partial(run_node, config, ready=ready, log=log, lifeline=lifeline, settings=settings)
            trio.run(partial(run, passphrase_fd=fd))
    except BaseException as error:
        failure = root_cause(error)
        if not isinstance(failure, NodeFailedError):
            raise
        # What ends a running node is a failure. What keeps one from starting is for the user to change, or
        # may work later: systemd tries that again, and not the other (RestartPreventExitStatus).
        code = exit_codes.INTERNAL if is_ready else exit_codes.of_refusal(failure)
        raise CommandError(str(failure), code) from None
    finally:
        out.close()
        log.close()
    return exit_codes.OK


def ready_event(line: "Ready") -> dict[str, object]:
    """Return the event of --json."""
    from ..protocol.peer_ids import peer_id_text

    return {
        "event": "ready",
        "name": line.name,
        "peer_id": peer_id_text(line.peer),
        "addresses": list(line.addresses),
        "dial": [f"{address}/p2p/{peer_id_text(line.peer)}" for address in line.addresses],
        "control": line.control,
        "metrics": line.metrics,
        **({} if line.page is None else {"page": line.page}),
        **({} if line.page_token is None else {"page_token": line.page_token}),
    }


def ready_text(line: "Ready", data_dir: str | None, columns: int | None, *, public: bool = False) -> str:
    """Return what people read when the node is ready, on so many columns."""
    from ..config.paths import default_data_dir
    from ..protocol.peer_ids import peer_id_text
    from .text_layout import field_lines, wrapped

    fields = [
        ("  peer id", [peer_id_text(line.peer)]),
        ("  addresses", list(line.addresses)),
        ("  data", [data_dir or str(default_data_dir())]),
        ("  metrics", [line.metrics or "off"]),
        *([] if line.page is None else [("  page", [_page_link(line.page, line.page_token)])]),
        *([("  public", [PUBLIC_IS_USED])] if public else []),
    ]
    lines = [
        *wrapped(f"{line.name} is ready", columns),
        *field_lines(fields, columns),
        *wrapped(
            "next: sdnode pair (show words) or sdnode join (enter words); Ctrl-C stops the node", columns
        ),
    ]
    return "\n".join(lines)


def _page_link(page: str, token: str | None) -> str:
    """Return the address for a browser. What follows `#` stays in it: no request contains that."""
    return page if token is None else f"{page}#{token}"
