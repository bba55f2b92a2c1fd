"""Counters and histograms never go back, whoever restarts; gauges end with their sender."""

import math
import os
from itertools import product
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from spacedrive_node.actors.base import Incoming
from spacedrive_node.actors.metrics.catalogue import CATALOGUE, PREFIX
from spacedrive_node.actors.metrics.exposition import render
from spacedrive_node.actors.metrics.machine import Metrics
from spacedrive_node.config.settings import NodeConfig
from spacedrive_node.messages.base import MalformedMessageError, encode
from spacedrive_node.messages.from_supervisor import ActorDown, ActorRestarted, Alive, SessionEnded
from spacedrive_node.messages.peer_protocol import RefusalReason
from spacedrive_node.messages.to_gateway import Readiness
from spacedrive_node.messages.to_metrics import (
    BUCKETS,
    ActorKind,
    CircuitEnd,
    Distribution,
    Observed,
    RestartReason,
    Sample,
    decode,
)
from spacedrive_node.messages.types import Outcome, Role
from spacedrive_node.node import child_specs, page_spec, session_spec
from spacedrive_node.supervisor.ledger import SUPERVISOR
from spacedrive_node.supervisor.restart_policy import Cause
from spacedrive_node.supervisor.spawner import FORK_SERVER_NAME

SESSION = "session-0123456789abcdef"
RESTARTS = ("actor_restarts_total", ("swarm", "killed"))
ACTIVE = ("pairing_sessions_active", ("joiner",))


def step(machine: Metrics, sender: str, message: Any, incarnation: int = 1) -> Metrics:
    """Take one input, then die and come back from the checkpoint."""
    effects = machine.step(Incoming(sender, incarnation, os.urandom(16), message), 0.0)
    assert effects.checkpoint is not None
    return Metrics("1.2.3", effects.checkpoint)


def counted(value: float, labels: tuple[str, ...] = ("swarm", "killed")) -> Observed:
    return Observed(samples=(Sample("actor_restarts_total", labels, value),))


def durations(counts: dict[int, int], total: float) -> Observed:
    filled = tuple(counts.get(bucket, 0) for bucket in range(len(BUCKETS) + 1))
    return Observed(distributions=(Distribution("handshake_seconds", ("tcp", "ok"), filled, total),))


def test_a_counter_across_restarts_of_its_sender_and_of_metrics() -> None:
    """Ended incarnations plus the present one, with metrics itself restarted after every input."""
    machine = Metrics("1.2.3")
    for incarnation, value, expected in ((1, 2, 2), (1, 5, 5), (2, 1, 6), (2, 4, 9), (5, 0, 9), (5, 1, 10)):
        machine = step(machine, "swarm", counted(value), incarnation)
        assert machine.totals.numbers()[RESTARTS] == expected


@example([("discovery", 2, 1.9), ("discovery", 4, 1.1), ("swarm", 2, 2.8), ("swarm", 4, 0.0)])
@example([("swarm", 2, 1.9), ("swarm", 4, 1.1), ("discovery", 2, 2.8), ("discovery", 4, 0.0)])
@given(
    st.lists(
        st.tuples(st.sampled_from(["swarm", "discovery"]), st.integers(1, 4), st.floats(0, 1e6)),
        max_size=20,
    )
)
def test_counters_never_go_back(inputs: list[tuple[str, int, float]]) -> None:
    """Whatever is said in whatever order, also by a sender that forgets or is late."""
    machine, before = Metrics("1"), 0.0
    for sender, incarnation, value in inputs:
        machine = step(machine, sender, counted(value), incarnation)
        after = machine.totals.numbers().get(RESTARTS, 0.0)
        assert after >= before
        before = after


def test_histograms_are_merged() -> None:
    """Bucket by bucket over incarnations and senders, and shown cumulatively."""
    machine = Metrics("1")
    machine = step(machine, "swarm", durations({0: 2, 3: 1}, 0.5))
    machine = step(machine, "swarm", durations({0: 1}, 0.25), incarnation=2)
    machine = step(machine, "discovery", durations({len(BUCKETS): 1}, 400.0))
    histogram = machine.totals.histograms()[("handshake_seconds", ("tcp", "ok"))]
    assert histogram.counts == {0: 3, 3: 1, len(BUCKETS): 1}
    assert histogram.total == 400.75
    cumulative = histogram.cumulative()
    assert (cumulative[0], cumulative[3], cumulative[-2], cumulative[-1]) == (3, 4, 4, 5)


