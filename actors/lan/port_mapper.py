"""Has the gateway open the ports on which this node listens, and keeps them open: PCP, or NAT-PMP.

A lease is renewed when half of it is over, again while it is not answered, and asked for anew if the gateway
was restarted, which its epoch shows. What it maps to an address that is not public leads nowhere (another NAT
is behind it), and is given back. Owns the leases. Sans-IO: mapping_sockets.py carries the packets. Whether a
mapping works is not known here: it is a claim of the gateway, which the swarm has checked. Implements
docs/protocol.md, "Ports of the gateway".
"""

import ipaddress
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Literal

from ...messages.to_lan import PortToMap
from ...messages.to_metrics import PortMappingState
from ...messages.to_swarm import PortMapping
from ...messages.types import Instant, PortProtocol
from . import mapping_messages as packets

LEASE_SECONDS: Final = 3600
MIN_LEASE_SECONDS: Final = 30
MAX_LEASE_SECONDS: Final = 86_400
FIRST_PAUSE_SECONDS: Final = 3.0
MAX_PAUSE_SECONDS: Final = 1024.0
"""Between questions that are not answered (RFC 6887, section 8.1.1); no gateway has to speak any of this."""
PCP_TRIES: Final = 2
"""Then every other question is one of NAT-PMP: some gateways say nothing to what they do not know."""
MIN_RENEWAL_SECONDS: Final = 5.0
REFUSED_PAUSE_SECONDS: Final = 1800.0
SOON_SECONDS: Final = 60.0
RESTART_PAUSE_SECONDS: Final = 10.0
"""A restart of the gateway is believed this often: anybody on the network can claim one."""

Dialect = Literal["pcp", "nat-pmp"]


@dataclass(frozen=True, slots=True)
class Gateway:
    """The router of the default route, and this host's own address on the network in between."""

    address: ipaddress.IPv4Address
    own: ipaddress.IPv4Address


@dataclass(slots=True)
class _Port:
    wanted: PortToMap
    next_at: Instant
    tries: int = 0
    """Questions since the last answer."""
    external_port: int = 0
    """What was given last, which is wished for again."""
    address: ipaddress.IPv4Address | None = None
    """Of PCP: the public one."""
    ends_at: Instant = -math.inf
    is_useless: bool = False

    @property
    def key(self) -> tuple[PortProtocol, int]:
        """What tells it from others."""
        return self.wanted.protocol, self.wanted.port


