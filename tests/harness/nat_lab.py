"""Homes behind NATs, and public hosts, in network namespaces: no packet leaves them, and all vanish.

    public host  45.33.N.1, each in a block of its own ─┐
                                                         ├─ router
    host  192.168.1.11 ─ bridge ─ NAT  45.77.N.1 ────────┘

The addresses are ordinary public ones, because what is private or set aside for documentation counts as
unreachable. Needs root, iproute2 and nftables (Debian: `apt install nftables`).

Kinds of NAT, by mapping and by filtering of what comes in (RFC 4787):

cone         the same mapping whomever it leads to; lets in only the address and port that was sent to
restricted   the same mapping; lets in any port of an address that was sent to
fullcone     the same mapping; lets in everybody
symmetric    another, random mapping for each destination; lets in only that
"""

import ctypes
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Literal

NatKind = Literal["cone", "restricted", "fullcone", "symmetric"]

MAX_HOSTS = 200
_libc = ctypes.CDLL(None)
_CLONE_NEWNET = 0x40000000
_LAN = "192.168.1"


def missing() -> str:
    """What keeps this machine from having such a laboratory, as a sentence; empty if nothing does."""
    if os.geteuid() != 0:
        return "the NAT laboratory needs root"
    for program, package in (("ip", "iproute2"), ("nft", "nftables")):
        if shutil.which(program) is None:
            return f"the NAT laboratory needs {program}: apt install {package}"
    return ""


@dataclass
class Namespace:
    """A network namespace, held by a process. `command` runs a program in it."""

    holder: "subprocess.Popen[bytes]"

    @property
    def command(self) -> tuple[str, ...]:
        return ("nsenter", f"--target={self.holder.pid}", "--net")

    def run(self, *arguments: str, stdin: str = "") -> str:
        done = subprocess.run(
            [*self.command, *arguments], input=stdin, capture_output=True, text=True, timeout=30
        )
        assert done.returncode == 0, (arguments, stdin, done.stderr)
        return done.stdout

    def socket(self, kind: socket.SocketKind, port: int = 0) -> socket.socket:
        """Make a socket in this namespace, bound to a port."""
        made = []

        def make() -> None:
            with open(f"/proc/{self.holder.pid}/ns/net", "rb") as namespace:
                assert _libc.setns(namespace.fileno(), _CLONE_NEWNET) == 0
            made.append(socket.socket(socket.AF_INET, kind))

        thread = threading.Thread(target=make)  # a thread has its own namespace, and takes it along
        thread.start()
        thread.join()
        made[0].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made[0].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made[0].bind(("", port))
        return made[0]

    def ip(self, *lines: str) -> None:
        self.run("ip", "-batch", "-", stdin="\n".join(lines) + "\n")


@dataclass
class LabHost(Namespace):
    """A host with one address."""

    address: str = ""
    _routes: str = ""

    def unplug(self) -> None:
        """Pull its cable: as the system does, its routes go too."""
        self._routes = self.run("ip", "-4", "route", "show", "default").strip()
        self.ip("link set eth0 down")

    def plug_in(self) -> None:
        """Put the cable back, with the address and the route of before."""
        self.ip("link set eth0 up", f"route add {self._routes}")


@dataclass
class Home(Namespace):
    """A NAT with a network behind it, which is this namespace. `address` is its public one."""

    lab: "NatLab"
    kind: NatKind
    address: str = ""
    hosts: list[LabHost] = field(default_factory=list)

    def host(self) -> LabHost:
        """Make another host behind this NAT."""
        made = LabHost(self.lab.hold())
        made.ip("link set lo up")
        self.take_in(made)
        return made

    def take_in(self, host: LabHost) -> None:
        """Give a host a cable and an address in this home; it has none elsewhere."""
        number = 11 + len(self.hosts)
        host.address = f"{_LAN}.{number}"
        self.ip(
            f"link add p{number} type veth peer name eth0 netns {host.holder.pid}",
            f"link set p{number} master lan0 up",
        )
        host.ip(f"address add {host.address}/24 dev eth0", "link set eth0 up")
        host.ip(f"route add default via {_LAN}.1")
        self.hosts.append(host)

    def restart_router(self) -> None:
        """Let the NAT forget all mappings, as the restart of a router does."""
        routes = self.run("ip", "-4", "route", "show", "default").strip()
        self.ip("link set wan0 down", "link set wan0 up", f"route add {routes}")

    def forward(self, protocol: Literal["tcp", "udp"], port: int, host: LabHost, inner: int) -> None:
        """Forward a port to a host, as its owner does by hand."""
        self.run(
            "nft",
            "add",
            "element",
            "ip",
            "nat",
            "forwards",
            f"{{ {protocol} . {port} : {host.address} . {inner} }}",
        )


