"""The alerts of deploy/prometheus: each says how bad it is and what to do, and fires in its fault alone.

By promtool on series that somebody wrote down, and by a Prometheus on those of real nodes.
"""

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
import trio

from spacedrive_node.actors.metrics.catalogue import KNOWN_SERIES
from spacedrive_node.supervisor.child_specs import ChildSpec
from spacedrive_node.supervisor.spawner import RunningChild
from spacedrive_node.tests.harness.nodes import DEADLINE, InterceptingSpawner, Node, free_port, running_node
from spacedrive_node.tests.harness.prometheus import running_prometheus

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy/prometheus/spacedrive-node.rules.yml"
CASES = Path(__file__).with_name("alerts.yml")
OPERATIONS = ROOT / "docs/operations.md"
SEVERITIES = {"critical", "warning", "info"}


def test_no_alert_asks_for_an_actor_that_a_node_may_do_without() -> None:
    """A series that is 0 from the start would be one that is down."""
    assert {actor for (actor,) in KNOWN_SERIES["actor_up"]}.isdisjoint({"lan", "web"})


def test_each_alert_says_how_bad_it_is_and_what_to_do() -> None:
    """Its runbook is a section of docs/operations.md; there is none of an alert that there is not."""
    alerts = dict(re.findall(r"- alert: (\w+)\n(.*?)(?=\n\n|\Z)", RULES.read_text(), re.DOTALL))
    section = OPERATIONS.read_text().partition("\n## Alerts\n")[2].partition("\n## ")[0]
    assert set(alerts) == set(re.findall(r"^### (\w+)$", section, re.MULTILINE))
    for name, text in alerts.items():
        fields = dict(re.findall(r"^ +(\w+): (.+)$", text, re.MULTILINE))
        assert fields["severity"] in SEVERITIES
        assert len(fields["summary"]) > 20
        assert len(fields["description"]) > 40
        assert fields["runbook_url"] == f"docs/operations.md#{name.lower()}"
        assert f'alertname="{name}",alertstate="firing",severity="{fields["severity"]}"' in CASES.read_text()


@pytest.mark.parametrize("arguments", [("check", "rules", RULES), ("test", "rules", CASES)])
def test_each_alert_fires_in_its_fault_and_none_in_a_normal_day(arguments: tuple[str | Path, ...]) -> None:
    """As promtool says: faults and the day are in alerts.yml."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed")
    done = subprocess.run([promtool, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


class Holder(InterceptingSpawner):
    """Holds up the start of discovery until `may_start` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.may_start = trio.Event()
        self.may_start.set()

    async def spawn(self, spec: ChildSpec) -> RunningChild:
        if spec.kind == "discovery":
            await self.may_start.wait()
        return await super().spawn(spec)


async def kill_discovery(node: Node, holder: Holder) -> None:
    """Kill it; its successor is held up."""
    holder.may_start = trio.Event()
    os.kill((await node.pids())["discovery"], signal.SIGKILL)


async def test_a_prometheus_sees_a_node_flap_and_another_that_is_not_ready(tmp_path: Path) -> None:
    """Discovery is killed: of one node again and again, of the other once, and it does not come back."""
    often, once = Holder(), Holder()
    folder = tmp_path / "prometheus"
    flaps, lacks = instances = [f"127.0.0.1:{free_port()}" for _ in range(2)]
    # Started first: it takes five seconds until it looks at its targets.
    with trio.fail_after(DEADLINE), running_prometheus(folder, instances, patient=False) as prometheus:

        async def wait_until(expression: str) -> None:
            await trio.to_thread.run_sync(prometheus.wait_for, expression, 1)

        def firing(alert: str, instance: str) -> str:
            labels = f'alertname="{alert}",alertstate="firing",severity="critical",instance="{instance}"'
            return f"ALERTS{{{labels}}}"

        async with (
            running_node(tmp_path, "anna", spawner=often, metrics_listen=flaps) as flapping,
            running_node(tmp_path, "bruno", spawner=once, metrics_listen=lacks) as absent,
        ):
            await kill_discovery(absent, once)
            while not prometheus.query(firing("SpacedriveNodeFlapping", flaps)):
                await wait_until(f'spacedrive_node_ready{{instance="{flaps}"}} == 1')
                await kill_discovery(flapping, often)
                await wait_until(f'spacedrive_node_ready{{instance="{flaps}"}} == 0')
                often.may_start.set()
            await wait_until(firing("SpacedriveNodeNotReady", lacks))
            assert not prometheus.query(firing("SpacedriveNodeFlapping", lacks))
            once.may_start.set()
