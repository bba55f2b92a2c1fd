"""The filter of system calls, run by an interpreter of classic BPF: both machines, every actor."""

import errno
import re
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from spacedrive_node import sandbox_profiles
from spacedrive_node.supervisor.child_specs import Sandbox
from spacedrive_node.supervisor.seccomp import MACHINES, program
from spacedrive_node.supervisor.syscall_allowlist import allowed

ALLOW, KILL = 0x7FFF0000, 0x80000000
REFUSE, UNKNOWN = 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS
ACTORS = {
    "session": sandbox_profiles.SESSION,
    "vault": sandbox_profiles.vault_sandbox(Path("/data"), sealed=False),
    "sealed vault": sandbox_profiles.vault_sandbox(Path("/data"), sealed=True),
    "metrics": sandbox_profiles.METRICS,
    "gateway": sandbox_profiles.GATEWAY,
    "discovery": sandbox_profiles.discovery_sandbox(Path("/run")),
    "web": sandbox_profiles.WEB,
    "lan": sandbox_profiles.LAN,
    "swarm": sandbox_profiles.SWARM,
}
# name: (x86-64, aarch64), None: does not exist there
NEVER: dict[str, tuple[int | None, int | None]] = {
    "execve": (59, 221), "execveat": (322, 281), "fork": (57, None), "vfork": (58, None),
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "kill": (62, 129), "tkill": (200, 130), "tgkill": (234, 131), "rt_sigqueueinfo": (129, 138),
    "pidfd_open": (434, 434), "pidfd_getfd": (438, 438), "pidfd_send_signal": (424, 424),
    "process_madvise": (440, 440), "kcmp": (312, 272), "prlimit64": (302, 261),
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51),
    "move_mount": (429, 429), "fsopen": (430, 430), "unshare": (272, 97), "setns": (308, 268),
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282), "io_uring_setup": (425, 425),
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
    "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106),
    "kexec_load": (246, 104), "reboot": (169, 142), "sethostname": (170, 161), "setuid": (105, 146),
    "setgid": (106, 144), "setresuid": (117, 147), "capset": (126, 91), "seccomp": (317, 277),
    "memfd_create": (319, 279), "open_by_handle_at": (304, 265), "link": (86, None), "linkat": (265, 37),
    "symlinkat": (266, 36), "mknodat": (259, 33), "chmod": (90, None), "fchmodat": (268, 53),
    "fchownat": (260, 54), "quotactl": (179, 60), "shmget": (29, 194), "mq_open": (240, 180),
}  # fmt: skip
OTHERS: dict[str, tuple[int, int]] = {
    "openat": (257, 56), "socket": (41, 198), "connect": (42, 203), "bind": (49, 200), "accept4": (288, 242),
    "unlinkat": (263, 35), "clone": (56, 220), "prctl": (157, 167), "ioctl": (16, 29), "mmap": (9, 222),
    "mprotect": (10, 226), "clone3": (435, 435), "read": (0, 63), "sendto": (44, 206),
    "fcntl": (72, 25),
}  # fmt: skip


def verdict(code: bytes, architecture: int, number: int, *arguments: int) -> int:
    """Run the program over one struct seccomp_data."""
    padded = (*arguments, *(0,) * (6 - len(arguments)))
    data = struct.pack("<iIQ6Q", number, architecture, 0, *padded)
    instructions = [struct.unpack_from("<HBBI", code, at) for at in range(0, len(code), 8)]
    at = value = 0
    while True:
        operation, if_true, if_false, constant = instructions[at]
        at += 1
        match operation:
            case 0x20:
                (value,) = struct.unpack_from("<I", data, constant)
            case 0x06:
                return constant
            case 0x15 | 0x35 | 0x45:
                holds = {0x15: value == constant, 0x35: value >= constant, 0x45: bool(value & constant)}
                at += if_true if holds[operation] else if_false
            case _:
                raise AssertionError(f"no such instruction: {operation:#x}")


def each(name: str) -> Iterator[tuple[Sandbox, bytes, int, int | None]]:
    """Yield the program of one actor for each machine, with architecture and column."""
    keep = ACTORS[name]
    for machine, (column, architecture) in MACHINES.items():
        yield keep, program(machine, allowed(keep)), architecture, column


@pytest.mark.parametrize("actor", ACTORS)
def test_no_actor_makes_processes_runs_programs_or_reaches_others(actor: str) -> None:
    """Whatever the arguments are."""
    for _, code, architecture, column in each(actor):
        for name, numbers in NEVER.items():
            if numbers[column] is not None:
                for arguments in ((), (2**64 - 1,) * 6, (1,) * 6):
                    assert verdict(code, architecture, numbers[column], *arguments) == REFUSE, name
        assert verdict(code, architecture, OTHERS["clone3"][column]) == UNKNOWN
        assert verdict(code, architecture, OTHERS["clone"][column], 17) == REFUSE  # SIGCHLD: a process
        assert verdict(code, architecture, OTHERS["read"][column]) == ALLOW
        assert verdict(code, architecture, 9999) == REFUSE


@pytest.mark.parametrize("actor", ACTORS)
def test_no_actor_maps_memory_executable(actor: str) -> None:
    for _, code, architecture, column in each(actor):
        for name in ("mmap", "mprotect"):
            assert verdict(code, architecture, OTHERS[name][column], 0, 0, 3) == ALLOW
            assert verdict(code, architecture, OTHERS[name][column], 0, 0, 5) == REFUSE


