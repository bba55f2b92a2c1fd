"""The dashboards of deploy/grafana/ are whole, and a real Prometheus has data of real nodes for all they ask.

Grafana itself is not run: what it reads is checked here, and every query is sent as it would send it.
"""

import json
import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from trio.to_thread import run_sync as to_thread

from spacedrive_node.actors.metrics.catalogue import CATALOGUE
from spacedrive_node.tests.harness.nodes import free_port, pair, running_node
from spacedrive_node.tests.harness.prometheus import Prometheus, running_prometheus

GRAFANA = Path(__file__).parents[2] / "deploy/grafana"
PROVISIONING = GRAFANA / "provisioning"
OPERATIONS = GRAFANA.parents[1] / "docs/operations.md"
DASHBOARDS = {path.stem: json.loads(path.read_text()) for path in sorted(GRAFANA.glob("*.json"))}
COLUMNS = 24
MAX_UID = 40
SELECTOR = re.compile(r"\b(?:spacedrive_node_[a-z_]+|process_[a-z_]+|up)(?:\{[^}]*\})?")
NAME = re.compile(r"\b(?:spacedrive_node|process)_[a-z_]+")
VARIABLES = {"$__rate_interval": "1m", "$instance": ".+", "$stage": ".+"}
PAIRED = 'increase(spacedrive_node_pairing_sessions_total{outcome="paired"}[1m]) > 0'
PROCESS_IS_SEEN = "count_over_time(process_start_time_seconds[1m]) >= 2"
"""Twice: a rate is one of two values. It is reported last."""


def panels(dashboard: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Those that show data."""
    yield from (one for one in dashboard["panels"] if one["type"] != "row")


def queries(dashboard: dict[str, Any]) -> Iterator[tuple[str, str, set[str]]]:
    """Title of the panel, query, and the labels of its legend, for each; all is chosen in the variables."""
    for panel in panels(dashboard):
        for target in panel["targets"]:
            query = target["expr"]
            for variable, value in VARIABLES.items():
                query = query.replace(variable, value)
            assert "$" not in query
            yield panel["title"], query, set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))


def used_variables(dashboard: dict[str, Any]) -> set[str]:
    expressions = " ".join(target["expr"] for panel in panels(dashboard) for target in panel["targets"])
    return set(re.findall(r"\$(?!__)(\w+)", expressions))


def overlap(one: dict[str, int], other: dict[str, int]) -> bool:
    return all(
        one[start] < other[start] + other[size] and other[start] < one[start] + one[size]
        for start, size in (("x", "w"), ("y", "h"))
    )


@pytest.mark.parametrize("name", DASHBOARDS)
def test_a_dashboard_is_whole(name: str) -> None:
    """Each panel says what it shows, has a place of its own, and asks the Prometheus that is chosen."""
    dashboard = DASHBOARDS[name]
    assert dashboard["id"] is None
    assert dashboard["schemaVersion"] >= 36
    assert 0 < len(dashboard["uid"]) <= MAX_UID
    assert dashboard["title"]
    assert dashboard["description"]
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in panels(dashboard):
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        letters = [target["refId"] for target in panel["targets"]]
        assert letters
        assert len(set(letters)) == len(letters)
        assert all(target["datasource"] == panel["datasource"] for target in panel["targets"])
    places = [panel["gridPos"] for panel in dashboard["panels"]]
    assert all(one["x"] >= 0 and one["x"] + one["w"] <= COLUMNS and one["h"] > 0 for one in places)
    assert not any(overlap(one, other) for one, other in combinations(places, 2))
    named = {variable["name"] for variable in dashboard["templating"]["list"]}
    assert used_variables(dashboard) <= named
    assert {"datasource", "instance"} <= named


def test_the_dashboards_are_two_and_lead_to_each_other() -> None:
    """Under names that stay."""
    uids = {name: dashboard["uid"] for name, dashboard in DASHBOARDS.items()}
    assert uids == {"overview": "spacedrive-node-overview", "networks": "spacedrive-node-networks"}
    for name, dashboard in DASHBOARDS.items():
        (other,) = set(uids) - {name}
        assert [link["url"] for link in dashboard["links"]] == [f"/d/{uids[other]}"]


def test_what_is_provisioned_is_what_the_dashboards_begin_with() -> None:
    """The Prometheus that is chosen at first, and the folder that docs/operations.md fills."""
    (uid,) = re.findall(
        r"^ +uid: (\S+)$", (PROVISIONING / "datasources/spacedrive-node.yml").read_text(), re.M
    )
    for dashboard in DASHBOARDS.values():
        assert dashboard["templating"]["list"][0]["current"]["value"] == uid
    (path,) = re.findall(
        r"^ +path: (\S+)$", (PROVISIONING / "dashboards/spacedrive-node.yml").read_text(), re.M
    )
    assert f"install -D -m 644 -t {path} deploy/grafana/*.json" in OPERATIONS.read_text()


def test_every_metric_is_on_a_dashboard() -> None:
    """And nothing else is asked for."""
    asked = {
        name for one in DASHBOARDS.values() for _, query, _ in queries(one) for name in NAME.findall(query)
    }
    shown = {re.sub(r"_(bucket|count)$", "", name) for name in asked}
    assert shown - {metric.full_name for metric in CATALOGUE} == {
        "spacedrive_node_alive", "spacedrive_node_ready", "spacedrive_node_build_info"
    }  # fmt: skip
    assert shown >= {metric.full_name for metric in CATALOGUE}


def ask_everything(prometheus: Prometheus) -> None:
    """Every query of every panel, every variable, and what every alert looks at."""
    for dashboard in DASHBOARDS.values():
        for title, query, legend in queries(dashboard):
            found = prometheus.query(query)
            assert found, (title, query)
            assert all(legend <= set(labels) for labels, _ in found), (title, legend)
        for variable in dashboard["templating"]["list"]:
            if variable["type"] == "query":
                metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["definition"]).groups()  # type: ignore[union-attr]
                assert prometheus.get(f"label/{label}/values", **{"match[]": metric})
    (group,) = prometheus.get("rules")["groups"]
    assert len(group["rules"]) > 10
    for rule in group["rules"]:
        assert rule["health"] == "ok", rule["lastError"]
        selectors = SELECTOR.findall(rule["query"])
        assert selectors
        for selector in selectors:
            assert prometheus.query(selector), (rule["name"], selector)
    by_title = {title: query for title, query, _ in queries(DASHBOARDS["overview"])}
    outcomes = prometheus.query(by_title["Pairings by outcome"])
    shown = {labels["outcome"]: value for labels, value in outcomes}
    assert {outcome for outcome, value in shown.items() if value > 0} == {"paired"}


async def test_a_real_prometheus_has_data_for_everything_that_is_asked(short_path: Path) -> None:
    """It scrapes two nodes from before their first pairing, and sees that one in each."""
    anna, bruno = (f"127.0.0.1:{free_port()}" for _ in range(2))
    with running_prometheus(short_path / "prometheus", (anna, bruno)) as prometheus:
        async with (
            running_node(short_path, "anna", metrics_listen=anna) as a,
            running_node(short_path, "bruno", metrics_listen=bruno, bootstrap=(a.bootstrap,)) as b,
        ):
            await to_thread(prometheus.wait_for, "spacedrive_node_ready == 1", 2)
            await pair(a, b)
            for expression in (PAIRED, PROCESS_IS_SEEN):
                await to_thread(prometheus.wait_for, expression, 2)
            await to_thread(ask_everything, prometheus)
