"""A Debian machine whose first process is its systemd, in a control group of its own.

Real: systemd, its units, its journal, dpkg's scripts against it. Not here: limits of memory and tasks, where
the host keeps those controllers to itself (`limited` holds a unit to them all the same); D-Bus and udev,
which are not installed.
"""

import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from spacedrive_node.tests.harness.debian_machine import DEADLINE, DebianMachine, debian_machine

_UNIX, _DATAGRAM = socket.AF_UNIX, socket.SOCK_DGRAM
_MORE = """
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mkdir run/host
mount --bind "$HOST" run/host
export container=other NOTIFY_SOCKET=/run/host/notify
"""


class SystemdMachine(DebianMachine):
    """A machine that systemd runs, in the control group `group` of the host."""

    def __init__(self, holder: "subprocess.Popen[str]", first: int, group: Path) -> None:
        super().__init__(holder, first)
        self.group = group

    @contextmanager
    def limited(self, unit: str, controller: str) -> Iterator[Path]:
        """Yield a control group that holds the unit's processes to limits of `pids` or `memory`.

        The unit's own, where this systemd has the controller; otherwise one of the host's first version of
        control groups, into which they are moved. What they start afterwards is in it too.
        """
        own = self.group / "system.slice" / unit
        if (own / f"{controller}.max").exists():
            yield own
            return
        processes = (own / "cgroup.procs").read_text().split()
        apart = Path(tempfile.mkdtemp(prefix="sdnode-", dir=f"/sys/fs/cgroup/{controller}"))
        try:
            for process in processes:
                (apart / "cgroup.procs").write_text(process)
            yield apart
        finally:
            for process in (apart / "cgroup.procs").read_text().split():
                (apart.parent / "cgroup.procs").write_text(process)
            apart.rmdir()

    def show(self, unit: str) -> dict[str, str]:
        """Return the properties of a unit."""
        return dict(
            line.split("=", 1) for line in self.run("systemctl", "show", unit).splitlines() if "=" in line
        )

    def write(self, path: str, text: str, mode: str = "644") -> None:
        """Write a file as root."""
        self.run(
            "sh", "-c", f'mkdir -p "$(dirname {path})" && cat > {path} && chmod {mode} {path}', stdin=text
        )

    @contextmanager
    def journal(self, unit: str) -> Iterator[Iterator[str]]:
        """Yield the lines that the journal gets of a unit from now on, without an end."""
        with self.started(
            "journalctl", "--follow", "--lines=1", "--output=cat", f"--unit={unit}"
        ) as following:
            assert following.stdout is not None
            following.stdout.readline()  # it follows now
            yield iter(following.stdout.readline, "")


def _group() -> Path:
    """Make a control group, below the place where the host has the second version of them."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, place, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(tempfile.mkdtemp(prefix="sdnode-", dir=place))
    raise AssertionError("no cgroup2 is mounted here")


@contextmanager
def systemd_machine(layers: Sequence[Path], upper: Path) -> Iterator[SystemdMachine]:
    """Run a machine until its systemd has started everything."""
    group = _group()
    init = ("/lib/systemd/systemd", "--log-level=info")
    try:
        with (
            tempfile.TemporaryDirectory(prefix="sdnode-") as host,
            socket.socket(_UNIX, _DATAGRAM) as notified,
        ):
            notified.bind(f"{host}/notify")
            notified.settimeout(DEADLINE)
            more = f"HOST={host}{_MORE}"
            with debian_machine(layers, upper, init=init, more=more, group=group) as plain:
                machine = SystemdMachine(plain.holder, plain.first, group)
                while b"READY=1" not in notified.recv(4096).splitlines():
                    pass
                assert machine.run("systemctl", "--failed", "--plain", "--no-legend") == ""
                yield machine
    finally:
        for directory in sorted((path for path in group.rglob("*") if path.is_dir()), reverse=True):
            directory.rmdir()
        group.rmdir()
