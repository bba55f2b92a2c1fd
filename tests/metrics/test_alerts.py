"""The alerts of deploy/prometheus: each says how bad it is and what to do, and fires in its fault alone."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from spacedrive_node.actors.metrics.catalogue import KNOWN_SERIES

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