def test_a_session_is_folded_at_its_end() -> None:
    """Its counts stay, its gauge goes, its place in the checkpoint is free."""
    machine = Metrics("1")
    active = Observed(samples=(Sample("pairing_sessions_active", ("joiner",), 1),))
    machine = step(machine, SESSION, active)
    assert machine.totals.numbers()[ACTIVE] == 1
    total = Sample("pairing_sessions_total", ("joiner", "paired"), 1)
    machine = step(machine, SESSION, Observed(samples=(*active.samples, total)))
    machine = step(machine, "supervisor", SessionEnded(SESSION[8:], "joiner", "paired"))
    assert machine.totals.numbers() == {("pairing_sessions_total", ("joiner", "paired")): 1.0}
    assert machine.totals._number_count == 0


def test_a_gauge_is_the_sum_of_present_values() -> None:
    """Over senders; a new incarnation begins with none."""
    machine = Metrics("1")
    peers = Observed(samples=(Sample("dht_routing_table_peers", (), 3),))
    machine = step(machine, "swarm", peers)
    machine = step(machine, "discovery", peers)
    assert machine.totals.numbers()[("dht_routing_table_peers", ())] == 6
    machine = step(machine, "swarm", Observed(), incarnation=2)
    assert machine.totals.numbers()[("dht_routing_table_peers", ())] == 3


def test_what_does_not_fit_is_ignored() -> None:
    """No number, wrong labels, wrong kind, labels that are no words; a session that speaks for others."""
    bad = (
        Sample("actor_restarts_total", ("swarm", "killed"), float("nan")),
        Sample("actor_restarts_total", ("swarm", "killed"), -1),
        Sample("actor_restarts_total", ("swarm",), 1),
        Sample("actor_restarts_total", ("swarm", "12D3KooW"), 1),
        Sample("handshake_seconds", ("tcp", "ok"), 1),
        Sample("pairing_sessions_total", ("joiner", "happy"), 1),
    )
    machine = step(Metrics("1"), "swarm", Observed(samples=bad))
    machine = step(machine, SESSION, counted(1))
    machine = step(machine, "swarm", durations({0: -1}, 1.0))
    assert machine.totals.numbers() == {}
    assert machine.totals.histograms() == {}


@pytest.mark.parametrize("count", [2**64 - 1, 2**62])
def test_no_report_can_make_the_totals_too_great_for_the_checkpoint(count: int) -> None:
    """Metrics died of it, and so often that the node ended, when an actor that was taken over died twice."""
    machine = Metrics("1")
    name, labels = "handshake_seconds", ("tcp", "ok")
    for incarnation in range(1, 9):
        counts = (*[0] * len(BUCKETS), count)
        report = Observed(distributions=(Distribution(name, labels, counts, 1e308),))
        sample = Observed(samples=(Sample("pairing_refusals_total", ("busy",), 1e308),))
        for message in (report, sample):
            try:
                received = decode(encode(message))
            except MalformedMessageError:
                continue
            machine = step(machine, "swarm", received, incarnation)
    machine.step(Incoming("supervisor", 0, bytes(16), ActorDown("swarm", False)), 0.0)
    assert all(math.isfinite(value) for value in machine.totals.numbers().values())
    assert all(math.isfinite(one.total) for one in machine.totals.histograms().values())


