"""Landlock alone, in a separate process: granted files stay accessible, all others do not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from spacedrive_node.supervisor.landlock import make_private

PROGRAM = """
import errno, os, sys
from pathlib import Path
from spacedrive_node.supervisor.landlock import confine
from spacedrive_node.supervisor.child_specs import Sandbox
from spacedrive_node.supervisor.libc import prctl

home = Path(sys.argv[1])
prctl(38, 1)  # no_new_privs, which confinement takes
directories = (str(home / "mine"), str(home / "text" / "none"))
confine(Sandbox(directories=directories, files=(str(home / "link"), "/none")))

def attempt(name, step):
    try:
        step()
        print(name)
    except OSError as error:
        # EXDEV: to another directory, which the kernel refuses in these words
        assert error.errno in (errno.EACCES, errno.EXDEV), name

attempt("read", lambda: (home / "link").read_text())
attempt("read-target", lambda: (home / "text").read_text())
attempt("write-target", lambda: (home / "text").write_text("x"))
attempt("make", lambda: (home / "mine" / "new").write_text("x"))
attempt("rename", lambda: (home / "mine" / "new").rename(home / "mine" / "newer"))
attempt("list", lambda: os.listdir(home / "mine"))
attempt("make-below", lambda: (home / "mine" / "deeper").mkdir())
attempt("read-other", lambda: (home / "other").read_text())
attempt("list-above", lambda: os.listdir(home))
attempt("make-above", lambda: (home / "new").write_text("x"))
attempt("move-out", lambda: (home / "mine" / "newer").rename(home / "newer"))
attempt("remove-other", lambda: (home / "other").unlink())
attempt("make-device", lambda: os.mkfifo(home / "mine" / "fifo"))
attempt("link-in", lambda: os.link(home / "other", home / "mine" / "other"))
attempt("symlink", lambda: (home / "mine" / "symlink").symlink_to(home / "other"))
attempt("remove", lambda: (home / "mine" / "newer").unlink())
"""


def has_landlock() -> bool:
    done = subprocess.run([sys.executable, "-c", CHECK], check=False, timeout=60)
    return done.returncode == 0


CHECK = """
from spacedrive_node.supervisor.landlock import confine
from spacedrive_node.supervisor.child_specs import Sandbox
from spacedrive_node.supervisor.libc import prctl

prctl(38, 1)
confine(Sandbox())
"""


@pytest.mark.skipif(not has_landlock(), reason="this kernel has no Landlock")
def test_a_confined_process_has_the_granted_files_and_no_others(tmp_path: Path) -> None:
    """A missing directory is created, private; a link grants its target; what cannot be made is skipped."""
    for name in ("text", "other"):
        (tmp_path / name).write_text(name)
    (tmp_path / "link").symlink_to(tmp_path / "text")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    could = ["read", "read-target", "make", "rename", "list", "make-below", "remove"]
    assert done.stdout.split() == could
    assert (tmp_path / "mine").stat().st_mode & 0o777 == 0o700
    assert sorted(os.listdir(tmp_path)) == ["link", "mine", "other", "text"]
    assert (tmp_path / "text").read_text() == "text"


def test_directories_are_made_private_and_left_as_they_are(tmp_path: Path) -> None:
    """Missing parents are created; an existing directory keeps its mode; a file in the way is an error."""
    (tmp_path / "there").mkdir(mode=0o755)
    make_private(tmp_path / "there" / "a" / "b")
    modes = [path.stat().st_mode & 0o777 for path in (tmp_path / "there", tmp_path / "there" / "a")]
    assert modes == [0o755, 0o700]
    make_private(tmp_path / "there")
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(FileExistsError):
            make_private(path)
