"""What `sdnode doctor` finds: pure functions from facts to findings, each with what to do.

Owns every judgement and every text. docs/operations.md, "When something is wrong", has what takes longer to
say. Never looks at anything itself.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from .doctor_facts import AllFacts, DiskFacts, FileFacts, HostFacts, NodeFacts, NoNode, sample
from .status import SANDBOX_ADVICE, listening, sandbox_text, who_can_pair

Area = Literal["node", "network", "clock", "permissions", "sandbox", "versions", "disk"]
Level = Literal["ok", "note", "problem"]

_MIN_FREE_BYTES, _LOW_FREE_BYTES = 32 * 2**20, 256 * 2**20
_MIN_FREE_INODES = 64
_MIN_OPEN_FILES = 256
_MAX_CLOCK_DIFFERENCE_S = 60.0
_MIN_FAILED_HANDSHAKES = 5
"""Over QUIC, with none that succeeded, before UDP is thought to be blocked."""
_MANY_RESTARTS = 20


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding. `check` is its stable name; `advice` is empty if there is nothing to do."""

    area: Area
    check: str
    level: Level
    text: str
    advice: str = ""


def find(facts: AllFacts) -> list[Finding]:
    """Return all findings, in the order in which people read them."""
    found: list[Finding] = []
    if isinstance(facts.node, NodeFacts):
        found += _of_node(facts.node)
        found += _of_its_network(facts.node)
    else:
        found += _without_node(facts.node)
    found += _of_settings(facts)
    found += _of_host_network(facts.host)
    found += _of_clock(facts)
    for file in facts.files:
        found += _of_file(file)
    found += _of_open_files(facts.host)
    found += _of_sandbox(facts)
    found += _of_versions(facts)
    for disk in facts.disks:
        found += _of_disk(disk)
    order = list(Area.__args__)  # type: ignore[attr-defined]
    return sorted(found, key=lambda finding: order.index(finding.area))


def _without_node(node: NoNode) -> Iterator[Finding]:
    level: Level = "note" if node.is_expected else "problem"
    yield Finding("node", "running", level, node.reason, "what only a running node knows was not checked")


def _of_node(node: NodeFacts) -> Iterator[Finding]:
    status = node.status
    if status.ready:
        yield Finding("node", "ready", "ok", f"{status.name} runs and is ready")
    else:
        missing = ", ".join(status.missing) or "everything"
        yield Finding(
            "node",
            "ready",
            "problem",
            f"{status.name} runs and is not ready; missing: {missing}",
            "wait a moment after its start; else its log says what keeps it",
        )
    restarted = [f"{actor.actor} ({actor.restarts})" for actor in node.actors if actor.restarts]
    often = [actor for actor in node.actors if actor.restarts > _MANY_RESTARTS]
    if often:
        advice = "the log says why: look for `restarting`; include it in a report (--bundle, --log)"
        text = f"actors restart again and again: {', '.join(restarted)}"
        yield Finding("node", "restarts", "problem", text, advice)
    elif restarted:
        text = f"actors were restarted, which no pairing notices: {', '.join(restarted)}"
        yield Finding("node", "restarts", "ok", text)


def _of_its_network(node: NodeFacts) -> Iterator[Finding]:
    status = node.status
    where = "; ".join(f"{transport}: {', '.join(texts)}" for transport, texts in listening(status).items())
    if where:
        yield Finding("network", "listening", "ok", f"listens on {where}")
    else:
        yield Finding(
            "network", "listening", "problem", "listens nowhere", "its log says why a port cannot be had"
        )
    addresses = ", ".join(status.addresses) or "none"
    yield Finding("network", "addresses", "ok", f"tells others these addresses: {addresses}")
    yield _reachability(node)
    if not status.offline:
        yield from _dht(node)
        yield from _mdns(node)
        if node.samples is None:
            text = "no metrics can be read, so UDP, relays and mDNS packets were not checked"
            yield Finding("network", "metrics", "note", text, "start the node without --metrics-listen off")
        else:
            yield from _udp(node)
            yield from _relays(node)
    yield Finding("network", "pairing", "ok", who_can_pair(status))


