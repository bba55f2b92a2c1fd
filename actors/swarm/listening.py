"""Opens the listeners of a host: IPv4 and IPv6, TCP and UDP with one port, the one from before a restart.

Owns the choice of the port: the former one, the configured one, or any free one where the configuration
leaves the choice. What cannot be opened is an error with a text for the user, unless this host lacks IPv4 or
IPv6 as a whole: then the other listeners do. Never dials. Implements docs/architecture.md, "Swarm".
"""

import errno
from collections.abc import Awaitable, Sequence
from typing import Any, Protocol

import trio

from ...messages.actor_configs import SwarmConfig
from ...messages.errors import is_temporary
from ...messages.to_swarm import Listening
from ...messages.types import LogField
from ..base import FatalActorError
from .dial import addresses
from .dial.addresses import Endpoint
from .library.host_lifecycle import AddressTakenError, check_port_is_free
from .library.tcp_sockets import with_zone

PORT_TIMEOUT_S = 2.0
"""How long to wait for a port that the process before a restart may still hold."""
_RETRY_PAUSE_S = 0.05
_MAX_TRIES = 16
_NO_SUCH_FAMILY = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)


class WriteLog(Protocol):
    """Writes a log line, as base.Mailbox.log."""

    def __call__(self, level: str, event: str, /, **fields: LogField) -> Awaitable[None]:
        """Write it."""
        ...


async def listen(
    host: Any, config: SwarmConfig, previous: Sequence[str], write_log: WriteLog
) -> list[Endpoint]:
    """Listen as configured; return where, in the order of the configuration.

    `previous` are the addresses that this node had before a restart. Raises FatalActorError.
    """
    former = [addresses.parse(text).with_certhash("") for text in previous]
    configured = [listen_endpoint(text) for text in config.listen]
    if config.offline and not all(one.ip is not None and one.ip.is_loopback for one in configured):
        raise FatalActorError("cannot listen: a node that is offline listens on loopback only")
    wanted = await _possible(configured, config.default_port, write_log)
    found: dict[int, Endpoint] = {}
    for group in [list(range(len(wanted)))] if config.default_port else _twins(wanted):
        endpoints = [wanted[index] for index in group]
        ports = [port for one in endpoints if (port := _former_port(one, former)) is not None]
        actual = await _listen_on_one_port(host, endpoints, ports[:1], config.default_port, write_log)
        found.update(zip(group, actual, strict=True))
    listening = [found[index] for index in range(len(wanted))]
    await _say_what_is_missing(listening, write_log)
    return listening


def chosen(config: SwarmConfig) -> tuple[str, ...]:
    """Return the addresses that the user has chosen to listen on; empty if that was left to the node."""
    return () if config.default_port else config.listen


def still_wanted(former: Listening, config: SwarmConfig) -> tuple[str, ...]:
    """Return the addresses from before a restart whose listeners are configured as they were.

    A port that was found for another configuration must not take the place of the one that is configured now.
    """
    now = chosen(config)
    if former.wanted is None or former.wanted == now:
        return former.addresses
    same = {addresses.parse(text).with_port(0) for text in now if text in former.wanted}
    return tuple(
        text for text in former.addresses if addresses.parse(text).with_certhash("").with_port(0) in same
    )


def listen_endpoint(text: str) -> Endpoint:
    """Return an address to listen on. Raises FatalActorError for one that is wrong."""
    try:
        endpoint = addresses.parse(text)
    except addresses.AddressError as error:
        raise FatalActorError(f"cannot listen on {text}: {error}; choose another with --listen") from None
    if endpoint.ip is None:
        raise FatalActorError(
            f"cannot listen on {text}: an IP address is needed; choose another with --listen"
        )
    return endpoint


def _twins(wanted: Sequence[Endpoint]) -> list[list[int]]:
    """Return, as indexes, what gets one port: each endpoint, or one of TCP and one of UDP at one place."""
    groups: list[list[int]] = []
    for index, endpoint in enumerate(wanted):
        alone = [group for group in groups if len(group) == 1]
        twin = next((group for group in alone if _are_twins(wanted[group[0]], endpoint)), None)
        if twin is None:
            groups.append([index])
        else:
            twin.append(index)
    return groups


def _are_twins(one: Endpoint, other: Endpoint) -> bool:
    is_one_place = (one.host, one.zone, one.port) == (other.host, other.zone, other.port)
    return is_one_place and one.is_udp != other.is_udp


def _former_port(endpoint: Endpoint, former: list[Endpoint]) -> int | None:
    """Return the port of this listener before a restart, and take it from `former`; None: it is a new one."""
    for one in former:
        if one.with_port(0) == endpoint.with_port(0):
            former.remove(one)
            return one.port
    return None


