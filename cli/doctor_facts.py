"""What `sdnode doctor` knows of a node and of this host: plain values, gathered by doctor_gather.py.

doctor_findings.py judges them. None of them holds a secret.
"""

import msgspec

from ..messages.control_protocol import NodeStatus
from ..messages.to_gateway import ActorInfo

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]
"""Metrics by name, without the node's prefix, and labels."""


class Facts(msgspec.Struct, frozen=True):
    """Base of all facts."""


class ActorSandbox(Facts, frozen=True):
    """What the kernel says of a running actor: its seccomp filter, no_new_privs, capabilities."""

    actor: str
    seccomp: bool
    no_new_privs: bool
    no_capabilities: bool


class NodeFacts(Facts, frozen=True):
    """A running node. `samples` is None without metrics, `sandboxes` where the kernel says nothing.

    `clock_jump_s`: by how much the time of day has changed since its start, beside the passing of time.
    """

    status: NodeStatus
    actors: tuple[ActorInfo, ...] = ()
    samples: Samples | None = None
    sandboxes: tuple[ActorSandbox, ...] | None = None
    clock_jump_s: float | None = None


class NoNode(Facts, frozen=True):
    """Why nothing is known of a node: none runs, several run, or it does not answer.

    `is_expected`: none was asked for.
    """

    reason: str
    is_expected: bool


class FileFacts(Facts, frozen=True):
    """A file or directory of the node. `mode` is None if it is missing; `problem`: it cannot be looked at."""

    what: str
    path: str
    mode: int | None
    is_directory: bool = False
    is_own: bool = True
    changed_in_s: float = 0.0
    """How far in the future it was changed last, by the present time of day."""
    problem: str = ""


class DiskFacts(Facts, frozen=True):
    """The file system on which a directory is, or will be. `free_inodes` is None where they have no limit."""

    what: str
    path: str
    free_bytes: int
    free_inodes: int | None
    is_read_only: bool


class HostFacts(Facts, frozen=True):
    """The network of this host, and what its kernel and clock say of themselves.

    `synchronised` is None where the kernel does not say. `installed_in_s`: how far in the future this program
    was installed. `sandbox`: what came of each step of an actor's sandbox, tried here.
    """

    interfaces: tuple[str, ...]
    multicast_interfaces: tuple[str, ...]
    has_ipv4_route: bool
    has_ipv6_route: bool
    name_servers: int
    synchronised: bool | None
    installed_in_s: float
    sandbox: dict[str, str]
    max_open_files: int | None
    versions: dict[str, str]
    wrong_versions: tuple[str, ...]
    python_is_supported: bool


class AllFacts(Facts, frozen=True):
    """Everything that doctor has gathered. `settings_problems`: why a node would not start here.

    `log_file` is where the node writes its log, if that is a file that can be read.
    """

    node: NodeFacts | NoNode
    host: HostFacts
    files: tuple[FileFacts, ...]
    disks: tuple[DiskFacts, ...]
    settings: dict[str, dict[str, object]] | None
    settings_problems: tuple[str, ...]
    settings_source: str
    log_file: str | None = None


def sample(samples: Samples, name: str, **labels: str) -> float:
    """Return the sum of all samples of this name that have these labels among theirs."""
    wanted = set(labels.items())
    return sum(value for (found, has), value in samples.items() if found == name and wanted <= has)
