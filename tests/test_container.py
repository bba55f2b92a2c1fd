"""Containerfile, compose file and Kubernetes manifest fit the node and each other. Nothing of them runs."""

import fnmatch
import re
import shlex
import tomllib
from pathlib import Path

import pytest

from spacedrive_node.actors.metrics import http_server
from spacedrive_node.cli.main import COMMANDS
from spacedrive_node.config.loading import load_config
from spacedrive_node.config.settings import DEFAULT_LISTEN, DEFAULT_QUIC_LISTEN, SETTINGS
from spacedrive_node.protocol.multiaddrs import parse

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
CONTAINERFILE = (DEPLOY / "container/Containerfile").read_text()
COMPOSE = (DEPLOY / "container/compose.yaml").read_text()
MANIFEST = (DEPLOY / "kubernetes/spacedrive-node.yaml").read_text()
SCRAPE = (DEPLOY / "prometheus/scrape.yml").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PORT = parse(DEFAULT_LISTEN[0]).port
(METRICS,) = re.findall(r"targets: \[\"127\.0\.0\.1:(\d+)\"\]", SCRAPE)
"""The port that deploy/prometheus scrapes."""
VARIABLES = {setting.variable for setting in SETTINGS.values()}


def instructions(name: str, text: str = CONTAINERFILE) -> list[str]:
    """Return what follows an instruction of the Containerfile, each time it is given, as one line."""
    whole = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    return re.findall(rf"^{name} +(.*)$", whole, re.MULTILINE)


def words(text: str) -> list[str]:
    """Return the words of a list in square brackets, of YAML or JSON."""
    return [word.strip().strip("\"'") for word in text.strip().strip("[]").split(",")]


def environment() -> dict[str, str]:
    """Return the variables of the image."""
    (line,) = instructions("ENV")
    return dict(word.split("=", 1) for word in shlex.split(line))


(VOLUME,) = instructions("VOLUME")


def service(name: str) -> str:
    """Return one service of the compose file."""
    (found,) = re.findall(rf"^  {name}:\n((?:    .*\n)+)", COMPOSE, re.MULTILINE)
    return str(found)


def document(kind: str) -> str:
    """Return one document of the manifest."""
    (found,) = [one for one in re.split(r"^---$", MANIFEST, flags=re.MULTILINE) if f"\nkind: {kind}\n" in one]
    return found


def mounts(name: str) -> dict[str, str]:
    """Return what a service sees where: a volume, or a file of deploy/."""
    found = re.findall(r"^      - ([\w./-]+):(/[^:\n]*)(:ro)?$", service(name), re.MULTILINE)
    for source, _target, read_only in found:
        assert bool(read_only) == source.startswith("."), f"{source}: files of deploy/ are only read"
    return {target: source for source, target, _read_only in found}


def test_the_image_listens_as_a_node_does_by_default() -> None:
    """On a fixed port, which it exposes for TCP and for UDP; metrics where they are scraped."""
    loaded = load_config({}, environment())
    assert loaded.remarks == []
    assert set(loaded.config.listen) == {*DEFAULT_LISTEN, *DEFAULT_QUIC_LISTEN}
    assert loaded.config.metrics_listen == f"0.0.0.0:{METRICS}"
    (exposed,) = instructions("EXPOSE")
    assert set(exposed.split()) == {f"{PORT}/tcp", f"{PORT}/udp", f"{METRICS}/tcp"}


def test_the_data_directory_lies_below_the_volume() -> None:
    """That itself may belong to root or be writable for the group, with which the node refuses to start."""
    assert Path(environment()["SDNODE_DATA_DIR"]).parent == Path(VOLUME)


def test_the_image_runs_commands_that_there_are() -> None:
    """As a user by number, and its health check by exit code."""
    assert words(*instructions("ENTRYPOINT")) == ["sdnode"]
    assert words(*instructions("CMD")) == ["up"]
    (check,) = instructions("HEALTHCHECK")
    assert words(check.partition("CMD ")[2]) == ["sdnode", "status"]
    assert {"up", "status"} <= set(COMMANDS)
    (user,) = instructions("USER")
    number, _, group = user.partition(":")
    assert f"--uid {number} --gid {group}" in CONTAINERFILE
    assert f"groupadd --gid {group}" in CONTAINERFILE
    assert f"-m 700 {VOLUME}" in CONTAINERFILE


