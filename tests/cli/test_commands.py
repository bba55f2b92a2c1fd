"""devices, status, actors, the choice of the node, and what a user sees of errors."""

import json
import sys

import msgspec
import pytest

from spacedrive_node.__main__ import main
from spacedrive_node.cli import errors, exit_codes, run
from spacedrive_node.cli.status import status_fields, status_object, who_can_pair
from spacedrive_node.config.running_nodes import register_node
from spacedrive_node.messages.control_protocol import ForgetDevice, RenameDevice
from spacedrive_node.messages.from_supervisor import SandboxGap
from spacedrive_node.messages.to_gateway import ActorInfo
from spacedrive_node.protocol.peer_ids import peer_id_text
from spacedrive_node.tests.harness.fake_node import KEY, PEER, FakeNode, device, status


@pytest.fixture
def three(node):
    node.devices = [device(0x10, "one"), device(0x11, "two"), device(0x20, "three")]
    return node


def test_devices_json_has_the_documented_fields(three, capfd):
    """All pages are listed, one object a line, with exactly these fields."""
    assert run(["devices", "--json", "--control", str(three.path)]) == 0
    found = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [one["name"] for one in found] == ["one", "two", "three"]
    assert found[0] == {
        "id": "10" + "00" * 15,
        "name": "one",
        "os": "linux",
        "peer_id": peer_id_text(PEER),
        "public_key": KEY.hex(),
        "state": "paired",
        "paired_at": 1_700_000_000.0,
        "fingerprint": "0123456789abcdef",
    }


@pytest.mark.parametrize("arguments", [["devices", "list"], ["devices"]])
def test_devices_for_people(three, capfd, arguments):
    """Without --json a table; options may stand before or after `list`."""
    assert run([*arguments, "--control", str(three.path)]) == 0
    out = capfd.readouterr().out
    assert "three" in out
    assert "fingerprint" in out


def test_rename_takes_a_unique_prefix(three, capfd):
    """The first digits of an id are enough when one device has them."""
    assert run(["devices", "rename", "2", "tablet", "--control", str(three.path)]) == 0
    request = three.wait_for(RenameDevice)
    assert (request.device_id, request.name) == (device(0x20, "").device_id, "tablet")


@pytest.mark.parametrize("prefix", ["1", "3", "zz", ""])
def test_prefixes_of_none_or_several_are_refused(three, capfd, prefix):
    """An ambiguous or unknown id is exit 2 and nothing is sent; candidates are listed."""
    assert run(["devices", "rename", prefix, "tablet", "--control", str(three.path)]) == 2
    assert "RenameDevice" not in three.unread_requests()
    assert ("two" in capfd.readouterr().err) == (prefix == "1")


def test_forget_with_yes(three, capfd):
    """--yes forgets unasked; --json says what was forgotten."""
    assert run(["devices", "forget", "20", "--yes", "--json", "--control", str(three.path)]) == 0
    assert three.wait_for(ForgetDevice).device_id == device(0x20, "").device_id
    assert json.loads(capfd.readouterr().out)["event"] == "forgotten"


def test_forget_asks_otherwise(three, capfd):
    """Without a terminal and without --yes nothing is forgotten."""
    assert run(["devices", "forget", "20", "--control", str(three.path)]) == 2
    assert "ForgetDevice" not in three.unread_requests()


def test_refusals_of_the_node_have_exit_codes(three, capfd):
    """The node's own message is shown and mapped to an exit code."""
    three.refuse = {"RenameDevice": ("invalid_name", "this name is blank")}
    assert run(["devices", "rename", "20", "x", "--control", str(three.path)]) == 2
    assert "this name is blank" in capfd.readouterr().err


def test_status_json_has_the_documented_fields(node, capfd):
    """status --json is one object with these fields (and what is missing for readiness)."""
    assert run(["status", "--json", "--control", str(node.path)]) == 0
    assert json.loads(capfd.readouterr().out) == {
        "name": "desk",
        "peer_id": peer_id_text(PEER),
        "version": "0.1.0",
        "addresses": ["/ip4/127.0.0.1/tcp/7520"],
        "reachability": "private",
        "reachability_means": "this node keeps to the local network, and is reached from there",
        "dht": {"mode": "auto", "peers": 3},
        "sessions": {"active": 1, "limit": 256},
        "listening": {
            "tcp": ["/ip4/0.0.0.0/tcp/7520", "/ip6/::/tcp/7520"],
            "quic": ["/ip4/0.0.0.0/udp/7520/quic-v1"],
        },
        "mdns": {"state": "announcing", "interfaces": 2},
        "lan_only": False,
        "offline": False,
        "who_can_pair": "Devices on the local network can pair with this one by words alone; "
        "others can only if they show the code and are reachable or have a relay, "
        "since it is not known that this one is.",
        "ready": True,
        "missing": [],
        "sandbox_gaps": [],
    }


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_a_node_that_is_not_ready_has_its_own_exit_code(node, capfd, form):
    """For health checks: the same output, and 8 in place of 0."""
    node.missing = ("dht",)
    assert run(["status", *form, "--control", str(node.path)]) == exit_codes.NOT_READY == 8
    out = capfd.readouterr().out
    assert json.loads(out)["missing"] == ["dht"] if form else "not ready: dht" in out


