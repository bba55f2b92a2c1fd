"""What people do wrong when they start a node or look for one: one message, nothing left or changed."""

import base64
import json
import socket
from pathlib import Path

import pytest

from spacedrive_node.protocol.peer_ids import peer_id_from_text
from spacedrive_node.tests.harness.command_runner import run
from spacedrive_node.tests.harness.log_lines import wait_for_line
from spacedrive_node.tests.harness.node_commands import sdnode_pair, sdnode_up

LOOPBACK = ("--listen", "/ip4/127.0.0.1/tcp/0", "--metrics-listen", "off", "--no-mdns")


def runtime_files(folder: Path) -> list[str]:
    """What nodes have left in the runtime directory."""
    runtime = folder / "spacedrive-node"
    found = (str(path.relative_to(runtime)) for path in runtime.rglob("*"))
    return sorted(name for name in found if name != "nodes")  # where those of one host find each other


@pytest.mark.parametrize(
    "command",
    [("pair",), ("join", "abandon " * 11 + "about"), ("devices",), ("status",), ("actors",),
     ("devices", "forget", "00" * 16)],
)  # fmt: skip
@pytest.mark.parametrize("which", [(), ("--data-dir", "{}/none"), ("--control", "{}/none.sock")])
def test_no_node_is_running(folder: Path, command: tuple[str, ...], which: tuple[str, ...]) -> None:
    """Exit code 7, and how to start one; asking makes no data directory."""
    named = [part.format(folder) for part in which]
    run(folder, *command, *named).expect_refusal(7, "sdnode up")
    assert runtime_files(folder) == []
    assert not (folder / "none").exists()


def test_several_nodes_are_running(folder: Path) -> None:
    """Exit code 2, with both data directories to choose from."""
    with sdnode_up(folder, "anna"), sdnode_up(folder, "bruno"):
        run(folder, "status").expect_refusal(2, "--data-dir", str(folder / "anna"), str(folder / "bruno"))


