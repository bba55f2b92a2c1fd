"""What differs between two configurations, and how a reload is told to people; without a node."""

import pytest
from msgspec import structs

from spacedrive_node.cli import exit_codes, run
from spacedrive_node.cli.reload import report_lines
from spacedrive_node.config.changes import changes_of
from spacedrive_node.config.paths import default_data_dir
from spacedrive_node.config.settings import SETTINGS, NodeConfig
from spacedrive_node.messages.to_gateway import ReloadReport, SettingChange
from spacedrive_node.node import child_specs
from spacedrive_node.supervisor.reconfiguration import changes_between

NODE = NodeConfig(data_dir="/nowhere")
RELAY = "/ip4/203.0.113.7/tcp/7520/p2p/12D3KooWQYhTNQdmr3ArTeUHRYzFg94BKyTkoWBDWez9kSCVe2Xo"
OTHERS = {
    "data_dir": "/elsewhere",
    "passphrase_file": "/secret",
    "name": "other",
    "control": "/run/other.sock",
    "metrics_listen": "127.0.0.1:1",
    "listen": ("/ip4/127.0.0.1/tcp/1",),
    "quic": False,
    "web": "127.0.0.1:7530",
    "web_token_file": "/token",
    "websocket_path": "/p2p",
    "websocket_proxies": ("10.0.0.0/8",),
    "tls_certificate": "/cert",
    "tls_key": "/key",
    "tls_ca": "/ca",
    "announce": ("/ip4/203.0.113.7/tcp/1",),
    "bootstrap": (RELAY,),
    "public": True,
    "dns": ("192.0.2.53:53",),
    "relay": (RELAY,),
    "relay_service": True,
    "dht_protocol": "/other/1.0.0",
    "dht_mode": "server",
    "mdns": False,
    "same_host": False,
    "lan_only": True,
    "offline": True,
    "port_mapping": False,
    "max_sessions": 1,
    "code_lifetime": 60.0,
    "log_format": "json",
    "log_level": "debug",
}
FIXED = {"data_dir", "control", "passphrase_file", "web", "web_token_file"}
OF_NO_ACTOR = FIXED | {"max_sessions", "log_format", "log_level", "metrics_listen"}
"""What metrics listen on is a socket, which is given to them."""


def specs(config):
    return child_specs(config, "/nowhere", 3, 4)


@pytest.mark.parametrize("field", [setting.field for setting in SETTINGS.values()])
def test_every_setting_has_an_effect_when_it_changes(field, monkeypatch):
    """It is one of those that need a restart, or of the supervisor, or an actor comes out different."""
    monkeypatch.setattr("spacedrive_node.node.sandbox_profiles.vault_sandbox", lambda *_, **__: None)
    new = structs.replace(NODE, **{field: OTHERS[field]})
    (change,) = changes_of(NODE, new)
    assert change.key == field.replace("_", "-")
    assert change.needs_restart is (field in FIXED)
    different = changes_between(specs(NODE), specs(new)).actors
    assert bool(different) is (field not in OF_NO_ACTOR)
    assert changes_of(new, new) == ()


def test_what_means_the_same_is_no_change(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    by_default, named = NodeConfig(), NodeConfig(data_dir=str(default_data_dir()))
    assert changes_of(by_default, named) == ()


@pytest.mark.parametrize(
    ("former", "new", "needs_restart"),
    [
        ("127.0.0.1:9464", "127.0.0.1:9465", False),
        ("127.0.0.1:9464", "0.0.0.0:9464", True),
        ("127.0.0.1:9464", None, False),
        ("127.0.0.1:0", "[::1]:0", False),
    ],
)
def test_metrics_cannot_take_their_port_to_another_address(former, new, needs_restart):
    """Both sockets are open for a moment."""
    (change,) = changes_of(NodeConfig(metrics_listen=former), NodeConfig(metrics_listen=new))
    assert change.needs_restart is needs_restart


def test_long_values_are_cut():
    addresses = tuple(f"/ip4/203.0.113.{number}/tcp/7520" for number in range(32))
    (change,) = changes_of(NODE, structs.replace(NODE, announce=addresses))
    assert change.former == "none"
    assert len(change.new) == 256
    assert change.new.endswith("...")


@pytest.mark.parametrize("state", ["unchanged", "possible", "applied", "refused", "undone"])
def test_no_line_for_people_is_wider_than_a_narrow_terminal(state):
    report = ReloadReport(
        state, (SettingChange("log-level", "info", "debug"),), ("swarm", "discovery", "lan")
    )
    lines = report_lines(report)
    assert lines[:3] == ["log-level", "  was  info", "  now  debug"]
    assert max(map(len, lines)) <= 60


def test_the_command_asks_again_and_says_whose_turn_it_is(node, capfd):
    """With one key, so that it is one reload."""
    running = [ReloadReport("running", actors=(actor,)) for actor in ("swarm", "swarm", "gateway")]
    node.reports = [ReloadReport("running"), *running, ReloadReport("applied", actors=("swarm", "gateway"))]
    assert run(["reload", "--control", str(node.path)]) == exit_codes.OK
    out, err = capfd.readouterr()
    assert err.splitlines() == [
        f"sdnode: {name} starts with the new settings ..." for name in ("swarm", "gateway")
    ]
    assert out.splitlines()[-1] == "actors started again: swarm, gateway"
    keys = [node.requests.get(timeout=30).key for _ in range(5)]
    assert len(set(keys)) == 1


@pytest.mark.parametrize(
    ("state", "code"),
    [("unchanged", 0), ("possible", 0), ("refused", exit_codes.USAGE), ("undone", exit_codes.LOST)],
)
def test_the_exit_code_is_the_verdict(node, capfd, state, code):
    node.reports = [ReloadReport(state, reasons=("node.toml:2: because",))]
    assert run(["reload", "--control", str(node.path)]) == code
    assert capfd.readouterr().err == "sdnode: node.toml:2: because\n"
