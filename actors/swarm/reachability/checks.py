"""Which address is to be checked by which AutoNAT server next, and what the answers add up to.

An address is reachable when three servers in different address blocks have reached it, unreachable when three
could not and none could, and otherwise nobody knows. A server is not asked about an address if this node has
sent something to its block from the port in question: a NAT would let it in for that alone. Nor is one of a
private network asked, or one in the block of the address itself. A server that says it came through when
nothing has arrived is not asked for an hour. Owns candidates, servers and answers. Pure. Implements
docs/protocol.md, "Reachability".
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from ....messages.to_swarm import ReachedAnswer
from ....messages.types import Instant
from ..dial.addresses import Endpoint, block_of, ip_of, parse
from ..dial.hearsay import is_public

NEEDED: Final = 3
RECHECK_S: Final = 900.0
VALID_S: Final = 2 * RECHECK_S + 60.0
"""An answer counts for so long; the next one has had its chance by then."""
DOUBTED_S: Final = 10.0
"""For how much longer answers count after an interruption: by then the next ones are there."""
REFUSED_REST_S: Final = 300.0
LIAR_REST_S: Final = 3600.0
MAX_CANDIDATES: Final = 8
MAX_SERVERS: Final = 64
MAX_AT_ONCE: Final = 6

Outcome = Literal["reached", "unreached", "refused", "lied"]
"""What became of a check. `refused` stands for all that says nothing about the address."""
Verdict = Literal["reachable", "unreachable", "unknown"]


@dataclass(frozen=True, slots=True)
class Check:
    """One question: is `endpoint` reachable? `server` is the peer id of whom to ask."""

    server: bytes
    endpoint: Endpoint


@dataclass(frozen=True, slots=True)
class _Answer:
    reached: bool
    at: Instant


@dataclass(slots=True)
class _Server:
    host: str
    rests_until: Instant = 0.0


class Checks:
    """The checks of one node. `is_closed`: whether nothing was sent to a host from a port (contacts.py)."""

    def __init__(self, is_closed: Callable[[str, Endpoint, Instant], bool]) -> None:
        self._is_closed = is_closed
        self._servers: dict[bytes, _Server] = {}
        self._answers: dict[Endpoint, dict[str, _Answer]] = {}
        self._running: set[Check] = set()

    def add_server(self, peer: bytes, host: str) -> None:
        """Add a peer that serves AutoNAT and is connected from the IP address `host`."""
        ip = ip_of(host)
        if ip is None or not is_public(ip):
            return
        former = self._servers.pop(peer, None)
        self._servers[peer] = _Server(host, 0.0 if former is None else former.rests_until)
        if len(self._servers) > MAX_SERVERS:
            busy = {check.server for check in self._running}
            oldest = next((one for one in self._servers if one not in busy), peer)
            del self._servers[oldest]

    def remove_server(self, peer: bytes) -> None:
        """Ask a peer no more: there is no connection with it."""
        self._servers.pop(peer, None)

    def set_candidates(self, endpoints: Sequence[Endpoint]) -> None:
        """Set the addresses that may be this node's, the most likely first; others are forgotten."""
        wanted = list(dict.fromkeys(endpoints))[:MAX_CANDIDATES]
        self._answers = {endpoint: self._answers.get(endpoint, {}) for endpoint in wanted}

    def clear(self) -> None:
        """Forget all answers: this host is in another network now."""
        self._answers = {endpoint: {} for endpoint in self._answers}
        self._running.clear()

    def doubt(self, now: Instant) -> None:
        """Ask for everything anew: this host was away, and perhaps is in another network that looks alike."""
        doubted = now - VALID_S + DOUBTED_S
        self._answers = {
            endpoint: {block: _Answer(one.reached, min(one.at, doubted)) for block, one in answers.items()}
            for endpoint, answers in self._answers.items()
        }
        self._running.clear()

    def kept(self) -> list[ReachedAnswer]:
        """Return the answers, to be given to `resume` of another process."""
        return [
            ReachedAnswer(str(endpoint), block, answer.reached, answer.at)
            for endpoint, answers in self._answers.items()
            for block, answer in answers.items()
        ]

    def resume(self, kept: Iterable[ReachedAnswer]) -> None:
        """Take up the answers of a former process."""
        for one in kept:
            self._answers.setdefault(parse(one.endpoint), {})[one.block] = _Answer(one.reached, one.at)

    def begin(self, now: Instant) -> list[Check]:
        """Return the checks to begin now; each has to be ended."""
        begun: list[Check] = []
        for endpoint in self._answers:
            for server in self._fitting(endpoint, now):
                if len(self._running) >= MAX_AT_ONCE:
                    return begun
                check = Check(server, endpoint)
                self._running.add(check)
                begun.append(check)
        return begun

    def end(self, check: Check, outcome: Outcome, now: Instant) -> None:
        """Note what became of a check. One that was begun before `clear` says nothing any more."""
        if check not in self._running:
            return
        self._running.discard(check)
        server = self._servers.get(check.server)
        answers = self._answers.get(check.endpoint)
        if server is None:
            return
        if outcome in ("refused", "lied"):
            server.rests_until = now + (LIAR_REST_S if outcome == "lied" else REFUSED_REST_S)
            return
        block = block_of(server.host)
        if answers is not None and block is not None:
            answers[block] = _Answer(outcome == "reached", now)

    def verdict(self, endpoint: Endpoint, now: Instant) -> Verdict:
        """Return what the answers about an address add up to."""
        return _verdict(self._answers.get(endpoint, {}).values(), now, VALID_S)

    def reachable(self, now: Instant) -> list[Endpoint]:
        """Return the addresses at which this node is reachable."""
        return [one for one in self._answers if self.verdict(one, now) == "reachable"]

    def wake_at(self, now: Instant) -> Instant:
        """Return when something may be to begin, or a verdict ends, without any event; later than now."""
        times = [answer.at + RECHECK_S for answers in self._answers.values() for answer in answers.values()]
        times += [answer.at + VALID_S for answers in self._answers.values() for answer in answers.values()]
        times += [server.rests_until for server in self._servers.values()]
        return min((time for time in times if time > now), default=now + RECHECK_S)

    def _fitting(self, endpoint: Endpoint, now: Instant) -> list[bytes]:
        """Return whom to ask about an address now: one server of each block that has not answered lately."""
        answers = {
            block: answer for block, answer in self._answers[endpoint].items() if now - answer.at < RECHECK_S
        }
        if _verdict(answers.values(), now, RECHECK_S) != "unknown":
            return []
        taken = {block_of(endpoint.host), *answers}
        busy = {check.server for check in self._running}
        running = [check for check in self._running if check.endpoint == endpoint]
        taken |= {block_of(self._servers[one.server].host) for one in running if one.server in self._servers}
        reached = sum(answer.reached for answer in answers.values())
        missing = max(NEEDED - max(reached, len(answers) - reached), 1) - len(running)
        found: list[bytes] = []
        for peer, server in self._servers.items():
            block = block_of(server.host)
            if len(found) >= missing:
                break
            if peer in busy or block in taken or now < server.rests_until:
                continue
            if self._is_closed(server.host, endpoint, now):
                found.append(peer)
                taken.add(block)
        return found


def _verdict(answers: Iterable[_Answer], now: Instant, valid_s: float) -> Verdict:
    fresh = [one for one in answers if now - one.at < valid_s]
    reached = sum(answer.reached for answer in fresh)
    if reached >= NEEDED:
        return "reachable"
    return "unreachable" if not reached and len(fresh) >= NEEDED else "unknown"