def _reachability(node: NodeFacts) -> Finding:
    from ..messages.reachability_texts import REACHABILITY_TEXTS

    state = node.status.reachability
    text = {str(key): text for key, text in REACHABILITY_TEXTS.items()}.get(state, "not known yet")
    if state == "symmetric":
        advice = "have the router forward TCP and UDP to the port of this node, or name a relay with --relay"
        return Finding("network", "reachability", "note", text, advice)
    if state == "unknown":
        advice = "wait; three DHT servers in different networks have to answer (--bootstrap, --public)"
        return Finding("network", "reachability", "note", text, advice)
    return Finding("network", "reachability", "ok", text)


def _dht(node: NodeFacts) -> Iterator[Finding]:
    peers = node.status.dht_peers
    if peers:
        yield Finding("network", "dht", "ok", f"DHT servers known: {peers}")
    elif node.status.lan_only:
        yield Finding("network", "dht", "ok", "no DHT server is known, and with --lan-only none is needed")
    else:
        text = "no DHT server is known, so devices elsewhere need the QR code"
        advice = "name one with --bootstrap, or join the public network with --public"
        yield Finding("network", "dht", "note", text, advice)


def _mdns(node: NodeFacts) -> Iterator[Finding]:
    status = node.status
    if status.mdns == "off":
        text = "mDNS is off: devices on the local network are not found by it"
        yield Finding("network", "mdns", "note", text, "start the node without --no-mdns to find them")
    elif status.mdns != "idle" and status.mdns_interfaces == 0:
        advice = "is a network connected? A container sees mDNS only with the network of its host"
        yield Finding("network", "mdns", "problem", "mDNS is on, and no interface multicasts", advice)
    elif node.samples is not None and (heard := sample(node.samples, "mdns_packets_total")):
        yield Finding("network", "mdns", "ok", f"mDNS packets heard: {int(heard)}")
    elif status.mdns == "idle":
        text = "mDNS is silent, as it should be while no code is shown or entered"
        yield Finding("network", "mdns", "ok", text)
    elif node.samples is None:
        yield Finding("network", "mdns", "ok", "mDNS is in use now")
    else:
        text = "no mDNS packet was heard on the local network yet"
        advice = "if other devices show or enter a code now, let in UDP port 5353 (deploy/firewall/)"
        yield Finding("network", "mdns", "note", text, advice)


def _udp(node: NodeFacts) -> Iterator[Finding]:
    assert node.samples is not None
    counts = {
        (transport, outcome): sample(
            node.samples, "handshake_seconds_count", transport=transport, outcome=outcome
        )
        for transport in ("quic", "tcp")
        for outcome in ("ok", "failed")
    }
    if counts["quic", "ok"]:
        yield Finding("network", "udp", "ok", "UDP works: connections over QUIC came about")
    elif counts["quic", "failed"] >= _MIN_FAILED_HANDSHAKES and counts["tcp", "ok"]:
        failed = int(counts["quic", "failed"])
        text = f"UDP seems to be blocked: {failed} connections over QUIC failed, others over TCP did not"
        advice = "let UDP out and in on the port of this node; over TCP everything works, a little later"
        yield Finding("network", "udp", "note", text, advice)
    elif "quic" in listening(node.status):
        yield Finding("network", "udp", "ok", "nothing was connected over QUIC yet, so nothing speaks of UDP")


def _relays(node: NodeFacts) -> Iterator[Finding]:
    assert node.samples is not None
    held = int(sample(node.samples, "relay_reservations", side="held"))
    state = node.status.reachability
    if held:
        yield Finding("network", "relays", "ok", f"relays that lead others here: {held}")
    elif state in ("symmetric", "unknown") and not node.status.lan_only and node.status.dht_peers:
        text = "no relay leads others here, and it is not known that they reach this node directly"
        yield Finding("network", "relays", "note", text, "name a relay with --relay, or forward the port")


def _of_settings(facts: AllFacts) -> Iterator[Finding]:
    for problem in facts.settings_problems:
        advice = "sdnode up --check-config shows all settings and where they come from"
        text = f"a setting is not usable ({facts.settings_source}): {problem}"
        yield Finding("node", "settings", "problem", text, advice)


