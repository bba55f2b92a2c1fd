"""Homes behind NATs, and public hosts, in network namespaces: no packet leaves them, and all vanish.

    public host  45.33.N.1, each in a block of its own ─┐
                                                         ├─ router, or a wire with delay and loss
    host  192.168.1.11 ─ bridge ─ NAT  45.77.N.1 ────────┘

With a wire (lab_wire.py) public hosts have an IPv6 address too, and there are homes with nothing else. The
addresses are ordinary public ones, because what is private or set aside for documentation counts as
unreachable. Needs root, iproute2 and nftables (Debian: `apt install nftables`).

Kinds of NAT, by mapping and by filtering of what comes in (RFC 4787):

cone         the same mapping whomever it leads to; lets in only the address and port that was sent to
restricted   the same mapping; lets in any port of an address that was sent to
fullcone     the same mapping; lets in everybody
symmetric    another, random mapping for each destination; lets in only that

And homes that are not told apart so:

udp-blocked  a cone that drops all UDP
double       a cone behind the cone of a carrier, with an address that is of that network only
ipv6         no NAT, and no IPv4: a firewall that lets in answers only
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

from spacedrive_node.tests.harness.lab_wire import LabWire, Weather, open_wire

NatKind = Literal["cone", "restricted", "fullcone", "symmetric"]
PlaceKind = Literal["public", "fullcone", "restricted", "cone", "symmetric", "udp-blocked", "double", "ipv6"]

MAX_HOSTS = 200
_libc = ctypes.CDLL(None)
_CLONE_NEWNET = 0x40000000
_LAN, _CARRIER = "192.168.1", "100.64.1"
_IPV6 = "2600:1f18"


def missing() -> str:
    """What keeps this machine from having such a laboratory, as a sentence; empty if nothing does."""
    if os.geteuid() != 0:
        return "the NAT laboratory needs root"
    for program, package in (("ip", "iproute2"), ("nft", "nftables")):
        if shutil.which(program) is None:
            return f"the NAT laboratory needs {program}: apt install {package}"
    return ""


def missing_for_wire() -> str:
    """The same for a laboratory with a wire."""
    return missing() or ("" if os.path.exists("/dev/net/tun") else "the wire needs /dev/net/tun")


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

    def socket(
        self, kind: socket.SocketKind, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> socket.socket:
        """Make a socket in this namespace, bound to a port."""
        made = []

        def make() -> None:
            with open(f"/proc/{self.holder.pid}/ns/net", "rb") as namespace:
                assert _libc.setns(namespace.fileno(), _CLONE_NEWNET) == 0
            made.append(socket.socket(family, kind))

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
    lan: str = _LAN
    """The network behind it, without the last number of an address."""
    hosts: list[LabHost] = field(default_factory=list)

    def host(self) -> LabHost:
        """Make another host behind this NAT."""
        made = LabHost(self.lab.hold())
        self.take_in(made)
        return made

    def take_in(self, host: LabHost) -> None:
        """Give a host a cable and an address in this home; it has none elsewhere."""
        self.connect(host, "eth0")
        self.hosts.append(host)

    def restart_router(self) -> None:
        """Let the NAT forget all mappings, as the restart of a router does."""
        self.mend_line(self.cut_line())

    def cut_line(self) -> str:
        """Let nothing through between the NAT and the world; return what `mend_line` wants."""
        routes = self.run("ip", "-4", "route", "show", "default").strip()
        self.ip("link set wan0 down")
        return routes

    def mend_line(self, routes: str) -> None:
        """Let everything through again. The NAT has forgotten all mappings."""
        self.ip("link set wan0 up", f"route add {routes}")

    def connect(self, made: "LabHost | Home", interface: str) -> None:
        """Give a namespace a cable to this network, and an address of it."""
        number = 11 + len(self.hosts)
        is_ipv6 = ":" in self.lan
        made.address = f"{self.lan}{':' if is_ipv6 else '.'}{number}"
        gateway, length, rest = (f"{self.lan}:1", 64, " nodad") if is_ipv6 else (f"{self.lan}.1", 24, "")
        self.ip(
            f"link add p{number} type veth peer name {interface} netns {made.holder.pid}",
            f"link set p{number} master lan0 up",
        )
        made.ip(
            "link set lo up",
            f"address add {made.address}/{length} dev {interface}{rest}",
            f"link set {interface} up",
        )
        made.ip(f"route add default via {gateway}")

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

    def __init__(self, stack: ExitStack, wire: LabWire | None = None) -> None:
        self._stack = stack
        self._wire = wire
        self._count = 0
        self.router = Namespace(self.hold())
        self.router.ip(
            "link set lo up", *(f"route add blackhole {one}" for one in ("10.0.0.0/8", "192.168.0.0/16"))
        )
        self.router.run("sysctl", "-qw", "net.ipv4.ip_forward=1")

    def public(self) -> LabHost:
        """Make a host with a public address, in an address block of its own."""
        number = self._next()
        made = LabHost(self.hold(), f"45.33.{number}.1")
        self._connect(made, "eth0", made.address, *([f"{_IPV6}:{number:x}::1"] if self._wire else []))
        return made

    def home(self, kind: NatKind) -> Home:
        """Make a home behind a NAT."""
        made = Home(self.hold(), self, kind, f"45.77.{self._next()}.1")
        self._connect(made, "wan0", made.address)
        return self._furnished(made, nat_rules(kind))

    def place(self, kind: PlaceKind) -> LabHost:
        """Make a host somewhere, and its home if it is in one."""
        if kind == "public":
            return self.public()
        if kind == "ipv6":
            return self._ipv6_home().host()
        if kind == "double":
            return self._double().host()
        if kind == "udp-blocked":
            made = self.home("cone")
            made.run("nft", "insert", "rule", "inet", "firewall", "forward", "meta", "l4proto", "udp", "drop")
            return made.host()
        return self.home(kind).host()

    @staticmethod
    def ipv6_of(host: LabHost) -> str:
        """Return the IPv6 address of a public host, in a laboratory with a wire."""
        return f"{_IPV6}:{int(host.address.split('.')[2]):x}::1"

    def _double(self) -> Home:
        carrier = Home(self.hold(), self, "cone", f"45.77.{self._next()}.1", _CARRIER)
        self._connect(carrier, "wan0", carrier.address)
        self._furnished(carrier, nat_rules("cone"))
        made = Home(self.hold(), self, "cone")
        carrier.connect(made, "wan0")
        return self._furnished(made, nat_rules("cone"))

    def _ipv6_home(self) -> Home:
        assert self._wire is not None, "only the wire carries IPv6"
        number = self._next()
        made = Home(self.hold(), self, "cone", lan=f"{_IPV6}:{number:x}:1:")
        self._connect(made, "wan0", f"{_IPV6}:{number:x}::1")
        return self._furnished(made, nat_rules("cone"))

    def _furnished(self, made: Home, rules: str) -> Home:
        """Make the network behind a NAT, and the NAT itself."""
        address = f"{made.lan}:1/64 dev lan0 nodad" if ":" in made.lan else f"{made.lan}.1/24 dev lan0"
        made.ip("link add lan0 type bridge mcast_snooping 0", f"address add {address}", "link set lan0 up")
        forwarding = "ipv6.conf.all.forwarding" if ":" in made.lan else "ipv4.ip_forward"
        made.run("sysctl", "-qw", f"net.{forwarding}=1")
        made.run("nft", "-f", "-", stdin=rules)
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

    def _connect(self, made: Namespace, interface: str, *addresses: str) -> None:
        """Give a namespace a cable of its own to the router or the wire: no multicast crosses it."""
        if self._wire is not None:
            self._wire.attach(made.holder.pid, interface, *addresses)
        else:
            self._connect_to_router(made, interface, *addresses)
        lengths = [f"{one}/128" if ":" in one else f"{one}/32" for one in addresses]
        made.ip(
            "link set lo up",
            *(f"address add {one} dev {interface}{' nodad' * (':' in one)}" for one in lengths),
            f"link set {interface} up",
        )
        for family in dict.fromkeys("-6" if ":" in one else "-4" for one in addresses):
            made.run("ip", family, "route", "add", "default", "dev", interface)

    def _connect_to_router(self, made: Namespace, interface: str, address: str) -> None:
        name = f"r{self._count}"
        self.router.ip(
            f"link add {name} type veth peer name {interface} netns {made.holder.pid}", f"link set {name} up"
        )
        self.router.run("ip", "route", "add", f"{address}/32", "dev", name)
        self.router.run("sysctl", "-qw", f"net.ipv4.conf.{name}.proxy_arp=1")
        self.router.run("sysctl", "-qw", f"net.ipv4.neigh.{name}.proxy_delay=0")


@contextmanager
def open_lab(weather: Weather | None = None) -> Iterator[NatLab]:
    """Make a laboratory, with a wire if there is a `weather`; everything in it is removed at the end."""
    with ExitStack() as stack:
        wire = None if weather is None else stack.enter_context(open_wire(weather))
        yield NatLab(stack, wire)


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
