"""What this host's kernel offers: the sandbox, entered by a child for a try, and the network interfaces.

Owns the child, which ends at once. Never changes anything in the process that asks.
"""

import fcntl
import os
import select
import signal
import socket
import struct
from contextlib import suppress

import msgspec

from ..sandbox_profiles import SESSION
from ..supervisor.namespaces import make_namespaces
from ..supervisor.sandbox import enter_sandbox

_PROBE_TIMEOUT_S = 10.0
_SIOCGIFFLAGS = 0x8913
_IFF_UP, _IFF_LOOPBACK, _IFF_MULTICAST = 0x1, 0x8, 0x1000


def try_sandbox() -> dict[str, str]:
    """Return what came of each step of a session's sandbox in a child: "ok", or why not; {} if it failed.

    This process must have a single thread.
    """
    namespaces = make_namespaces()
    reading, writing = os.pipe()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(writing, msgspec.json.encode(enter_sandbox(SESSION, parent, namespaces)))
        finally:
            os._exit(0)
    os.close(writing)
    for descriptor in namespaces:
        os.close(descriptor)
    try:
        if not select.select([reading], [], [], _PROBE_TIMEOUT_S)[0]:
            os.kill(pid, signal.SIGKILL)
        return msgspec.json.decode(os.read(reading, 4096), type=dict[str, str])
    except msgspec.DecodeError:  # it has ended without a word
        return {}
    finally:
        os.close(reading)
        os.waitpid(pid, 0)


def interfaces() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the interfaces that are up, but for loopback, and those of them that multicast."""
    up, multicast = [], []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        for _, name in socket.if_nameindex():
            request = struct.pack("16s24x", os.fsencode(name)[:15])
            with suppress(OSError):  # it is gone
                flags = struct.unpack("16xH", fcntl.ioctl(asking, _SIOCGIFFLAGS, request)[:18])[0]
                if flags & _IFF_UP and not flags & _IFF_LOOPBACK:
                    up.append(name)
                    if flags & _IFF_MULTICAST:
                        multicast.append(name)
    return tuple(up), tuple(multicast)
