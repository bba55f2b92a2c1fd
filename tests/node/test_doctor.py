"""`sdnode doctor` with real nodes: what it finds, its exit codes, and what its bundle holds."""

import base64
import json
import os
import tarfile
import tempfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from spacedrive_node.tests.harness.command_runner import FinishedCommand, run
from spacedrive_node.tests.harness.node_commands import sdnode_pair, sdnode_up
from spacedrive_node.tests.harness.secret_sweep import collector

PASSPHRASE = "a passphrase for Bunny 4711"
TOKEN = 'tok"en of ünusual characters'
KEY = bytes(range(7, 39))
PEM = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIPk\n-----END PRIVATE KEY-----"


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A short one: the paths of sockets may have 100 bytes, and pytest's own folders come near that."""
    with tempfile.TemporaryDirectory(prefix="sdnode-") as folder:
        yield Path(folder)


def levels(done: FinishedCommand) -> dict[tuple[str, str], str]:
    assert all(set(row) == {"area", "check", "level", "text", "advice"} for row in done.events)
    assert all(row["advice"] for row in done.events if row["level"] != "ok")
    return {(row["area"], row["check"]): row["level"] for row in done.events}


def test_a_node_that_is_well_and_then_is_not(tmp_path: Path) -> None:
    """Every area is looked at; then others may enter its directory, and a file is from a time to come."""
    with sdnode_up(tmp_path, "anna", "--metrics-listen", "127.0.0.1:0") as anna:
        well = run(tmp_path, "doctor", "--json")
        elsewhere = tmp_path / "elsewhere"  # another register, as root has one who looks after a service
        elsewhere.mkdir(mode=0o700)
        found = levels(run(elsewhere, "doctor", "--json", "--control", str(anna.ready["control"])))
        assert found["permissions", "the_identity"] == "ok"
        anna.data_dir.chmod(0o755)
        os.utime(anna.data_dir / "identity.key", (4e9, 4e9))
        ill = run(tmp_path, "doctor", "--json")
    found = levels(well)
    assert well.code == 0, well.out
    assert {area for area, _ in found} == {
        "node", "network", "clock", "permissions", "sandbox", "versions", "disk",
    }  # fmt: skip
    assert found["node", "ready"] == found["network", "listening"] == found["network", "pairing"] == "ok"
    assert ("network", "metrics") not in found  # they were read
    assert found["permissions", "the_identity"] == found["permissions", "the_control_socket"] == "ok"
    assert found["disk", "the_data_directory"] == found["versions", "versions"] == "ok"
    found = levels(ill)
    assert ill.code == 9
    assert found["permissions", "the_data_directory"] == found["clock", "files"] == "problem"


def test_a_bundle_holds_no_secret(tmp_path: Path) -> None:
    """Words that are shown, keys, a passphrase and variables are not in it, whatever the log says."""
    phrase = tmp_path / "phrase"
    phrase.write_text(PASSPHRASE)
    log = tmp_path / "some.log"
    bundle = tmp_path / "report.tar.gz"
    up = (
        "--passphrase-file",
        str(phrase),
        "--websocket-path",
        "/hidden-door",
        "--metrics-listen",
        "127.0.0.1:0",
    )
    with sdnode_up(tmp_path, "anna", *up) as anna, sdnode_pair(anna) as (words, _):
        device_key = (anna.data_dir / "identity.key").read_bytes()
        lines = [
            "started in earnest",
            f"words {words}",
            json.dumps({"words": words.upper().split()}),
            f"spacedrive:pair?v=2&w={words.replace(' ', '-')}",
            " ".join(f"{number}. {word}" for number, word in enumerate(words.split(), 1)),
            f"hex {KEY.hex()} base64 {base64.b64encode(KEY).decode()}",
            base64.urlsafe_b64encode(device_key[:48]).decode(),
            PEM,
            f"phrase {PASSPHRASE} token {TOKEN} {json.dumps(TOKEN)}",
            f"home {tmp_path}/of/anna",
        ]
        log.write_text("\n".join(lines))
        environment = {"DB_PASSWORD": PASSPHRASE, "SOME_TOKEN": TOKEN, "HOME": str(tmp_path)}
        arguments = ("doctor", "--json", "--bundle", str(bundle), "--log", str(log))
        done = run(tmp_path, *arguments, "--data-dir", str(anna.data_dir), more=environment)
        assert done.code == 0, done.out
        assert run(tmp_path, *arguments, more=environment).code == 2  # it is not written over
    log.unlink()  # the secrets are searched for in all files after the test
    assert bundle.stat().st_mode & 0o777 == 0o600
    with tarfile.open(bundle) as opened:
        texts = {name: opened.extractfile(name).read().decode() for name in opened.getnames()}  # type: ignore
    assert {name.partition("/")[2] for name in texts} == {
        "doctor.json", "settings.json", "status.json", "actors.json", "metrics.txt", "log.txt",
    }  # fmt: skip
    for name, text in texts.items():
        collector.add_text(name, text.encode())  # searched for the secrets of the nodes in every encoding
        for secret in (
            PASSPHRASE,
            "Bunny",
            TOKEN,
            "ünusual",
            KEY.hex(),
            "MC4CAQ",
            "/hidden-door",
            str(tmp_path),
        ):
            assert secret not in text, name
        assert base64.b64encode(KEY).decode()[:20] not in text
        # One word alone may stand there: host, for example, is a word of codes.
        assert not set(pairwise(words.split())) & set(pairwise(text.lower().split())), name
    log_text = texts["sdnode-doctor/log.txt"]
    assert "started in earnest" in log_text
    assert "~/of/anna" in log_text
    settings = json.loads(texts["sdnode-doctor/settings.json"])["settings"]
    assert settings["passphrase-file"]["value"] == "[hidden]"
    assert settings["listen"]["value"] == ["/ip4/127.0.0.1/tcp/0"]
    assert settings["data-dir"]["value"] == "~/anna"
    assert json.loads(texts["sdnode-doctor/status.json"])["peer_id"] == anna.ready["peer_id"]
    assert "spacedrive_node_actor_up" in texts["sdnode-doctor/metrics.txt"]
    assert "[hidden]" not in texts["sdnode-doctor/metrics.txt"]
    assert {row["actor"] for row in json.loads(texts["sdnode-doctor/actors.json"])} >= {"vault", "swarm"}
