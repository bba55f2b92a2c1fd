"""A socket filter by sender: drops what some send, or what all others do; classic BPF (socket(7), bpf(4)).

The kernel runs it. Who floods then costs this process nothing, and takes no room in the socket's buffer. Owns
the form of the program. Pure, but for `attach`.
"""

import ctypes
import ipaddress
import socket
import struct
from collections.abc import Iterable

from ...protocol.multiaddrs import IpAddress

_SO_ATTACH_FILTER = 26
_LOAD_WORD, _IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_NETWORK_HEADER = 0xFFF00000
"""SKF_NET_OFF: offsets from here count from the IP header, wherever the packet of the socket begins."""
_SOURCE_OFFSETS = {4: 12, 6: 8}
_ALL = 0xFFFFFFFF


def program(dropped: Iterable[IpAddress]) -> bytes:
    """Return the program that drops packets from these addresses of one IP version, and passes others."""
    code = []
    for ip in dropped:
        words = struct.unpack(f"!{len(ip.packed) // 4}I", ip.packed)
        last = len(words) - 1
        for place, word in enumerate(words):
            code.append(_op(_LOAD_WORD, _NETWORK_HEADER + _SOURCE_OFFSETS[ip.version] + 4 * place))
            code.append(_op(_IF_EQUAL, word, 0, 2 * (last - place) + 1))  # to behind this address
        code.append(_op(_RETURN, 0))
    return b"".join([*code, _op(_RETURN, _ALL)])


def program_for(sender: ipaddress.IPv4Address) -> bytes:
    """Return the program that passes packets from this address, and drops others."""
    load = _op(_LOAD_WORD, _NETWORK_HEADER + _SOURCE_OFFSETS[4])
    return load + _op(_IF_EQUAL, int(sender), 0, 1) + _op(_RETURN, _ALL) + _op(_RETURN, 0)


def attach(sock: socket.socket, code: bytes) -> None:
    """Have the kernel run a program on what comes for a socket from now on. Raises OSError."""
    buffer = ctypes.create_string_buffer(code, len(code))
    value = struct.pack("@HP", len(code) // 8, ctypes.addressof(buffer))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, value)


def _op(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)