def _of_host_network(host: HostFacts) -> Iterator[Finding]:
    if not host.interfaces:
        text = "this host has no network interface that is up, beside loopback"
        yield Finding("network", "interfaces", "note", text, "connect it to a network")
        return
    yield Finding("network", "interfaces", "ok", f"interfaces that are up: {', '.join(host.interfaces)}")
    if not host.multicast_interfaces:
        text = "none of them multicasts, so mDNS finds nobody"
        yield Finding("network", "multicast", "note", text, "use --bootstrap or the QR code instead")
    versions = [name for name, has in (("IPv4", host.has_ipv4_route), ("IPv6", host.has_ipv6_route)) if has]
    if versions:
        yield Finding(
            "network", "routes", "ok", f"there is a route to other networks by {' and '.join(versions)}"
        )
    else:
        text = "there is no default route: only the local network can be reached"
        yield Finding(
            "network", "routes", "note", text, "set a gateway, if devices elsewhere are to be reached"
        )
    if versions and not host.name_servers:
        text = "no name server is configured: names of DHT servers cannot be resolved"
        yield Finding("network", "names", "note", text, "see /etc/resolv.conf, or name one with --dns")


def _of_clock(facts: AllFacts) -> Iterator[Finding]:
    host, node = facts.host, facts.node
    fine = True
    if host.installed_in_s > _MAX_CLOCK_DIFFERENCE_S:
        fine = False
        text = f"the clock is behind: this program was installed {_span(host.installed_in_s)} in the future"
        yield Finding("clock", "time", "problem", text, "set the clock: timedatectl set-ntp true")
    ahead = max(facts.files, key=lambda file: file.changed_in_s, default=None)
    if ahead is not None and ahead.changed_in_s > _MAX_CLOCK_DIFFERENCE_S:
        fine = False
        text = f"the clock went back: {ahead.what} was written {_span(ahead.changed_in_s)} in the future"
        advice = "set the clock; times of pairings that are shown may be wrong, and nothing else"
        yield Finding("clock", "files", "problem", text, advice)
    jump = node.clock_jump_s if isinstance(node, NodeFacts) else None
    if jump is not None and abs(jump) > _MAX_CLOCK_DIFFERENCE_S:
        fine = False
        way = "forward" if jump > 0 else "back"
        text = f"the clock was set {way} by {_span(abs(jump))} since the node started"
        advice = "nothing, if it is right now: the node counts by the time since the boot"
        yield Finding("clock", "jump", "note", text, advice)
    if host.synchronised is False:
        fine = False
        text = "the kernel says that nobody keeps the clock right"
        yield Finding("clock", "synchronised", "note", text, "timedatectl set-ntp true, or install chrony")
    if fine:
        known = "is synchronised" if host.synchronised else "looks right"
        yield Finding("clock", "time", "ok", f"the clock {known}, as far as one can tell here")


def _of_file(file: FileFacts) -> Iterator[Finding]:
    check = file.what.replace(" ", "_")
    if file.problem:
        text = f"{file.what} cannot be looked at: {file.path}: {file.problem}"
        advice = "run this as the user of the node, or give the directory back to it"
        yield Finding("permissions", check, "problem", text, advice)
    elif file.mode is None:
        if file.is_directory:
            text = f"{file.what} does not exist yet: {file.path}"
            yield Finding("permissions", check, "ok", text)
    elif not file.is_own:
        text = f"{file.what} belongs to another user than the node's: {file.path}"
        advice = "give it to the user of the node with chown, if nobody else has changed it"
        yield Finding("permissions", check, "problem", text, advice)
    elif file.mode & 0o077:
        wanted = "700" if file.is_directory else "600"
        text = f"others on this host may use {file.what}: {file.path} has mode {file.mode:04o}"
        yield Finding("permissions", check, "problem", text, f"chmod {wanted} {file.path}")
    else:
        yield Finding("permissions", check, "ok", f"{file.what} is private: {file.path}")


def _of_open_files(host: HostFacts) -> Iterator[Finding]:
    if host.max_open_files is not None and host.max_open_files < _MIN_OPEN_FILES:
        text = f"a process may open {host.max_open_files} files here, and a node needs {_MIN_OPEN_FILES}"
        advice = "raise the limit (ulimit -n; LimitNOFILE= of a systemd unit)"
        yield Finding("permissions", "open_files", "problem", text, advice)