async def _possible(wanted: list[Endpoint], by_default: bool, write_log: WriteLog) -> list[Endpoint]:
    """Return the endpoints without those of an IP version that this host does not have.

    An address that the user has chosen by itself stays: that it is not there is an error.
    """
    possible: list[Endpoint] = []
    missing: set[str] = set()
    for endpoint in wanted:
        is_chosen = not by_default and endpoint.ip is not None and not endpoint.ip.is_unspecified
        if not is_chosen and len(wanted) > 1:
            try:
                check_port_is_free(endpoint.host, 0)
            except OSError as error:
                if error.errno in _NO_SUCH_FAMILY:
                    if endpoint.family not in missing:
                        missing.add(endpoint.family)
                        await write_log("warning", "IP version missing", version=_version(endpoint))
                    continue
        possible.append(endpoint)
    if not possible:
        raise FatalActorError("cannot listen: this host has neither IPv4 nor IPv6")
    return possible


async def _say_what_is_missing(listening: Sequence[Endpoint], write_log: WriteLog) -> None:
    """Log each IP version of which this host has no address now, though it listens for one."""
    anywhere = [one for one in listening if one.ip is not None and one.ip.is_unspecified]
    present = {f"ip{own.ip.version}" for own in addresses.interface_addresses()} if anywhere else set()
    for endpoint in anywhere:
        if endpoint.family not in present:
            present.add(endpoint.family)
            await write_log("info", "no address of an IP version now", version=_version(endpoint))


def _version(endpoint: Endpoint) -> str:
    return "IPv4" if endpoint.family == "ip4" else "IPv6"


async def _listen_on_one_port(
    host: Any, group: Sequence[Endpoint], former: Sequence[int], default_port: bool, write_log: WriteLog
) -> list[Endpoint]:
    """Listen on the first of the possible ports that is free; log it if that is not the first choice.

    It has to be free at every endpoint of the group; if no port is, each endpoint gets one of its own.
    """
    configured = group[0].port
    choices = [(port, PORT_TIMEOUT_S) for port in former]
    if configured not in former:
        choices.append((configured, 0.0 if default_port else PORT_TIMEOUT_S / 2))
    may_differ = default_port or configured == 0
    if may_differ:
        choices.append((0, 0.0))
    reason: OSError | None = None
    for port, patience in choices:
        try:
            free = await _wait_until_free(group, port, patience)
            listening = [await _bind(host, group[0].with_port(free))]
            for endpoint in group[1:]:
                bind = _bind_there_or_anywhere if may_differ else _bind
                listening.append(await bind(host, endpoint.with_port(free)))
        except AddressTakenError as error:
            reason = error
            continue
        except OSError as error:
            raise FatalActorError(
                f"cannot listen on {group[0].with_port(port)}: {error.strerror or error}; "
                "choose another with --listen",
                is_temporary=is_temporary(error),
            ) from None
        if reason is not None:
            instead = " and ".join(dict.fromkeys(str(one.port) for one in listening))
            await write_log("warning", "port taken", wanted=choices[0][0], instead=instead)
        return listening
    why = reason.strerror if reason else "unknown"
    raise FatalActorError(
        f"port {configured} is taken: {why}; choose another with --listen", is_temporary=True
    )


async def _wait_until_free(group: Sequence[Endpoint], port: int, patience: float) -> int:
    """Return a port that is free at all endpoints: `port`, or for 0 any one, or 0 if none is found.

    Raises AddressTakenError after `patience` seconds, or OSError.
    """
    deadline = trio.current_time() + patience
    tries = 0
    while True:
        try:
            free = port
            for endpoint in group:
                number = _zone_number(endpoint)
                free = check_port_is_free(endpoint.host, free, number, datagrams=endpoint.is_udp)
            return free if len(group) > 1 else port
        except AddressTakenError:
            if port == 0 and (tries := tries + 1) < _MAX_TRIES:
                continue
            if port == 0:
                return 0
            if trio.current_time() >= deadline:
                raise
            # There is no event for a port that another process gives up, so try again for a while.
            await trio.sleep(_RETRY_PAUSE_S)


def _zone_number(endpoint: Endpoint) -> int:
    """Return the number of the interface of a link-local endpoint, else 0. Raises OSError."""
    if not endpoint.zone:
        return 0
    number = addresses.zone_number(endpoint.zone)
    if number is None:
        raise OSError(errno.ENODEV, f"no interface {endpoint.zone} has a link-local address")
    return number


async def _bind_there_or_anywhere(host: Any, endpoint: Endpoint) -> Endpoint:
    """Listen on one endpoint, or on another port if that was taken just now: the first listener stands."""
    try:
        return await _bind(host, endpoint)
    except AddressTakenError:
        return await _bind(host, endpoint.with_port(0))


async def _bind(host: Any, endpoint: Endpoint) -> Endpoint:
    """Listen on one endpoint. Raises AddressTakenError, or OSError."""
    network = host.get_network()
    number = _zone_number(endpoint)
    address = str(endpoint.with_zone(""))
    await network.listen(with_zone(address, str(number) if number else ""))
    listener = network.listeners.get(address)
    actual = (
        [addresses.parse(str(address)) for address in listener.get_addrs()] if listener is not None else []
    )
    if not actual:
        raise AddressTakenError(errno.EADDRINUSE, "another program listens there")
    return endpoint.with_port(actual[0].port)