def test_the_checkpoint_is_bounded() -> None:
    """The most hostile reports of the most sessions stay below the limit of a frame."""
    machine = Metrics("1")
    full = Observed(
        samples=(
            *(Sample("pairing_refusals_total", (why,), 1e300) for why in get_args(RefusalReason)),
            *(Sample("pairing_refusals_total", (f"r{number:030}",), 1e300) for number in range(250)),
        ),
        distributions=tuple(
            Distribution("pairing_stage_seconds", ("joiner", stage), (2**31,) * (len(BUCKETS) + 1), 1e300)
            for stage in ("waiting", "searching", "connecting", "proving", "deciding", "storing")
        ),
    )
    size = 0
    for number in range(600):
        incoming: Incoming[Any] = Incoming(f"session-{number:016x}", 1, bytes(16), full)
        size = max(size, len(machine.step(incoming, 0.0).checkpoint or b""))
    refusals = [name for name, _ in machine.totals.numbers() if name == "pairing_refusals_total"]
    assert len(refusals) == len(get_args(RefusalReason))
    assert size < 800_000
    machine.step(Incoming("swarm", 1, bytes(16), counted(1)), 0.0)
    assert machine.totals.numbers()[RESTARTS] == 1
    for number in range(600):
        ended = SessionEnded(f"{number:016x}", "joiner", "crashed")
        machine.step(Incoming("supervisor", 0, bytes(16), ended), 0.0)
    assert machine.totals._number_count == 1


def test_readiness_by_part() -> None:
    """Only the part's owner is believed; it survives a restart."""
    machine = Metrics("1")
    machine = step(machine, "swarm", Readiness("vault", True))
    assert not machine.parts["vault"].ready
    for sender, part in (("vault", "vault"), ("swarm", "swarm"), ("discovery", "dht")):
        assert not machine.ready
        machine = step(machine, sender, Readiness(part, True))
    assert machine.ready
    machine = step(machine, "swarm", Readiness("dht", False, "no bootstrap peer answers"))
    assert machine.ready
    machine = step(machine, "discovery", Readiness("dht", False, "no bootstrap peer answers"))
    assert not machine.ready


def test_readiness_and_gauges_die_with_their_sender() -> None:
    """Of every part, also across a restart of metrics; who keeps its state need not report again."""
    for sender, part, keeps_state in (
        ("vault", "vault", True), ("swarm", "swarm", False), ("discovery", "dht", False)
    ):  # fmt: skip
        machine = Metrics("1")
        for other, its_part in (("vault", "vault"), ("swarm", "swarm"), ("discovery", "dht")):
            machine = step(machine, other, Readiness(its_part, True))
        machine = step(machine, sender, Observed(samples=(Sample("dht_routing_table_peers", (), 4),)))
        assert machine.ready
        machine = step(machine, "supervisor", ActorDown(sender, keeps_state))
        assert not machine.ready
        assert machine.part_states()[part].detail == "restarting"
        assert ("dht_routing_table_peers", ()) not in machine.totals.numbers()
        machine = step(machine, "supervisor", ActorRestarted(sender))
        assert machine.ready is keeps_state
        machine = step(machine, sender, Readiness(part, True))
        assert machine.ready


def test_alive_leaves_the_state_alone() -> None:
    """An answer that nobody waits for is dropped."""
    assert Metrics("1").step(Incoming("supervisor", 0, bytes(16), Alive(9)), 0.0).checkpoint is None


def test_both_forms_parse_and_hold_the_whole_catalogue() -> None:
    """Every metric is there with its help and type, also before its first value; values are equal."""
    version = '1.2.3+"a\\b"'
    machine = step(Metrics(version), "swarm", durations({0: 2, len(BUCKETS): 1}, 301.0))
    machine = step(machine, "supervisor", counted(3))
    for openmetrics, parser in ((True, parse_openmetrics), (False, parse_text)):
        body, content_type = render(machine.totals, version, openmetrics=openmetrics)
        assert ("openmetrics-text; version=1.0.0" in content_type) is openmetrics
        families = {family.name: family for family in parser(body.decode())}
        for metric in CATALOGUE:
            family = families[metric.full_name.removesuffix("_total")]
            assert (family.type, family.documentation) == (metric.kind, metric.help)
        samples = {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in families.values()
            for sample in family.samples
        }
        assert samples[f"{PREFIX}build_info", (("version", version),)] == 1
        assert samples[f"{PREFIX}actor_restarts_total", (("actor", "swarm"), ("reason", "killed"))] == 3
        tcp = (("outcome", "ok"), ("transport", "tcp"))
        assert samples[f"{PREFIX}handshake_seconds_count", tcp] == 3
        assert samples[f"{PREFIX}handshake_seconds_sum", tcp] == 301
        assert samples[f"{PREFIX}handshake_seconds_bucket", (("le", "0.001"), *tcp)] == 2
        assert samples[f"{PREFIX}handshake_seconds_bucket", (("le", "+Inf"), *tcp)] == 3


