"""Debian in namespaces of its own: a root from debootstrap; processes, mounts and network end with it.

    base       the smallest Debian there is, made once by debootstrap and kept as build/debian-root/SUITE.tar
    layers     what was added on top, such as the packages of one test module, each a directory
    upper      what this machine writes

Real: Debian's own files, apt and dpkg, a first process of its own. Not here: another kernel. A machine has
the host's network only to install packages, else nothing but its loopback. Needs root, debootstrap, unshare.
"""

import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
KEPT = ROOT / "build/debian-root"
SUITE = "bookworm"
DEADLINE = 600

_BEGIN = """
set -e
mount --make-rprivate /
mount -t overlay overlay -o "lowerdir=$LOWER,upperdir=$UPPER,workdir=$WORK" "$MERGED"
cd "$MERGED"
mount -t proc proc proc
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mount -t tmpfs -o mode=755 tmpfs dev
for one in null zero full random urandom tty; do touch dev/$one; mount --bind /dev/$one dev/$one; done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts dev/pts
mount -t tmpfs -o mode=1777 tmpfs dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
if [ -n "$ARCHIVES" ]; then
    cat /etc/resolv.conf > etc/resolv.conf
    mount --bind "$ARCHIVES" var/cache/apt/archives
else
    ip link set lo up
fi
$MORE
mkdir -p .host
pivot_root . .host
exec chroot . sh -ec 'umount -l /.host; rmdir /.host; mount --make-rshared /; echo up; exec "$@"' sh "$@"
"""


def missing() -> str:
    """What keeps this host from having such a machine, as a sentence; empty if nothing does."""
    if os.geteuid() != 0:
        return "a Debian machine needs root"
    for program in ("debootstrap", "unshare", "nsenter", "ip", "tar"):
        if shutil.which(program) is None and not Path("/usr/sbin", program).exists():
            return f"a Debian machine needs {program}"
    return ""


def base(folder: Path) -> Path:
    """Lay the smallest Debian into a folder, and return it; the first time it is fetched."""
    archive = KEPT / f"{SUITE}.tar"
    root = folder / "base"
    if not archive.exists():
        KEPT.mkdir(parents=True, exist_ok=True)
        fresh = folder / "fresh"
        subprocess.run(
            ["debootstrap", "--variant=minbase", SUITE, str(fresh)], check=True, stdout=subprocess.DEVNULL
        )
        part = archive.with_suffix(".part")
        subprocess.run(["tar", "-C", str(fresh), "-cf", str(part), "."], check=True)
        part.rename(archive)
        fresh.rename(root)
        return root
    root.mkdir()
    subprocess.run(["tar", "-C", str(root), "-xf", str(archive)], check=True)
    return root


class DebianMachine:
    """One machine that runs. Its first process is `init`; `run` and `started` start others beside it."""

    def __init__(self, holder: "subprocess.Popen[str]", first: int) -> None:
        self.holder, self.first = holder, first

    def argv(self, argv: Sequence[str], user: str) -> list[str]:
        """Return the command that runs `argv` in this machine, in an environment of its own."""
        within = [
            "nsenter",
            f"--target={self.first}",
            "--mount",
            "--pid",
            "--uts",
            "--ipc",
            "--net",
            "--cgroup",
        ]
        clean = [
            "env",
            "-i",
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG=C.UTF-8",
        ]
        clean += ["DEBIAN_FRONTEND=noninteractive", "HOME=/" if user == "root" else f"HOME=/var/tmp/{user}"]
        as_user = [] if user == "root" else ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"]
        return [*within, *clean, *as_user, *argv]

    @contextmanager
    def started(self, *argv: str, user: str = "root") -> Iterator["subprocess.Popen[str]"]:
        """Run a command while the block runs, with pipes to write and read; it is killed at the end."""
        process = subprocess.Popen(
            self.argv(argv, user),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=sys.stderr,
            text=True,
        )
        with process:
            try:
                yield process
            finally:
                if process.poll() is None:
                    for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
                        os.kill(int(child), signal.SIGKILL)

    def run(self, *argv: str, user: str = "root", stdin: str = "", code: int | None = 0) -> str:
        """Run a command to its end; return what it has printed, errors too. `code` None: any exit code."""
        done = subprocess.run(
            self.argv(argv, user),
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        assert code is None or done.returncode == code, f"{argv} ended with {done.returncode}:\n{done.stdout}"
        return done.stdout

    def add_user(self, name: str) -> None:
        """Make a user with a home directory."""
        self.run("useradd", "--create-home", "--home-dir", f"/var/tmp/{name}", name)

    def end(self) -> None:
        """Kill everything in it, and wait until nothing of it is left."""
        first = os.pidfd_open(self.first)
        try:
            os.kill(self.first, signal.SIGKILL)
            assert select.select([first], [], [], DEADLINE)[0]
        finally:
            os.close(first)
        self.holder.wait(DEADLINE)
        assert self.holder.stdout is not None
        self.holder.stdout.close()


@contextmanager
def debian_machine(
    layers: Sequence[Path],
    upper: Path,
    *,
    network: bool = False,
    init: Sequence[str] = ("sleep", "infinity"),
    more: str = "",
    group: Path | None = None,
) -> Iterator[DebianMachine]:
    """Run a machine on these layers, the lowest first; `more` is done in its new root before it begins.

    `group` is the control group that it sees as its root.
    `upper` is made, and may be a layer of another machine afterwards.
    """
    work, merged = upper.with_name(f"{upper.name}.work"), upper.with_name(f"{upper.name}.merged")
    for directory in (upper, work, merged, KEPT / "archives"):
        directory.mkdir(parents=True, exist_ok=True)
    environment = {
        **os.environ,
        "LOWER": ":".join(str(one) for one in reversed(layers)),
        "UPPER": str(upper),
        "WORK": str(work),
        "MERGED": str(merged),
        "ARCHIVES": str(KEPT / "archives") if network else "",
    }
    apart = ["unshare", "--mount", "--pid", "--uts", "--ipc", "--cgroup", "--fork", "--kill-child=SIGKILL"]
    apart += [] if network else ["--net"]
    if group is not None:
        apart = ["sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', str(group), *apart]
    holder = subprocess.Popen(
        [*apart, "sh", "-c", _BEGIN.replace("$MORE", more), "sh", *init],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # unshare remarks on the end of its child
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "up\n", "the machine did not begin"
    (first,) = Path(f"/proc/{holder.pid}/task/{holder.pid}/children").read_text().split()
    machine = DebianMachine(holder, int(first))
    try:
        yield machine
    finally:
        machine.end()
        shutil.rmtree(work)
        merged.rmdir()