class PortMapper:
    """The leases at one gateway. `random` gives numbers from 0 to 1."""

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self._gateway: Gateway | None = None
        self._ports: dict[tuple[PortProtocol, int], _Port] = {}
        self._dialect: Dialect = "pcp"
        self._address: ipaddress.IPv4Address | None = None
        """Of NAT-PMP: the public one."""
        self._address_at: Instant = -math.inf
        """When it is asked for again, while it is not known and something is mapped."""
        self._address_tries = 0
        """Questions for it since it was known last."""
        self._epoch: tuple[int, Instant] | None = None
        self._restarted_at: Instant = -math.inf
        self._out: list[bytes] = []

    @property
    def gateway(self) -> Gateway | None:
        """Whom the packets are for."""
        return self._gateway

    @property
    def wants_ports(self) -> bool:
        """Whether any port is to be opened."""
        return bool(self._ports)

    def want(self, ports: Iterable[PortToMap], now: Instant) -> None:
        """Have these ports opened, and no others."""
        wanted = {(one.protocol, one.port): one for one in ports}
        for key in self._ports.keys() - wanted.keys():
            self._give_back(self._ports.pop(key), now)
        for key, port in wanted.items():
            self._ports.setdefault(key, _Port(port, now))

    def set_gateway(self, gateway: Gateway | None, now: Instant) -> None:
        """Set the gateway. What another one has given means nothing any more."""
        if gateway == self._gateway:
            return
        self._gateway = gateway
        self._dialect, self._address, self._epoch = "pcp", None, None
        self._address_at, self._address_tries = -math.inf, 0
        self._out.clear()
        self._ports = {key: _Port(port.wanted, now) for key, port in self._ports.items()}

    def release(self, now: Instant) -> None:
        """Give everything back: the node stops. `poll` returns the packets."""
        for port in self._ports.values():
            self._give_back(port, now)
        self._ports.clear()

    def handle_packet(self, data: bytes, now: Instant) -> None:
        """Handle a packet that the gateway has sent to this host alone."""
        answer = packets.parse(data)
        match answer:
            case packets.SpeaksNatPmp():
                self._speak_nat_pmp(now)
            case packets.ExternalAddress():
                self._see_epoch(answer.epoch, now)
                self._take_address(answer.address, now)
            case packets.Restarted():
                self._see_epoch(answer.epoch, now)
            case packets.Mapped() | packets.Refused():
                self._handle_answer(answer, now)

    def handle_announcement(self, data: bytes, now: Instant) -> None:
        """Handle a packet that the gateway has sent to everybody: at most it was restarted."""
        answer = packets.parse(data)
        if isinstance(answer, packets.Restarted | packets.ExternalAddress):
            self._see_epoch(answer.epoch, now)
        if isinstance(answer, packets.ExternalAddress) and answer.address != self._address:
            if self._address is None:  # the gateway has got one
                self._address_at, self._address_tries = min(self._address_at, now + FIRST_PAUSE_SECONDS), 0
            else:
                self._ask_again(now)

    def poll(self, now: Instant) -> list[bytes]:
        """Return the packets to send to the gateway now."""
        out, self._out = self._out, []
        if self._gateway is None:
            return []
        asks_address = self._misses_address and now >= self._address_at
        for port in self._ports.values():
            if now >= port.next_at:
                dialect = self._dialect_of(port)
                out.append(self._request(port, dialect, LEASE_SECONDS))
                asks_address |= dialect == "nat-pmp"
                port.tries += 1
                port.next_at = now + self._pause(port, now)
        if asks_address:
            self._address_tries += 1
            self._address_at = now + self._growing_pause(self._address_tries)
        return [*([packets.nat_pmp_address()] if asks_address else []), *out]

    def wake_at(self) -> Instant:
        """Return when something is to be done without any event; inf: never."""
        if self._gateway is None:
            return math.inf
        ends = (port.ends_at for port in self._ports.values() if port.ends_at > -math.inf)
        times = [*(port.next_at for port in self._ports.values()), *ends]
        return min([*times, *([self._address_at] if self._misses_address else [])], default=math.inf)

    def mappings(self, now: Instant) -> tuple[PortMapping, ...]:
        """Return what leads to this node from a public address, as the gateway says."""
        self._forget_ended(now)
        found = []
        for port in self._ports.values():
            address = self._public_address(port)
            if port.ends_at > now and address is not None:
                found.append(
                    PortMapping(port.wanted.protocol, port.wanted.port, str(address), port.external_port)
                )
        return tuple(found)

    def states(self, now: Instant) -> dict[PortMappingState, int]:
        """Return how many ports are in which state."""
        mapped = len(self.mappings(now))
        useless = sum(port.is_useless for port in self._ports.values())
        return {"mapped": mapped, "useless": useless, "asked": len(self._ports) - mapped - useless}

    def _handle_answer(self, answer: packets.Mapped | packets.Refused, now: Instant) -> None:
        """Take the answer to a question that was asked; of PCP it repeats the question's nonce."""
        port = self._ports.get((answer.protocol, answer.port or 0))
        is_asked = port is not None and port.tries and answer.nonce in (None, port.wanted.nonce)
        if port is None or not is_asked:
            return
        self._dialect = "nat-pmp" if answer.nonce is None else "pcp"
        self._see_epoch(answer.epoch, now)
        port.tries = 0
        if isinstance(answer, packets.Refused):
            port.ends_at = -math.inf
            least = SOON_SECONDS if answer.may_change else REFUSED_PAUSE_SECONDS
            port.next_at = now + min(max(answer.seconds, least), REFUSED_PAUSE_SECONDS)
            return
        if answer.seconds < MIN_LEASE_SECONDS or not answer.external_port:
            port.ends_at, port.next_at = -math.inf, now + REFUSED_PAUSE_SECONDS
            return
        seconds = min(answer.seconds, MAX_LEASE_SECONDS)
        port.external_port, port.address = answer.external_port, answer.address
        port.ends_at, port.next_at = now + seconds, now + seconds / 2
        self._judge(port, now)

    def _take_address(self, address: ipaddress.IPv4Address | None, now: Instant) -> None:
        """NAT-PMP: take the public address, by which what is mapped is of use or not."""
        self._address = address
        if address is not None:
            self._address_tries = 0
            for port in self._ports.values():
                if port.ends_at > now:
                    self._judge(port, now)

    def _judge(self, port: _Port, now: Instant) -> None:
        """Give a port back that leads to an address which is not public."""
        address = port.address or self._address
        port.is_useless = address is not None and not address.is_global
        if port.is_useless:
            self._give_back(port, now)
            port.ends_at, port.next_at = -math.inf, now + REFUSED_PAUSE_SECONDS

    def _see_epoch(self, epoch: int, now: Instant) -> None:
        """Ask for everything anew if the gateway's time has not gone on as this host's (RFC 6887, 8.5)."""
        former, self._epoch = self._epoch, (epoch, now)
        if former is None:
            return
        theirs, ours = epoch - former[0], now - former[1]
        if theirs < -1 or ours + 2 < theirs - theirs / 16 or theirs + 2 < ours - ours / 16:
            self._ask_again(now)

    def _ask_again(self, now: Instant) -> None:
        """The gateway has forgotten the leases, or gives another address: without an answer they end soon."""
        if now < self._restarted_at + RESTART_PAUSE_SECONDS:
            return
        self._restarted_at = now
        for port in self._ports.values():
            port.next_at, port.tries = now, 0
            port.ends_at = min(port.ends_at, now + SOON_SECONDS)

    def _speak_nat_pmp(self, now: Instant) -> None:
        """Ask anew at once, if the answer is to a question in PCP."""
        if self._dialect == "pcp" and any(port.tries for port in self._ports.values()):
            self._dialect = "nat-pmp"
            for port in self._ports.values():
                port.next_at, port.tries = now, 0

    def _dialect_of(self, port: _Port) -> Dialect:
        if self._dialect == "pcp" and port.tries >= PCP_TRIES and port.tries % 2 == 0:
            return "nat-pmp"
        return self._dialect

    def _pause(self, port: _Port, now: Instant) -> float:
        """Return how long to wait for the answer to a question that is being sent."""
        if port.ends_at > now:
            return max((port.ends_at - now) / 2, MIN_RENEWAL_SECONDS)
        return self._growing_pause(port.tries)

    def _growing_pause(self, tries: int) -> float:
        pause: float = min(FIRST_PAUSE_SECONDS * 2 ** min(tries - 1, 16), MAX_PAUSE_SECONDS)
        return pause * (0.9 + 0.2 * self._random())

    @property
    def _misses_address(self) -> bool:
        """Whether something is mapped by NAT-PMP, and it is not known to which address."""
        return self._address is None and any(
            port.address is None and port.ends_at > -math.inf for port in self._ports.values()
        )

    def _request(self, port: _Port, dialect: Dialect, seconds: int) -> bytes:
        assert self._gateway is not None
        wanted = port.wanted
        wished = port.external_port or wanted.port
        if dialect == "nat-pmp":
            return packets.nat_pmp_map(wanted.protocol, wanted.port, wished, seconds)
        own = self._gateway.own
        return packets.pcp_map(own, wanted.protocol, wanted.port, wished, seconds, wanted.nonce)

    def _give_back(self, port: _Port, now: Instant) -> None:
        if self._gateway is not None and port.ends_at > now:
            self._out.append(self._request(port, self._dialect, 0))

    def _forget_ended(self, now: Instant) -> None:
        for port in self._ports.values():
            if -math.inf < port.ends_at <= now:
                port.ends_at = -math.inf
                port.next_at, port.tries = now, 0

    def _public_address(self, port: _Port) -> ipaddress.IPv4Address | None:
        address = port.address or self._address
        return address if address is not None and address.is_global else None
