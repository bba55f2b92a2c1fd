"""What `sdnode reload` and SIGHUP do: read the settings again, and have the tree changed where they differ.

All of it or nothing. The settings are read and checked as at the start; one that cannot change while the node
runs is named, and the rest waits with it; an actor that does not get to work with the new settings brings all
actors back to the former ones. Which actor a setting concerns is not listed anywhere: it is the one whose
specification comes out different (node.py). docs/decisions/0021-reload.md.

Owns what the node runs with. Never starts or stops an actor: supervisor/reconfiguration.py does.
"""

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .config.certificates import FIELDS, problems_of_files, states_of_files
from .config.changes import changes_of
from .config.loading import ConfigError, LoadedConfig
from .config.node_sockets import NodeSocketError, NodeSockets
from .config.paths import UnsafePathError
from .config.settings import NodeConfig
from .logs import LogFormat, WriteLog
from .messages.to_gateway import ReloadReport, ReloadState, SettingChange
from .supervisor.child_specs import ChildSpec
from .supervisor.ledger import SUPERVISOR
from .supervisor.reconfiguration import Reconfiguration, SwitchFailedError, changes_between

_MAX_REASONS = 32
_MAX_REASON_BYTES = 500

ComposeSpecs = Callable[[NodeConfig, socket.socket | None], Sequence[ChildSpec]]
"""Returns the specifications of the singletons; the socket is that of metrics."""


@dataclass(frozen=True, slots=True)
class SettingsSource:
    """Where the settings of a running node come from, and who is told of those that concern its log.

    `load` reads them as at the start: the same flags and variables, the file as it is now; it raises
    ConfigError. `has_file`: there is a file.
    """

    load: Callable[[], LoadedConfig]
    change_log: Callable[[LogFormat, str], None]
    has_file: bool = True


class Reloader:
    """Carries out reloads, one at a time (supervisor/reload_desk.py).

    `config` is what the node runs with, `metrics` its socket. `limit_files` has this process open as many
    files as so many sessions need, and returns how many there is room for.
    """

    def __init__(
        self,
        config: NodeConfig,
        metrics: socket.socket | None,
        source: SettingsSource,
        compose: ComposeSpecs,
        sockets: NodeSockets,
        limit_files: Callable[[int], int],
        log: WriteLog,
    ) -> None:
        self._config = config
        self._metrics = metrics
        self._source = source
        self._compose = compose
        self._sockets = sockets
        self._limit_files = limit_files
        self._log = log
        self._files = states_of_files(config)

    async def reload(
        self, tree: Reconfiguration, check: bool, progress: Callable[[str], None]
    ) -> ReloadReport:
        """Carry out one reload, and log what has come of it; with `check` only say what would."""
        report = await self._reload(tree, check, progress)
        if not check:
            self._write_log(report)
        return report

    def _write_log(self, report: ReloadReport) -> None:
        log, why = self._log, "; ".join(report.reasons)[:300]
        match report.state:
            case "unchanged":
                log(SUPERVISOR, "info", "reloaded, nothing has changed", {})
            case "applied":
                settings, actors = (change.key for change in report.changes), ", ".join(report.actors)
                log(SUPERVISOR, "info", "reloaded", {"settings": ", ".join(settings), "actors": actors})
            case "refused":
                log(SUPERVISOR, "warning", "reload refused, nothing was changed", {"why": why})
            case "undone":
                log(SUPERVISOR, "error", "reload failed, the former settings are back", {"why": why})

    async def _reload(
        self, tree: Reconfiguration, check: bool, progress: Callable[[str], None]
    ) -> ReloadReport:
        try:
            new = self._source.load().config
            changes = changes_of(self._config, new)
        except ConfigError as error:
            return _report("refused", reasons=error.problems)
        except UnsafePathError as error:
            return _report("refused", reasons=[str(error)])
        except Exception as error:  # whatever a file may hold, it must not end a node that runs
            return _report("refused", reasons=[f"the settings cannot be read: {type(error).__name__}"])
        if fixed := [change.key for change in changes if change.needs_restart]:
            reasons = [f"{key} cannot change while the node runs: restart the node" for key in fixed]
            return _report("refused", changes, reasons=reasons)
        files = states_of_files(new)
        renewed = files != self._files and new.uses_websocket
        changes += tuple(
            SettingChange(key.replace("_", "-"), str(getattr(new, key)), "the same file, written anew")
            for key in FIELDS
            if renewed and getattr(new, key) == getattr(self._config, key) and files[key] != self._files[key]
        )
        if problems := problems_of_files(new):
            return _report("refused", changes, reasons=problems)
        if not changes:
            return _report("unchanged", reasons=() if self._source.has_file else [_NO_FILE])
        anew = {"swarm"} if renewed else set()
        try:
            wanted = self._compose(new, self._metrics)
        except UnsafePathError as error:  # the runtime directory is looked at again, and is another's now
            return _report("refused", changes, reasons=[str(error)])
        if check:
            return _report("possible", changes, changes_between(tree.specs, wanted, anew).actors)
        return await self._apply(tree, new, changes, anew, files, progress)

    async def _apply(
        self,
        tree: Reconfiguration,
        new: NodeConfig,
        changes: tuple[SettingChange, ...],
        anew: set[str],
        files: dict[str, object],
        progress: Callable[[str], None],
    ) -> ReloadReport:
        metrics = self._metrics
        try:
            if new.metrics_listen != self._config.metrics_listen:
                metrics = self._sockets.open_metrics(new)
        except NodeSocketError as error:
            return _report("refused", changes, reasons=[str(error)])
        wanted = self._compose(new, metrics)
        different = changes_between(tree.specs, wanted, anew)
        try:
            await tree.switch(wanted, different, progress)
        except SwitchFailedError as error:
            if metrics is not None and metrics is not self._metrics:
                metrics.close()
            return _report("undone", changes, different.actors, [str(error)])
        if metrics is not self._metrics:
            self._sockets.replace_metrics(metrics)
            self._metrics = metrics
        max_sessions = self._limit_files(new.max_sessions)
        if new.max_sessions != self._config.max_sessions:
            tree.limit_sessions(max_sessions)
        tree.log_messages(new.log_level == "debug")
        self._source.change_log(new.log_format, new.log_level)
        self._config, self._files = new, files
        return _report("applied", changes, different.actors)


_NO_FILE = "the node was started without a configuration file, which alone could say anything new"


def _report(
    state: ReloadState,
    changes: Sequence[SettingChange] = (),
    actors: Sequence[str] = (),
    reasons: Sequence[str] = (),
) -> ReloadReport:
    """Return a report, with its texts cut to their bounds."""
    cut = [one.encode()[:_MAX_REASON_BYTES].decode(errors="ignore") for one in reasons[:_MAX_REASONS]]
    return ReloadReport(state, tuple(changes), tuple(actors), tuple(cut))
