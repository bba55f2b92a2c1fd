"""The system calls that a sandboxed process keeps, by what its Sandbox grants, as data for seccomp.py.

Owns the numbers on x86-64 and aarch64 (asm/unistd.h) and, for calls that can do more than an actor needs, the
arguments that are allowed. No call here makes a process, runs a program, or attaches to or signals another
one.
"""

from dataclasses import dataclass

from .child_specs import Sandbox

Numbers = tuple[int | None, int | None]
"""On (x86-64, aarch64); None: does not exist there."""


@dataclass(frozen=True, slots=True)
class Only:
    """Allowed if the argument (0 to 5) is one of the values."""

    argument: int
    values: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Without:
    """Allowed if none of the bits is set in the argument."""

    argument: int
    bits: int


@dataclass(frozen=True, slots=True)
class With:
    """Allowed if the bit is set in the argument."""

    argument: int
    bit: int


@dataclass(frozen=True, slots=True)
class Absent:
    """Refused with ENOSYS, as by a kernel that does not know it.

    The C library then falls back on an older call, whose arguments a filter can read (clone3 -> clone).
    """


@dataclass(frozen=True, slots=True)
class ByValue:
    """Allowed if the argument is one of the values and the condition that goes with it holds."""

    argument: int
    cases: tuple[tuple[int, Only | None], ...]


Condition = Only | Without | With | ByValue | Absent | None
Calls = dict[str, tuple[Numbers, Condition]]

_PROT_EXEC = 4
_WRITES = 0o3 | 0o100 | 0o1000
"""O_WRONLY, O_RDWR, O_CREAT, O_TRUNC: the same on both machines."""
_CLONE_THREAD = 0x00010000
_PR_SET_NAME = 15
_NETLINK_ROUTE = 0
_FAMILIES = ByValue(0, ((2, None), (10, None), (16, Only(2, (_NETLINK_ROUTE,)))))
"""AF_INET, AF_INET6, and of AF_NETLINK the one protocol that lists this machine's addresses: the others reach
parts of the kernel that no actor has a use for (netfilter, sock_diag, audit).

Not AF_UNIX: neither Landlock nor a network namespace keeps a process from the sockets of other programs that
have a name in the file system."""
_DATAGRAMS = Only(1, (0x2, 0x802, 0x80002, 0x80802))
"""SOCK_DGRAM, with SOCK_NONBLOCK and SOCK_CLOEXEC as may be."""
_DATAGRAM_FAMILIES = ByValue(0, ((2, _DATAGRAMS), (10, _DATAGRAMS), (16, Only(2, (_NETLINK_ROUTE,)))))
_HARMLESS_FCNTLS = (0, 1, 2, 3, 4, 5, 6, 7, 36, 37, 38, 1030)
"""F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL, record locks of both kinds, F_DUPFD_CLOEXEC. Not F_SETOWN and
F_SETSIG, by which a descriptor signals any process of the same user."""
_HARMLESS_IOCTLS = (0x5401, 0x541B, 0x5421, 0x5450, 0x5451)
"""TCGETS, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX."""


def _plain(**numbers: Numbers) -> Calls:
    return {name: (pair, None) for name, pair in numbers.items()}