def test_the_closed_sets_of_labels_are_those_of_the_node() -> None:
    """Every kind of actor that a node has, and every cause of a restart."""
    specs = [*child_specs(NodeConfig(), Path("/nowhere"), 0, None), page_spec(0, "x"), session_spec()]
    assert set(get_args(ActorKind)) == {SUPERVISOR, FORK_SERVER_NAME, *(spec.kind for spec in specs)}
    assert get_args(RestartReason) == get_args(Cause)


def test_every_series_of_a_closed_set_is_there_before_its_first_event() -> None:
    """With 0, or increase() would not see the first event; with the unit and the time in OpenMetrics."""
    body, _ = render(Metrics("1").totals, "1", openmetrics=True, created=1234.5)
    lines = body.decode().splitlines()
    for role, outcome in product(get_args(Role), get_args(Outcome)):
        labels = f'{{outcome="{outcome}",role="{role}"}}'
        assert f"{PREFIX}pairing_sessions_total{labels} 0.0" in lines
        assert f"{PREFIX}pairing_sessions_created{labels} 1234.5" in lines
        assert f"{PREFIX}pairing_duration_seconds_count{labels} 0.0" in lines
        assert f"{PREFIX}pairing_duration_seconds_created{labels} 1234.5" in lines
    for actor, reason in product(get_args(ActorKind), get_args(RestartReason)):
        if actor != "supervisor" and (actor, reason) != ("zygote", "zygote"):
            assert f'{PREFIX}actor_restarts_total{{actor="{actor}",reason="{reason}"}} 0.0' in lines
    for side in ("held", "granted"):
        assert f'{PREFIX}relay_reservations{{side="{side}"}} 0.0' in lines
    for end in get_args(CircuitEnd):
        assert f'{PREFIX}relay_circuits_ended_total{{end="{end}"}} 0.0' in lines
    for metric in ("relay_circuits", "relay_bytes_total", "udp_blocked"):
        assert f"{PREFIX}{metric} 0.0" in lines
    for reason in get_args(RefusalReason):
        assert f'{PREFIX}pairing_refusals_total{{reason="{reason}"}} 0.0' in lines
    for metric in CATALOGUE:
        name = metric.full_name.removesuffix("_total")
        for unit in ("seconds", "bytes"):
            assert (f"# UNIT {name} {unit}" in lines) is name.endswith(f"_{unit}")
    assert f"{PREFIX}ready 0.0" in lines
    text = render(Metrics("1").totals, "1", openmetrics=False)[0].decode()
    assert "_created" not in text
    assert len(text) < 128 * 1024


def test_a_histogram_shows_the_bounds_that_fit_what_it_measures() -> None:
    """A pairing may take an hour, a handshake is over in milliseconds; nothing counted is lost by it."""
    by_name = {metric.name: [bound for _, bound in metric.bounds] for metric in CATALOGUE}
    assert by_name["pairing_duration_seconds"][-2:] == ["3600.0", "+Inf"]
    assert by_name["handshake_seconds"][0] == "0.001"
    machine = step(Metrics("1"), "swarm", durations(dict.fromkeys(range(len(BUCKETS) + 1), 1), 1.0))
    text = render(machine.totals, "1", openmetrics=False)[0].decode()
    counts = [
        (line.split('le="')[1].split('"')[0], float(line.split()[-1]))
        for line in text.splitlines()
        if line.startswith(f"{PREFIX}handshake_seconds_bucket")
        and {'outcome="ok"', 'transport="tcp"'} <= set(line.split("{")[1].split("}")[0].split(","))
    ]
    assert counts
    for bound, count in counts:
        assert count == sum(limit <= float(bound) for limit in (*BUCKETS, float("inf")))
