"""A router that opens ports on request, by PCP or NAT-PMP, in the namespace of a NAT of nat_lab.

A second implementation of both, written from the RFCs. It opens ports by elements of the map `forwards`, and
says what it does, one JSON object a line. With `--lies` it says that it has opened a port, and has not.
SIGUSR1 is a power failure: it forgets all, and says so to everybody on the network.
"""

import argparse
import ipaddress
import json
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Empty, Queue
from typing import Any

from spacedrive_node.tests.harness.nat_lab import Home
from spacedrive_node.tests.harness.node_commands import DEADLINE

PROTOCOLS = {6: "tcp", 17: "udp"}


class Gateway:
    """The router's side. `address` is what it says is its public address."""

    def __init__(self, dialect: str, address: str, lies: bool) -> None:
        self.dialect, self.address, self.lies = dialect, ipaddress.IPv4Address(address), lies
        self.started = time.monotonic() - 1000  # for a second or two, nobody could see that it was restarted
        self.nonces: dict[tuple[str, str, int], bytes] = {}
        self.externals: dict[tuple[str, str, int], int] = {}

    @property
    def epoch(self) -> int:
        return int(time.monotonic() - self.started)

    def answer(self, data: bytes, host: str) -> bytes:
        say(event="asked", version=data[0], host=host)
        if data[0] == 2 and self.dialect == "pcp":
            return self._pcp(data, host)
        if data[0] == 0 and self.dialect == "nat-pmp":
            return self._nat_pmp(data, host)
        if self.dialect == "nat-pmp":
            return struct.pack("!BBHI", 0, 128, 1, self.epoch)
        return struct.pack("!BBBBII12x", 2, 0x80 | data[1], 0, 1, 0, self.epoch)

    def _pcp(self, data: bytes, host: str) -> bytes:
        _version, opcode, _reserved, seconds, client = struct.unpack_from("!BBHI16s", data)
        nonce, number, port, wished, _address = struct.unpack_from("!12sB3xHH16s", data, 24)
        assert (opcode, len(data)) == (1, 60)
        result = 0
        key = (host, PROTOCOLS[number], port)
        if ipaddress.IPv6Address(client).ipv4_mapped != ipaddress.IPv4Address(host):
            result = 12
        elif self.nonces.get(key, nonce) != nonce:
            result = 2
        external = 0
        if not result:
            external = self._set(key, wished, seconds)
            self.nonces[key] = nonce
            if not seconds:
                del self.nonces[key]
        header = struct.pack("!BBBBII12x", 2, 0x81, 0, result, min(seconds, 7200), self.epoch)
        mapped = bytes(10) + b"\xff\xff" + self.address.packed
        return header + struct.pack("!12sB3xHH16s", nonce, number, port, external, mapped)

    def _nat_pmp(self, data: bytes, host: str) -> bytes:
        if data[1] == 0:
            return struct.pack("!BBHI", 0, 128, 0, self.epoch) + self.address.packed
        opcode, port, wished, seconds = struct.unpack_from("!xBxxHHI", data)
        external = self._set((host, {1: "udp", 2: "tcp"}[opcode], port), wished, seconds)
        return struct.pack("!BBHIHHI", 0, 128 + opcode, 0, self.epoch, port, external, seconds)

    def _set(self, key: tuple[str, str, int], wished: int, seconds: int) -> int:
        """Open or close a port: another one than was wished for, so that the difference shows."""
        host, protocol, port = key
        if not seconds:
            external = self.externals.pop(key, 0)
            if external and not self.lies:
                nft("delete", protocol, external, host, port)
            say(event="closed", protocol=protocol, port=external)
            return 0
        known = self.externals.get(key)
        external = known or (wished if wished >= 31000 else 31000 + wished % 1000)
        if known is None:
            self.externals[key] = external
            if not self.lies:
                nft("add", protocol, external, host, port)
        say(event="opened", protocol=protocol, port=external)
        return external

    def fail(self) -> None:
        """Forget everything."""
        for (host, protocol, port), external in self.externals.items():
            if not self.lies:
                nft("delete", protocol, external, host, port)
        self.externals.clear()
        self.nonces.clear()
        self.started = time.monotonic()
        say(event="restarted")


def nft(verb: str, protocol: str, external: int, host: str, port: int) -> None:
    element = f"{{ {protocol} . {external} : {host} . {port} }}"
    subprocess.run(["nft", verb, "element", "ip", "nat", "forwards", element], check=True, timeout=10)


def say(**event: Any) -> None:
    print(json.dumps(event), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("dialect")
    parser.add_argument("lan")
    parser.add_argument("address")
    parser.add_argument("--lies", action="store_true")
    given = parser.parse_args()
    gateway = Gateway(given.dialect, given.address, given.lies)
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((given.lan, 5351))
    failed = False

    def note(_number: int, _frame: Any) -> None:
        nonlocal failed
        failed = True

    signal.signal(signal.SIGUSR1, note)
    signal.siginterrupt(signal.SIGUSR1, True)
    sock.settimeout(0.2)  # a signal that comes before the wait is noticed after it
    say(event="ready")
    while True:
        if failed:
            failed = False
            gateway.fail()
            if gateway.dialect == "pcp":
                told = struct.pack("!BBBBII12x", 2, 0x80, 0, 0, 0, gateway.epoch)
            else:
                told = struct.pack("!BBHI", 0, 128, 0, gateway.epoch) + gateway.address.packed
            sock.sendto(told, ("224.0.0.1", 5350))
        try:
            data, (host, port) = sock.recvfrom(1100)
        except (TimeoutError, InterruptedError):
            continue
        sock.sendto(gateway.answer(data, host), (host, port))


class RunningGateway:
    """A gateway's process, and what it has said."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self._said: Queue[dict[str, Any]] = Queue()
        self.seen: list[dict[str, Any]] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._said.put(json.loads(line))

    def until(self, **wanted: Any) -> dict[str, Any]:
        """Wait for an event that has these values; what came before it is passed over."""
        deadline = time.monotonic() + DEADLINE
        while True:
            try:
                event = self._said.get(timeout=max(deadline - time.monotonic(), 0.01))
            except Empty:
                raise AssertionError((wanted, self.seen)) from None
            self.seen.append(event)
            if wanted.items() <= event.items():
                return event

    def heard_within(self, seconds: float, **wanted: Any) -> dict[str, Any] | None:
        """Return the first event with these values within some seconds, for a test of silence."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            try:
                event = self._said.get(timeout=left)
            except Empty:
                return None
            if wanted.items() <= event.items():
                return event
        return None

    def end(self) -> None:
        """Stop it."""
        self._process.kill()
        self._process.wait()
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def fail(self) -> None:
        """Cut its power, and give it back."""
        self._process.send_signal(signal.SIGUSR1)


@contextmanager
def mapping_gateway(
    home: Home, dialect: str, *, address: str = "", lies: bool = False
) -> Iterator[RunningGateway]:
    """Run a gateway in the namespace of a home's NAT."""
    command = [*home.command, sys.executable, "-m", __name__, dialect, "192.168.1.1", address or home.address]
    process = subprocess.Popen([*command, *(["--lies"] if lies else [])], stdout=subprocess.PIPE, text=True)
    gateway = RunningGateway(process)
    try:
        gateway.until(event="ready")
        yield gateway
    finally:
        gateway.end()


if __name__ == "__main__":
    main()