def test_the_image_is_built_from_what_is_needed_and_no_more() -> None:
    """What git ignores as directories stays out of the build; packages and what `make deb` reads do not."""
    left_out = set((DEPLOY / "container/Containerfile.dockerignore").read_text().split())
    ignored = {
        line.rstrip("/") for line in (ROOT / ".gitignore").read_text().splitlines() if line.endswith("/")
    }
    patterns = [one.removeprefix("**/") for one in left_out]
    assert not [one for one in ignored if not any(fnmatch.fnmatch(one, pattern) for pattern in patterns)]
    packages = {
        name.partition(".")[2].partition(".")[0] for name in PROJECT["tool"]["setuptools"]["packages"]
    }
    assert not left_out & (
        packages | {"deploy", "docs", "requirements", "README.md", "CHANGELOG.md", "Makefile"}
    )
    assert re.search(r"^deb: ", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert instructions("RUN")[1] == "make deb"


def test_compose_publishes_both_protocols_and_keeps_the_rest_to_the_host() -> None:
    """Metrics are on the loopback that node, Prometheus and Grafana share."""
    node = service("node")
    published = set(re.findall(r'^      - "(\S+)"$', node, re.MULTILINE))
    theirs = {port for port in published if not port.startswith("127.0.0.1:")}
    assert theirs == {f"{PORT}:{PORT}/tcp", f"{PORT}:{PORT}/udp"}
    (command,) = re.findall(r"^    command: (.*)$", node, re.MULTILINE)
    assert words(command) == ["up", "--metrics-listen", f"127.0.0.1:{METRICS}"]
    for name in ("prometheus", "grafana"):
        assert '    network_mode: "service:node"\n' in service(name)
        assert "ports:" not in service(name)
    source = (DEPLOY / "grafana/provisioning/datasources/spacedrive-node.yml").read_text()
    (port,) = re.findall(r"url: http://127\.0\.0\.1:(\d+)$", source, re.MULTILINE)
    assert f"127.0.0.1:{port}:{port}/tcp" in published


def test_compose_mounts_files_where_they_are_looked_for() -> None:
    """Prometheus its rules, Grafana its provisioning and what that names."""
    assert mounts("node") == {VOLUME: "node"}
    prometheus, grafana = mounts("prometheus"), mounts("grafana")
    for target, source in [*prometheus.items(), *grafana.items()]:
        assert not source.startswith(".") or (DEPLOY / "container" / source).exists(), target
    assert prometheus["/etc/prometheus/prometheus.yml"] == "../prometheus/scrape.yml"
    (rules,) = re.findall(r"^rule_files:\n  - (\S+)$", SCRAPE, re.MULTILINE)
    assert prometheus[f"/etc/prometheus/{rules}"] == f"../prometheus/{rules}"
    assert grafana["/etc/grafana/provisioning"] == "../grafana/provisioning"
    provider = (DEPLOY / "grafana/provisioning/dashboards/spacedrive-node.yml").read_text()
    (path,) = re.findall(r"^      path: (\S+)$", provider, re.MULTILINE)
    assert grafana[path] == "../grafana"
    (volumes,) = re.findall(r"^volumes:\n((?:  \w+:\n)+)\Z", COMPOSE, re.MULTILINE)
    named = {source for name in ("node", "prometheus", "grafana") for source in mounts(name).values()}
    assert set(re.findall(r"(\w+):", volumes)) == {source for source in named if "/" not in source}


@pytest.mark.parametrize("text", [COMPOSE, MANIFEST], ids=["compose", "kubernetes"])
def test_variables_are_settings(text: str) -> None:
    """Others would be ignored, with a remark in a log that nobody reads."""
    found = re.findall(r"^ +(?:- name: )?(SDNODE_\w+)(?::|$)", text, re.MULTILINE)
    assert found
    assert set(found) <= VARIABLES
    values = dict(re.findall(r'- name: (SDNODE_\w+)\n +value: "(.*)"$', text, re.MULTILINE))
    assert load_config({}, {**environment(), **values}).remarks == []


def test_the_node_is_restricted_alike_everywhere() -> None:
    """No capability, no new privileges, a root file system that is only read, and /tmp to write."""
    node = service("node")
    for line in (
        "read_only: true",
        "tmpfs: /tmp",
        "cap_drop: [ALL]",
        'security_opt: ["no-new-privileges:true"]',
    ):
        assert f"    {line}\n" in node
    pod = document("StatefulSet")
    for setting in (
        "allowPrivilegeEscalation: false",
        "readOnlyRootFilesystem: true",
        "drop: [ALL]",
        "runAsNonRoot: true",
        "type: RuntimeDefault",
        "fsGroupChangePolicy: OnRootMismatch",
        "automountServiceAccountToken: false",
        "{name: runtime, mountPath: /tmp}",
    ):
        assert pod.count(setting) == 1, setting
    (user,) = instructions("USER")
    number, _, group = user.partition(":")
    for key, value in (("runAsUser", number), ("runAsGroup", group), ("fsGroup", group)):
        assert f"        {key}: {value}\n" in pod


def test_kubernetes_runs_this_version_of_the_image() -> None:
    """Its commands, ports and volume."""
    pod = document("StatefulSet")
    assert f"          image: spacedrive-node:{PROJECT['project']['version']}\n" in pod
    assert '          args: ["up"]\n' in pod
    ports = dict(re.findall(r"\{name: (\w+), containerPort: (\d+), protocol: \w+\}", pod))
    assert ports == {"tcp": str(PORT), "quic": str(PORT), "metrics": METRICS}
    assert f'prometheus.io/port: "{METRICS}"' in pod
    assert f"{{name: data, mountPath: {VOLUME}}}" in pod
    assert "    - metadata:\n        name: data\n" in pod


def test_probes_ask_what_the_node_answers() -> None:
    """Restarted when /livez fails, not ready when /readyz does."""
    probes = dict(
        re.findall(r"(\w+Probe):\n +httpGet: \{path: (/\w+), port: metrics\}", document("StatefulSet"))
    )
    assert probes == {"startupProbe": "/livez", "livenessProbe": "/livez", "readinessProbe": "/readyz"}
    served = Path(http_server.__file__).read_text()
    for path in probes.values():
        assert f'case b"{path}":' in served


def test_service_budget_and_policy_mean_the_same_pods() -> None:
    """And let in both protocols of the one port, from anywhere; the metrics from one namespace."""
    labels = "{app.kubernetes.io/name: spacedrive-node}"
    assert f"template:\n    metadata:\n      labels: {labels}" in document("StatefulSet")
    assert f"selector:\n    matchLabels: {labels}" in document("StatefulSet")
    assert f"selector: {labels}" in document("Service")
    assert f"selector:\n    matchLabels: {labels}" in document("PodDisruptionBudget")
    assert f"podSelector:\n    matchLabels: {labels}" in document("NetworkPolicy")
    ports = re.findall(r"port: (\d+), targetPort: (\w+), protocol: (\w+)", document("Service"))
    assert ports == [(str(PORT), "tcp", "TCP"), (str(PORT), "quic", "UDP")]
    policy = document("NetworkPolicy")
    everybody, _, scrapers = policy.partition("    - from:\n")
    assert set(re.findall(r"\{port: (\d+), protocol: (\w+)\}", everybody)) == {
        (str(PORT), "TCP"),
        (str(PORT), "UDP"),
    }
    assert re.findall(r"\{port: (\d+), protocol: (\w+)\}", scrapers) == [(METRICS, "TCP")]


def test_it_is_stopped_after_the_node_has_had_its_time() -> None:
    """As in the unit: five seconds to stop in order, and as many again."""
    unit = (DEPLOY / "systemd/spacedrive-node.service").read_text()
    (seconds,) = re.findall(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)
    assert f"stop_grace_period: {seconds}s\n" in COMPOSE
    assert f"terminationGracePeriodSeconds: {seconds}\n" in MANIFEST