def _of_sandbox(facts: AllFacts) -> Iterator[Finding]:
    steps = facts.host.sandbox
    if not steps:
        text = "the sandbox could not be tried here"
        yield Finding("sandbox", "steps", "problem", text, "include this in a report: --bundle FILE")
    for step, result in steps.items():
        if result == "ok":
            continue
        level: Level = "note" if step == "namespaces" else "problem"
        made_good = "; seccomp still refuses sockets" if step == "namespaces" else ""
        yield Finding(
            "sandbox", step, level, f"{step} is not to be had here: {result}{made_good}", SANDBOX_ADVICE
        )
    in_force = [step for step, result in steps.items() if result == "ok"]
    if in_force:
        yield Finding("sandbox", "steps", "ok", f"in force for an actor started here: {', '.join(in_force)}")
    node = facts.node
    if isinstance(node, NodeFacts):
        yield from _of_running_sandboxes(node)


def _of_running_sandboxes(node: NodeFacts) -> Iterator[Finding]:
    gaps = node.status.sandbox_gaps
    for gap in gaps:
        level: Level = "note" if gap.is_made_good else "problem"
        text = f"running: {sandbox_text(gap)}"
        check = f"running_{gap.step}{'_made_good' if gap.is_made_good else ''}"
        yield Finding("sandbox", check, level, text, SANDBOX_ADVICE)
    if node.sandboxes is None:
        return
    lacking = {
        step: [box.actor for box in node.sandboxes if not getattr(box, step)]
        for step in ("seccomp", "no_new_privs", "no_capabilities")
    }
    for step, actors in lacking.items():
        if actors and step not in {gap.step for gap in gaps}:
            text = f"running without {step}: {', '.join(actors)}"
            advice = "the log says at level warning why: look for `sandbox`"
            yield Finding("sandbox", f"running_{step}", "problem", text, advice)
    if not gaps and not any(lacking.values()) and node.sandboxes:
        text = f"all steps hold for the {len(node.sandboxes)} actors that run"
        yield Finding("sandbox", "running", "ok", text)


def _of_versions(facts: AllFacts) -> Iterator[Finding]:
    host, node = facts.host, facts.node
    known = ", ".join(f"{name} {version}" for name, version in host.versions.items())
    yield Finding("versions", "versions", "ok", known)
    if not host.python_is_supported:
        text = f"Python {host.versions.get('python', '')} is not supported"
        yield Finding("versions", "python", "problem", text, "use Python 3.11, 3.12 or 3.13")
    for wrong in host.wrong_versions:
        advice = "install what is locked: make install, or the package again"
        yield Finding("versions", "pins", "problem", wrong, advice)
    if isinstance(node, NodeFacts):
        running, here = node.status.version, host.versions.get("spacedrive-node", "")
        if running != here:
            text = f"the node that runs is version {running}, and this command {here}"
            yield Finding("versions", "node", "problem", text, "restart the node")


def _of_disk(disk: DiskFacts) -> Iterator[Finding]:
    check = disk.what.replace(" ", "_")
    free = f"{disk.free_bytes / 2**20:.0f} MiB"
    if disk.is_read_only:
        text = f"{disk.what} is on a file system that is read-only: {disk.path}"
        yield Finding(
            "disk", check, "problem", text, "mount it so that it can be written, or move the directory"
        )
    elif disk.free_bytes < _MIN_FREE_BYTES:
        text = f"{disk.what} has {free} left: {disk.path}; a device could not be stored"
        yield Finding("disk", check, "problem", text, "make room there")
    elif disk.free_inodes is not None and disk.free_inodes < _MIN_FREE_INODES:
        text = f"{disk.what} has room for {disk.free_inodes} more files: {disk.path}"
        yield Finding("disk", check, "problem", text, "remove files there: the file system counts them")
    elif disk.free_bytes < _LOW_FREE_BYTES:
        yield Finding("disk", check, "note", f"{disk.what} has {free} left: {disk.path}", "make room there")
    else:
        yield Finding("disk", check, "ok", f"{disk.what} has {free} left: {disk.path}")


def _span(seconds: float) -> str:
    from .tables import span_text

    return span_text(seconds)