_ALWAYS: Calls = {
    **_plain(
        # its channel, and trio's wake-up
        read=(0, 63), write=(1, 64), readv=(19, 65), writev=(20, 66), close=(3, 57),
        sendto=(44, 206), recvfrom=(45, 207), shutdown=(48, 210),
        getsockopt=(55, 209), getsockname=(51, 204), getpeername=(52, 205),
        fstat=(5, 80), lseek=(8, 62),
        poll=(7, None), ppoll=(271, 73), select=(23, None), pselect6=(270, 72),
        epoll_wait=(232, None), epoll_pwait=(281, 22), epoll_pwait2=(441, 441), epoll_ctl=(233, 21),
        # memory
        brk=(12, 214), munmap=(11, 215), mremap=(25, 216), madvise=(28, 233),
        # time and randomness
        clock_gettime=(228, 113), clock_getres=(229, 114), clock_nanosleep=(230, 115),
        nanosleep=(35, 101), gettimeofday=(96, 169), getrandom=(318, 278), restart_syscall=(219, 128),
        # locks and signals within the process
        futex=(202, 98), set_robust_list=(273, 99), membarrier=(324, 283), rseq=(334, 293),
        rt_sigaction=(13, 134), rt_sigprocmask=(14, 135), rt_sigreturn=(15, 139),
        sigaltstack=(131, 132), sched_yield=(24, 124), sched_getaffinity=(204, 123),
        # its identity and machine
        getpid=(39, 172), getppid=(110, 173), gettid=(186, 178), getuid=(102, 174),
        geteuid=(107, 175), getgid=(104, 176), getegid=(108, 177), getrusage=(98, 165),
        uname=(63, 160), sysinfo=(99, 179),
        exit=(60, 93), exit_group=(231, 94),
    ),
    "fcntl": ((72, 25), Only(1, _HARMLESS_FCNTLS)),
    "mmap": ((9, 222), Without(2, _PROT_EXEC)),
    "mprotect": ((10, 226), Without(2, _PROT_EXEC)),
    "clone3": ((435, 435), Absent()),
}  # fmt: skip

_STAT: Calls = _plain(
    newfstatat=(262, 79), statx=(332, 291), stat=(4, None), lstat=(6, None),
    access=(21, None), faccessat=(269, 48), faccessat2=(439, 439), pread64=(17, 67),
)  # fmt: skip

_READ: Calls = {
    **_STAT,
    "openat": ((257, 56), Without(2, _WRITES)),
    "open": ((2, None), Without(1, _WRITES)),
}

_CHANGE: Calls = {
    **_STAT,
    **_plain(
        openat=(257, 56), open=(2, None), getdents64=(217, 61),
        unlink=(87, None), unlinkat=(263, 35), mkdir=(83, None), mkdirat=(258, 34),
        rename=(82, None), renameat=(264, 38), renameat2=(316, 276),
        flock=(73, 32), fsync=(74, 82), fdatasync=(75, 83), ftruncate=(77, 46), pwrite64=(18, 68),
        fchmod=(91, 52), fchown=(93, 55), getcwd=(79, 17), readlink=(89, None), readlinkat=(267, 78),
    ),
}  # fmt: skip

_ACCEPT: Calls = {
    **_plain(accept4=(288, 242), setsockopt=(54, 208)),
    "ioctl": ((16, 29), Only(1, _HARMLESS_IOCTLS)),
}

_INTERNET: Calls = {
    **_ACCEPT,
    **_plain(
        bind=(49, 200), listen=(50, 201), connect=(42, 203),
        sendmsg=(46, 211), recvmsg=(47, 212), sendmmsg=(307, 269), recvmmsg=(299, 243),
    ),
    "socket": ((41, 198), _FAMILIES),
}  # fmt: skip

_DATAGRAM: Calls = {
    "setsockopt": ((54, 208), None),
    **_plain(bind=(49, 200), sendmsg=(46, 211), recvmsg=(47, 212)),
    "socket": ((41, 198), _DATAGRAM_FAMILIES),
    "ioctl": ((16, 29), Only(1, _HARMLESS_IOCTLS)),
}

_THREADS: Calls = {
    "clone": ((56, 220), With(0, _CLONE_THREAD)),
    "prctl": ((157, 167), Only(0, (_PR_SET_NAME,))),
}


def allowed(keep: Sandbox) -> Calls:
    """Return the calls that a child with this sandbox keeps, by name."""
    calls = dict(_ALWAYS)
    if keep.files:
        calls |= _READ
    if keep.directories:
        calls |= _CHANGE
    if keep.reach in ("accept", "internet"):
        calls |= _ACCEPT
    if keep.reach == "datagrams":
        calls |= _DATAGRAM
    if keep.reach == "internet":
        calls |= _INTERNET
    if keep.threads:
        calls |= _THREADS
    return calls