def test_every_page_of_the_actors_is_shown(node, capfd):
    """However many there are: the list is never cut."""
    node.actors = tuple(ActorInfo(f"session-{n:016x}", 9, "running", 0, 1.0, 0, 1, 1) for n in range(15))
    assert run(["actors", "--json", "--control", str(node.path)]) == 0
    shown = [json.loads(line)["actor"] for line in capfd.readouterr().out.splitlines()]
    assert shown == [row.actor for row in node.actors]


def test_actors_json_has_the_documented_fields(node, capfd):
    """actors --json is one line per process, supervisor and zygote too."""
    assert run(["actors", "--json", "--control", str(node.path)]) == 0
    found = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [one["actor"] for one in found] == ["supervisor", "zygote", "vault"]
    assert found[2] == {
        "actor": "vault",
        "pid": 12,
        "state": "running",
        "restarts": 2,
        "uptime_seconds": 4.5,
        "mailbox": 1,
        "rss_bytes": 25 * 2**20,
        "private_bytes": 3 * 2**20,
    }


def test_people_see_status_and_tree(node, capfd):
    """Without --json the same in words."""
    assert run(["status", "--control", str(node.path)]) == 0
    out = capfd.readouterr().out
    assert "state         ready\n" in out
    assert "on tcp        /ip4/0.0.0.0/tcp/7520, /ip6/::/tcp/7520\n" in out
    assert "on quic       /ip4/0.0.0.0/udp/7520/quic-v1\n" in out
    assert "mdns          announcing on 2 interfaces\n" in out
    assert out.endswith("since it is not known that this one is.\n")
    assert run(["actors", "--control", str(node.path)]) == 0
    assert "    vault" in capfd.readouterr().out


def test_status_says_who_runs_without_a_part_of_the_sandbox():
    """What nothing else makes good first, and then what to do."""
    gaps = (
        SandboxGap("namespaces", "not permitted here", ("vault", "gateway"), is_made_good=True),
        SandboxGap("landlock", "Function not implemented", ("vault",)),
    )
    found = msgspec.structs.replace(status(1), sandbox_gaps=gaps)
    lines = dict(status_fields(found))["sandbox"]
    assert lines == [
        "vault without landlock: Function not implemented",
        "vault, gateway without namespaces: not permitted here; other steps forbid them the same",
        'what to do: docs/operations.md, "In a container", says what each step takes',
    ]
    assert status_object(found)["sandbox_gaps"] == [
        {"step": gap.step, "why": gap.why, "actors": list(gap.actors), "is_made_good": gap.is_made_good}
        for gap in gaps
    ]
    assert "sandbox" not in dict(status_fields(status(1)))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"offline": True, "mdns": "off"}, "Only nodes on this host can pair with this one: it is offline."),
        ({"missing": ("swarm",)}, "No device can pair with this one before it is ready."),
        ({"missing": ("dht",), "lan_only": True},
         "Devices on the local network can pair with this one by words alone; "
         "all others are kept out by --lan-only."),
        ({"reachability": "this host"},
         "Only nodes on this host can reach this one: it listens on loopback alone."),
        ({"mdns": "off", "reachability": "public"},
         "Devices on the local network need a DHT server there or the QR code, since mDNS is off; "
         "others can by words alone, through the DHT."),
        ({"mdns": "off", "addresses": ("/ip4/203.0.113.7/tcp/1/p2p/R/p2p-circuit",)},
         "Devices on the local network need a DHT server there or the QR code, since mDNS is off; "
         "others can by words alone, through the DHT and a relay."),
        ({"mdns": "idle", "mdns_interfaces": 0, "dht_peers": 0},
         "Devices on the local network can pair with this one by words alone; "
         "others need the QR code, since no DHT server is connected (--bootstrap or --public)."),
        ({"mdns": "both", "mdns_interfaces": 0, "reachability": "public"},
         "Devices on the local network need the QR code, since no interface multicasts now; "
         "others can by words alone, through the DHT."),
    ],
)  # fmt: skip
def test_status_says_what_follows_from_it(changes, sentence):
    """One sentence: which devices this node can pair with, and by what."""
    found = msgspec.structs.replace(status(1), **changes)
    assert who_can_pair(found) == status_object(found)["who_can_pair"] == sentence