@pytest.mark.parametrize("flag", ["--listen", "--metrics-listen"])
def test_a_port_that_is_taken(folder: Path, flag: str) -> None:
    """One that was named is not replaced by another: exit code 6, for it may be free later."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        value = f"/ip4/127.0.0.1/tcp/{port}" if flag == "--listen" else f"127.0.0.1:{port}"
        arguments = [*LOOPBACK]
        arguments[arguments.index(flag) + 1] = value
        done = run(folder, "up", "--data-dir", str(folder / "anna"), *arguments)
    assert done.code == 6, done.err
    assert flag in done.err
    assert str(port) in done.err
    assert "Traceback" not in done.err
    assert runtime_files(folder) == []


def test_a_register_that_cannot_be_written(folder: Path) -> None:
    """The node does not start, and takes its socket away again."""
    with sdnode_up(folder, "anna"):
        (record,) = (folder / "spacedrive-node").glob("*/node.json")
    record.mkdir(parents=True, mode=0o700)
    record.parent.chmod(0o700)
    record.parent.parent.chmod(0o700)
    own = folder / "own.sock"
    run(folder, "up", "--data-dir", str(folder / "anna"), "--control", str(own), *LOOPBACK).expect_refusal(
        2, "register"
    )
    assert not own.exists()
    assert [path.name for path in record.parent.iterdir()] == ["node.json"]


def test_another_nodes_socket_stays_when_a_second_one_is_refused(folder: Path) -> None:
    """One data directory, two nodes: the second is refused, and commands still reach the first."""
    with sdnode_up(folder, "anna") as a:
        run(folder, "up", "--data-dir", str(a.data_dir), *LOOPBACK).expect_refusal(6, "--data-dir")
        assert a.run("status")[0]["peer_id"] == a.ready["peer_id"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("max-sessions = 'many'", ["max-sessions"]),
        ("max-session = 3", ["max-session"]),
        ("listen = ['nowhere']\ncode-lifetime = 1", ["listen", "code-lifetime"]),
        ("max-sessions =", ["node.toml:1"]),
        ("bootstrap = ['/ip4/127.0.0.1/tcp/1']", ["bootstrap", "/p2p/"]),
        ("\x00\xff", []),
    ],
)
def test_a_configuration_with_errors(folder: Path, content: str, said: list[str]) -> None:
    """All of them at once, each with its key; the node has not begun."""
    file = folder / "node.toml"
    file.write_bytes(content.encode("latin-1"))
    for more in ([], ["--check-config"], ["--check-config", "--json"]):
        done = run(folder, "up", "--config", str(file), "--data-dir", str(folder / "anna"), *more)
        done.expect_refusal(2, "configuration", *said)
        assert done.out == ""
    assert not (folder / "anna").exists()


def test_what_check_config_accepts_a_node_can_use(folder: Path) -> None:
    """A trailing slash, or a peer id as a CID: the node starts, and finds the server there."""
    with sdnode_up(folder, "server", "--no-same-host") as server:
        (address,) = server.ready["addresses"]
        peer = peer_id_from_text(server.ready["peer_id"])
        cid = "b" + base64.b32encode(bytes.fromhex("0172") + peer).decode().rstrip("=").lower()
        for number, given in enumerate((f"{address}/p2p/{server.ready['peer_id']}/", f"{address}/p2p/{cid}")):
            flags = ("--no-same-host", "--bootstrap", given, "--listen", "/ip4/127.0.0.1/tcp/0/")
            assert run(folder, "up", "--check-config", *flags).code == 0
            with sdnode_up(folder, f"node{number}", *flags) as node, sdnode_pair(server) as (words, _):
                assert node.run("join", "--yes", words)[-1]["event"] == "paired"


@pytest.mark.parametrize("end", ["12D3KooWNope", "", "bafy"])
def test_what_a_node_cannot_use_check_config_refuses(folder: Path, end: str) -> None:
    """With the same message and exit code 2."""
    flags = ("--data-dir", str(folder / "anna"), *LOOPBACK, "--bootstrap", f"/ip4/127.0.0.1/tcp/1/p2p/{end}")
    done = [run(folder, "up", *flags), run(folder, "up", "--check-config", *flags)]
    for one in done:
        one.expect_refusal(2, "--bootstrap", "/p2p/")
    assert done[0].err == done[1].err


def test_a_configuration_that_is_not_there(folder: Path) -> None:
    run(folder, "up", "--config", str(folder / "none.toml")).expect_refusal(2, "none.toml")


def test_the_effective_configuration_as_json(folder: Path) -> None:
    """One object, with the value and the source of every setting."""
    done = run(folder, "up", "--check-config", "--json", "--max-sessions", "9", "--metrics-listen", "off")
    assert done.code == 0
    (line,) = done.out.splitlines()
    settings = json.loads(line)["settings"]
    assert settings["max-sessions"] == {"value": 9, "source": "flag --max-sessions"}
    assert settings["metrics-listen"]["value"] == "off"
    assert settings["code-lifetime"] == {"value": 300.0, "source": "default"}
    assert settings["data-dir"]["value"].startswith(str(folder))


@pytest.mark.parametrize(
    "arguments",
    [["stauts"], ["status", "--jsn"], ["pair", "--yes", "--check"], ["join", "--timeout", "0", "x"],
     ["devices", "rename", "zz"], ["up", "--max-sessions", "-1"], ["demo", "--pairs", "0"]],
)  # fmt: skip
def test_a_command_line_that_is_wrong(folder: Path, arguments: list[str]) -> None:
    """Exit code 2 and one message, without a node."""
    run(folder, *arguments).expect_refusal(2)


def test_a_bootstrap_peer_that_is_the_node_itself(folder: Path) -> None:
    """As in a list that several servers share: it is left out, which is said, also by --check-config."""
    with sdnode_up(folder, "anna") as a:
        own = str(a.ready["dial"][0])
    data_dir = ("--data-dir", str(folder / "anna"))
    checked = run(folder, "up", "--check-config", "--json", *data_dir, "--bootstrap", own)
    assert checked.code == 0
    (remark,) = checked.events[0]["remarks"]
    assert own in remark
    assert "this node itself" in remark
    assert "# bootstrap: " in run(folder, "up", "--check-config", *data_dir, "--bootstrap", own).out
    with sdnode_up(folder, "anna", "--no-same-host", "--bootstrap", own) as a:
        wait_for_line(folder / "anna.log", "warning", "this node itself", own.partition("/p2p/")[0])
        (status,) = a.run("status")  # it waits for no answer of its own
        assert status["ready"], status["missing"]


def test_a_runtime_directory_with_too_long_a_name(folder: Path) -> None:
    """A Unix socket's path is short: --check-config says so like the node, before a passphrase is read."""
    runtime = folder / ("x" * 90)
    runtime.mkdir(mode=0o700)
    where = {"XDG_RUNTIME_DIR": str(runtime)}
    command = ("up", "--data-dir", str(folder / "anna"), *LOOPBACK)
    done = [
        run(folder, *command, *more, more=where)
        for more in ((), ("--check-config",), ("--check-config", "--json"), ("--passphrase-file", "/none"))
    ]
    for one in done:
        one.expect_refusal(2, "control", "bytes")
        assert one.err == done[0].err
    assert list(runtime.iterdir()) == []
    assert run(folder, *command, "--check-config", "--control", str(folder / "c"), more=where).code == 0