@pytest.mark.parametrize("actor", ACTORS)
def test_no_descriptor_signals_another_process(actor: str) -> None:
    for _, code, architecture, column in each(actor):
        for command in (0, 3, 4, 6, 1030):  # F_DUPFD, F_GETFL, F_SETFL, F_SETLK, F_DUPFD_CLOEXEC
            assert verdict(code, architecture, OTHERS["fcntl"][column], 3, command) == ALLOW
        for command in (8, 10, 15, 1033):  # F_SETOWN, F_SETSIG, F_SETOWN_EX, F_ADD_SEALS
            assert verdict(code, architecture, OTHERS["fcntl"][column], 3, command) == REFUSE
        for command in (0x8901, 0x8902, 0x5452):  # FIOSETOWN, SIOCSPGRP, FIOASYNC
            assert verdict(code, architecture, OTHERS["ioctl"][column], 3, command) == REFUSE


@pytest.mark.parametrize("actor", ACTORS)
def test_files_are_for_those_that_are_given_some(actor: str) -> None:
    """Read-only for actors that change no file, also without Landlock."""
    for keep, code, architecture, column in each(actor):
        openat = OTHERS["openat"][column]
        may_read, may_write = bool(keep.files or keep.directories), bool(keep.directories)
        assert verdict(code, architecture, openat, 0, 0, 0o2000000) == (ALLOW if may_read else REFUSE)
        for flags in (0o1, 0o2, 0o100, 0o1000):
            assert verdict(code, architecture, openat, 0, 0, flags) == (ALLOW if may_write else REFUSE)
        assert verdict(code, architecture, OTHERS["unlinkat"][column]) == (ALLOW if may_write else REFUSE)


@pytest.mark.parametrize("actor", ACTORS)
def test_sockets_are_for_those_on_the_network_and_none_of_them_is_a_unix_socket(actor: str) -> None:
    for keep, code, architecture, column in each(actor):
        internet = ALLOW if keep.reach == "internet" else REFUSE
        datagrams = ALLOW if keep.reach in ("datagrams", "internet") else REFUSE
        for family in (2, 10):
            for options in (0, 0o4000, 0o2000000, 0o2004000):  # SOCK_NONBLOCK, SOCK_CLOEXEC
                assert verdict(code, architecture, OTHERS["socket"][column], family, 1 | options) == internet
                assert verdict(code, architecture, OTHERS["socket"][column], family, 2 | options) == datagrams
                assert verdict(code, architecture, OTHERS["socket"][column], family, 3 | options) == internet
        assert verdict(code, architecture, OTHERS["socket"][column], 16, 3) == datagrams
        for protocol in (1, 4, 9, 12, 15, 16, 20):  # sock_diag, audit, netfilter, uevent, generic, crypto …
            assert verdict(code, architecture, OTHERS["socket"][column], 16, 3, protocol) == REFUSE
        for family in (1, 17, 38, 40):  # unix, packet, alg, vsock
            assert verdict(code, architecture, OTHERS["socket"][column], family) == REFUSE
        assert verdict(code, architecture, OTHERS["connect"][column]) == internet
        assert verdict(code, architecture, OTHERS["bind"][column]) == datagrams
        accepts = ALLOW if keep.reach in ("accept", "internet") else REFUSE
        assert verdict(code, architecture, OTHERS["accept4"][column]) == accepts
        some = REFUSE if keep.reach == "nothing" else ALLOW
        assert verdict(code, architecture, OTHERS["ioctl"][column], 3, 0x5421) == some  # FIONBIO
        assert verdict(code, architecture, OTHERS["ioctl"][column], 3, 0x5412) == REFUSE  # TIOCSTI


@pytest.mark.parametrize("actor", ACTORS)
def test_threads_are_for_those_that_need_them(actor: str) -> None:
    for keep, code, architecture, column in each(actor):
        threads = ALLOW if keep.threads else REFUSE
        assert verdict(code, architecture, OTHERS["clone"][column], 0x003D0F00) == threads  # pthread_create
        assert verdict(code, architecture, OTHERS["prctl"][column], 15) == threads  # its name
        assert verdict(code, architecture, OTHERS["prctl"][column], 4) == REFUSE  # dumpable


@pytest.mark.parametrize("machine", MACHINES)
def test_calls_of_another_architecture_kill(machine: str) -> None:
    """i386 on x86-64, arm on aarch64, and x32, whose numbers mean something else."""
    _, architecture = MACHINES[machine]
    code = program(machine, allowed(sandbox_profiles.SWARM))
    assert verdict(code, 0x40000003, 3) == KILL
    assert verdict(code, 0x40000028, 3) == KILL
    assert verdict(code, architecture, 0x40000000) == KILL


@pytest.mark.parametrize(
    ("column", "header", "prefix"),
    [
        (0, "/usr/include/x86_64-linux-gnu/asm/unistd_64.h", "__NR_"),
        (1, "/usr/include/asm-generic/unistd.h", "__NR(?:3264)?_"),
    ],
)
def test_numbers_are_the_kernel_s(column: int, header: str, prefix: str) -> None:
    """Compared with the system's own headers, where they are installed."""
    if not Path(header).exists():
        pytest.skip("no kernel headers")
    text = Path(header).read_text()
    known = {name: int(n) for name, n in re.findall(rf"^#define {prefix}(\w+)\s+(\d+)$", text, re.MULTILINE)}
    known.setdefault("newfstatat", known["fstatat"] if column == 1 else 0)
    calls: dict[str, int | None] = {}
    for keep in ACTORS.values():
        calls |= {name: numbers[column] for name, (numbers, _) in allowed(keep).items()}
    for table in (NEVER, OTHERS):
        calls |= {name: numbers[column] for name, numbers in table.items()}
    assert {name: known.get(name) for name, number in calls.items() if number is not None} == {
        name: number for name, number in calls.items() if number is not None
    }