@pytest.fixture
def runtime(folder, monkeypatch):
    for name in ("SDNODE_DATA_DIR", "SDNODE_CONTROL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    return folder


def test_no_node_is_exit_7(runtime, capfd):
    """Without a running node every command says how to start one."""
    assert run(["status"]) == 7
    assert "sdnode up" in capfd.readouterr().err
    assert run(["status", "--control", str(runtime / "none")]) == 7


def test_the_one_running_node_is_chosen(runtime, node, capfd):
    """With one node no option is needed."""
    register_node(runtime / "data", node.path)
    assert run(["status", "--json"]) == 0
    assert run(["status", "--json", "--data-dir", str(runtime / "data")]) == 0


def test_several_nodes_are_listed(runtime, node, capfd):
    """With several nodes none is guessed: they are listed, exit 2, and --control chooses."""
    other = FakeNode(runtime / "d.sock")
    try:
        register_node(runtime / "one", node.path)
        register_node(runtime / "two", other.path)
        assert run(["status"]) == 2
        err = capfd.readouterr().err
        assert str(runtime / "one") in err
        assert str(runtime / "two") in err
        assert run(["status", "--json", "--control", str(other.path)]) == 0
    finally:
        other.stop()


def test_an_unexpected_error_is_one_line_without_its_text(capfd, monkeypatch):
    """No traceback and no text that might quote a secret; --debug shows more."""

    def explode(*args, **kwargs):
        raise ValueError("the secret words")

    monkeypatch.setattr("spacedrive_node.cli.main.cli.main", explode)
    assert run(["status"]) == exit_codes.INTERNAL
    err = capfd.readouterr().err
    assert "secret" not in err
    assert "ValueError" in err
    assert err.count("\n") == 1
    assert run(["status", "--debug"]) == exit_codes.INTERNAL
    assert "Traceback" in capfd.readouterr().err


def test_errors_of_several_tasks_are_told_as_one():
    """trio raises groups; the one that explains the rest is reported."""
    group = BaseExceptionGroup("", [ValueError(), ExceptionGroup("", [errors.CommandError("why", 3)])])
    assert str(errors.root_cause(group)) == "why"


def test_usage_errors_are_exit_2_with_a_suggestion(capfd):
    """A mistyped command names its neighbour."""
    assert run(["jion"]) == 2
    assert "'join'" in capfd.readouterr().err
    assert run(["pair", "--no-such-option"]) == 2


def test_version(capfd):
    """--version and `version` name the program and its version."""
    from spacedrive_node import __version__

    for arguments in (["--version"], ["version"]):
        assert run(arguments) == 0
        assert capfd.readouterr().out == f"sdnode {__version__}\n"
    assert run(["version", "--json"]) == 0
    assert json.loads(capfd.readouterr().out) == {"version": __version__}


@pytest.mark.parametrize("arguments", [[], ["help"], ["--help"], ["-h"]])
def test_help_of_all(capfd, arguments):
    """However it is asked for, also by asking nothing: the commands, on standard output, exit 0."""
    assert run(arguments) == 0
    out, err = capfd.readouterr()
    assert err == ""
    assert "Usage: sdnode" in out
    assert all(name in out for name in ("pair", "join", "status", "help", "version"))


@pytest.mark.parametrize("path", [["join"], ["devices"], ["devices", "rename"], ["up"], ["help"]])
def test_help_of_a_command(capfd, path):
    """`help COMMAND` is what `COMMAND --help` is."""
    assert run([*path, "--help"]) == 0
    by_option = capfd.readouterr().out
    assert run(["help", *path]) == 0
    assert capfd.readouterr().out == by_option
    assert "sdnode " + " ".join(path) in by_option


@pytest.mark.parametrize("path", [["jion"], ["join", "x"], ["devices", "nmae"]])
def test_help_of_no_command(capfd, path):
    """Exit 2, and nothing on standard output."""
    assert run(["help", *path]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("sdnode:") == 1


@pytest.mark.parametrize(
    ("arguments", "unwanted"),
    [
        (["--help"], {"rich", "trio", "libp2p", "cryptography"}),
        (["status", "--json"], {"rich", "libp2p", "segno", "trio", "cryptography"}),
        (["devices", "--json"], {"rich", "libp2p", "segno", "trio", "cryptography"}),
    ],
)
def test_commands_import_only_what_they_need(node, environment, arguments, unwanted):
    """One question needs neither event loop nor cryptography, with --json no terminal library."""
    import subprocess

    control = ["--control", str(node.path)] if arguments[0] != "--help" else []
    program = (
        "import sys; from spacedrive_node.cli import run; code = run(sys.argv[1:]); "
        "print(' '.join({name.partition('.')[0] for name in sys.modules}), file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments, *control],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0
    assert not unwanted & set(done.stderr.split())


def test_ctrl_c_before_the_command_has_begun(monkeypatch):
    """In the tenth of a second in which its modules are imported: no traceback."""

    class Interrupted:
        def __getattr__(self, name):
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "spacedrive_node.cli", Interrupted())
    assert main() == 130


def test_a_choice_that_is_missing_is_listed(capfd):
    """In lines, and without escapes for what separates them."""
    assert run(["completion"]) == 2
    said = capfd.readouterr().err
    assert "  bash,\n" in said
    assert "\\t" not in said