class NatLab:
    """All of it; `open_lab` makes one."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._count = 0
        self.router = Namespace(self.hold())
        self.router.ip(
            "link set lo up", *(f"route add blackhole {one}" for one in ("10.0.0.0/8", "192.168.0.0/16"))
        )
        self.router.run("sysctl", "-qw", "net.ipv4.ip_forward=1")

    def public(self) -> LabHost:
        """Make a host with a public address, in an address block of its own."""
        made = LabHost(self.hold(), f"45.33.{self._next()}.1")
        self._connect(made, "eth0", made.address)
        return made

    def home(self, kind: NatKind) -> Home:
        """Make a home behind a NAT."""
        made = Home(self.hold(), self, kind, f"45.77.{self._next()}.1")
        self._connect(made, "wan0", made.address)
        made.ip(
            "link add lan0 type bridge mcast_snooping 0",
            f"address add {_LAN}.1/24 dev lan0",
            "link set lan0 up",
        )
        made.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
        made.run("nft", "-f", "-", stdin=nat_rules(kind))
        return made

    def hold(self) -> "subprocess.Popen[bytes]":
        """Start a process that keeps a new network namespace until the laboratory is closed."""
        holder = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", "echo here; exec cat"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._stack.callback(_end, holder)
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"here\n"
        return holder

    def _next(self) -> int:
        self._count += 1
        assert self._count < MAX_HOSTS
        return self._count

    def _connect(self, made: Namespace, interface: str, address: str) -> None:
        """Give a namespace a cable of its own to the router: no multicast crosses it."""
        name = f"r{self._count}"
        self.router.ip(
            f"link add {name} type veth peer name {interface} netns {made.holder.pid}", f"link set {name} up"
        )
        made.ip("link set lo up", f"address add {address}/32 dev {interface}", f"link set {interface} up")
        made.ip(f"route add default dev {interface}")
        self.router.run("ip", "route", "add", f"{address}/32", "dev", name)
        self.router.run("sysctl", "-qw", f"net.ipv4.conf.{name}.proxy_arp=1")
        self.router.run("sysctl", "-qw", f"net.ipv4.neigh.{name}.proxy_delay=0")


@contextmanager
def open_lab() -> Iterator[NatLab]:
    """Make a laboratory; everything in it is removed at the end."""
    with ExitStack() as stack:
        yield NatLab(stack)


def nat_rules(kind: NatKind) -> str:
    """Return the rules of a NAT between lan0 and wan0, as nft(8) reads them.

    Linux keeps the source port where it can, so that its mapping does not depend on the destination; it lets
    in only answers. What other kinds let in besides follows from what went out: `seen` has for each external
    port whose it is, `peers` to whom something was sent from it.
    """
    both = "meta l4proto { tcp, udp }"
    kept = "size 65535; flags dynamic,timeout; timeout 5m;"
    sets, lets_in, learns = [], "", []
    if kind in ("fullcone", "restricted"):
        sets.append(f"map seen {{ type inet_proto . inet_service : ipv4_addr . inet_service; {kept} }}")
        learns.append("@seen { meta l4proto . th sport : ct original ip saddr . ct original proto-src }")
        lets_in = "dnat ip to meta l4proto . th dport map @seen"
    if kind == "restricted":
        sets.append(f"set peers {{ type inet_proto . inet_service . ipv4_addr; {kept} }}")
        learns.append("@peers { meta l4proto . th sport . ip daddr }")
        lets_in = f"meta l4proto . th dport . ip saddr @peers {lets_in}"
    learning = "\n    ".join(f"oifname wan0 ct direction original {both} update {one}" for one in learns)
    lets_in = lets_in and f"iifname wan0 {lets_in}"
    return f"""
table ip nat {{
  map forwards {{ type inet_proto . inet_service : ipv4_addr . inet_service; }}
  {"; ".join(sets)}
  chain incoming {{ type nat hook prerouting priority -100;
    iifname wan0 dnat ip to meta l4proto . th dport map @forwards
    {lets_in}
  }}
  chain outgoing {{ type nat hook postrouting priority 100;
    oifname wan0 masquerade {"fully-random" if kind == "symmetric" else ""}
  }}
  chain learn {{ type filter hook postrouting priority 350;
    {learning}
  }}
}}
table inet firewall {{
  chain input {{ type filter hook input priority 0; policy drop;
    iifname {{ lo, lan0 }} accept
    ct state established,related accept
  }}
  chain forward {{ type filter hook forward priority 0; policy drop;
    ct state established,related accept
    ct status dnat accept
    iifname lan0 oifname wan0 accept
  }}
}}
"""


def _end(holder: "subprocess.Popen[bytes]") -> None:
    holder.kill()
    holder.wait()
    for pipe in (holder.stdin, holder.stdout):
        assert pipe is not None
        pipe.close()
