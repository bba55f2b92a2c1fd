"""Confines this process to the files that it is given, whatever its user may open (landlock(7)).

Owns the rule set. Without a rule no file can be opened, made, changed or removed. Kernels with a newer
version of the interface forbid more: TCP from version 4 on, signals and abstract sockets from version 6 on.
"""

import ctypes
import os
import struct
from contextlib import suppress
from pathlib import Path

from .child_specs import Sandbox
from .libc import check, libc

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_CREATE_RULESET_VERSION = 1
_RULE_PATH_BENEATH = 1
_FILE_RIGHTS_BY_VERSION = {1: 13, 2: 14, 3: 15, 4: 15}
"""How many rights for files a version of the interface knows; later ones know 16."""
_TCP = 1 << 0 | 1 << 1
_SCOPES = 1 << 0 | 1 << 1
_WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 1, 1 << 2, 1 << 3
_REMOVE_FILE, _MAKE_DIR, _MAKE_REG, _TRUNCATE = 1 << 5, 1 << 7, 1 << 8, 1 << 14
_CHANGE = _WRITE_FILE | _READ_FILE | _READ_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _TRUNCATE


def confine(keep: Sandbox) -> None:
    """Leave this process, and the threads that it starts from now on, only the files of `keep`.

    A file or directory that cannot be opened now stays out of reach; the actor reports it when it needs it.
    Raises OSError when the kernel has no Landlock.
    """
    version = check(
        libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _CREATE_RULESET_VERSION), "landlock"
    )
    rights = (1 << _FILE_RIGHTS_BY_VERSION.get(version, 16)) - 1
    tcp = _TCP if version >= 4 and keep.reach != "internet" else 0
    scopes = _SCOPES if version >= 6 else 0
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    attributes = struct.pack("QQQ", rights, tcp, scopes)[:size]
    ruleset = check(libc.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(size), 0), "landlock")
    try:
        for name in keep.directories:
            with suppress(OSError):
                make_private(Path(name))
                _allow(ruleset, name, _CHANGE & rights)
        for name in keep.files:
            with suppress(OSError):
                _allow(ruleset, name, _READ_FILE)
        check(libc.syscall(_RESTRICT_SELF, ruleset, 0), "landlock")
    finally:
        os.close(ruleset)


def make_private(directory: Path) -> None:
    """Make a directory and its missing parents, mode 0700, and sync them to disk. Raises OSError."""
    if directory.is_dir():
        return
    if directory != directory.parent:
        make_private(directory.parent)
    directory.mkdir(mode=0o700, exist_ok=True)
    above = os.open(directory.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(above)
    finally:
        os.close(above)


def _allow(ruleset: int, name: str, rights: int) -> None:
    """Add a rule for a directory and everything beneath it, or for one file.

    Landlock knows files, not names: a file that takes this name later is not covered.
    """
    fd = os.open(name, os.O_PATH | os.O_CLOEXEC)
    try:
        rule = struct.pack("=Qi", rights, fd)
        check(libc.syscall(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, rule, 0), "landlock")
    finally:
        os.close(fd)
