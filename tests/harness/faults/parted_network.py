"""Homes that reach a server with a public address, and not each other: network namespaces without a route.

Each home has a private network of its own, with the server at its other end. The server does not forward. Its
address is one of the Internet's by its number, and exists in these namespaces only, which end with their
processes.
"""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from spacedrive_node.tests.harness.faults.namespace_holder import hold

SERVER_IP = "45.83.104.7"
OTHER_SERVER_IP = "45.91.20.9"
PORT = 7520


class NoNamespacesError(Exception):
    """This machine does not let the test make network namespaces."""


@dataclass
class PartedNetwork:
    """The namespaces: `server` and `homes` are what a command is prefixed with to run there."""

    server: tuple[str, ...]
    _outer: tuple[str, ...]
    _holders: list["subprocess.Popen[bytes]"] = field(default_factory=list)
    _homes: int = 0
    _server_pid: int = 0

    def home(self) -> tuple[str, ...]:
        """Make a home: it has 10.78.n.2, the server 10.78.n.1, and a route to the server's address alone."""
        self._homes += 1
        number = self._homes
        home = self._namespace()
        self._outside(
            "ip", "link", "add", f"up{number}", "netns", str(self._holders[-1].pid),
            "type", "veth", "peer", "name", f"home{number}", "netns", str(self._server_pid),
        )  # fmt: skip
        for where, name, last in ((home, f"up{number}", 2), (self.server, f"home{number}", 1)):
            _run(*where, "ip", "address", "add", f"10.78.{number}.{last}/24", "dev", name)
            _run(*where, "ip", "link", "set", name, "up")
        for ip in (SERVER_IP, OTHER_SERVER_IP):
            _run(*home, "ip", "route", "add", ip, "via", f"10.78.{number}.1")
        return home

    def _namespace(self) -> tuple[str, ...]:
        holder = hold(*self._outer, "unshare", "--net")
        self._holders.append(holder)
        inside = ("nsenter", f"--target={holder.pid}", *self._outer[2:])
        _run(*inside, "ip", "link", "set", "lo", "up")
        for setting in ("net.ipv4.ip_forward=0", "net.ipv6.conf.all.disable_ipv6=1"):
            _run(*inside, "sysctl", "-qw", setting)
        return inside

    def _outside(self, *command: str) -> None:
        _run(*self._outer, *command)


@contextmanager
def parted_network() -> Iterator[PartedNetwork]:
    """Make the server's namespace. Raises NoNamespacesError."""
    holders: list[subprocess.Popen[bytes]] = []
    try:
        yield _open(holders)
    finally:
        for holder in reversed(holders):
            holder.kill()
            holder.communicate()


def _open(holders: list["subprocess.Popen[bytes]"]) -> PartedNetwork:
    for options in (("--net",), ("--user", "--map-root-user", "--net")):
        try:
            outer = hold("unshare", *options)
        except (OSError, ValueError):
            continue
        holders.append(outer)
        user = ("--user", "--preserve-credentials") if "--user" in options else ()
        network = PartedNetwork((), ("nsenter", f"--target={outer.pid}", *user, "--net"), holders)
        try:
            network.server = network._namespace()
            network._server_pid = holders[-1].pid
            for ip in (SERVER_IP, OTHER_SERVER_IP):
                _run(*network.server, "ip", "address", "add", f"{ip}/32", "dev", "lo")
        except (OSError, subprocess.CalledProcessError):
            continue
        return network
    raise NoNamespacesError


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
