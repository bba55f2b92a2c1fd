"""The search for secrets after every test: pytest fails the test that left one, wherever it is.

The tests that are searched here run in a separate pytest process, with real nodes.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

HEAD = """
import json, os, sys
from pathlib import Path
from spacedrive_node.tests.harness import nodes
from spacedrive_node.tests.harness.nodes import running_node
from spacedrive_node.tests.harness.secret_sweep.collector import *
import pytest

CODE = "ozone drill grab fiber curtain grace pudding thank cruise elder eight picnic"

@pytest.fixture
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("p")
"""

PLANTED = {
    "stderr": "add_code(CODE); print('no', CODE.upper(), file=sys.stderr)",
    "stdout_of_the_system": "add_code(CODE); os.write(1, CODE.replace(' ', '-').encode())",
    "said": "add_code(CODE); add_text('an error', 'not ' + CODE)",
    "shown": "add_json_output(json.dumps({'event': 'code', 'words': CODE})); print(CODE.split()[3:7])",
    "file": "add_code(CODE); (place / 'deep').mkdir(); (place / 'deep' / 'db').write_bytes(CODE.encode())",
    "log": "add_code(CODE); add_log_line('anna', 'vault', 'info', 'it failed', {'why': CODE[6:40]})",
    "turned": "add_code(CODE); add_log_line('anna', 'vault', 'info', CODE, {}); rotate()",
    "late": "add_code(CODE); rotate(); add_log_line('anna', 'vault', 'info', CODE, {})",
    "left": "(place / 'x').write_text(CODE); add_folder(place); rotate(keep_folders=True); add_code(CODE)",
    "passphrase": "add_passphrase(b'orchestral plum'); (place / 'x').write_text('Orchestral plum')",
}
CLEAN = {
    "clean": "add_code(CODE); print(CODE.split()[0], CODE.split()[5]); (place / 'x').write_text('words')",
    "nothing_known": "print(CODE)",
    "the_file_of_a_passphrase": (
        "path = place / 'phrase'; path.write_text('orchestral plum\\\\n');"
        "add_passphrase_of(['up', '--passphrase-file', str(path)]); add_folder(place)"
    ),
}
NODES = """
async def shown(node):
    return " ".join((await node.client.start_pairing()).code.words)

async def test_planted_by_a_node(place, monkeypatch):
    logs = []
    original = nodes.serve

    async def serve(config, *, log, **more):
        logs.append(log)
        await original(config, log=log, **more)

    monkeypatch.setattr(nodes, "serve", serve)
    async with running_node(place, "anna") as node:
        words = await shown(node)
        logs[0]("gateway", "info", "shows", {"code": words})
    (place / "anna" / "notes").write_text(words.replace(" ", ", "))
    (place / "backup").write_bytes((place / "anna" / "identity.key").read_bytes()[60:])

async def test_clean_node(place):
    async with running_node(place, "anna") as node:
        await shown(node)
"""


def test_a_secret_fails_its_test(folder: Path) -> None:
    """Each place by itself; tests without a secret pass, and one that fails by itself fails as it does."""
    lines = [HEAD]
    for name, body in PLANTED.items():
        lines.append(f"def test_planted_{name}(place):\n    {body}\n")
    for name, body in CLEAN.items():
        lines.append(f"def test_clean_{name}(place):\n    {body.replace(chr(92) * 2, chr(92))}\n")
    lines.append("def test_own_failure(place):\n    add_code(CODE); print(CODE); raise KeyError('mine')\n")
    (folder / "test_planted.py").write_text("\n".join(lines) + NODES)
    (folder / "pytest.ini").write_text("[pytest]\ntrio_mode = true\n")
    done = subprocess.run(
        [
            sys.executable, "-m", "pytest", "-q", "-rA", "--tb=short", "-p", "no:cacheprovider",
            "-p", "no:xdist", "-p", "spacedrive_node.tests.harness.secret_sweep.pytest_hooks",
            "--basetemp", str(folder / "t"), str(folder),
        ],
        capture_output=True, text=True, timeout=100, cwd=folder,
        env={**os.environ, "XDG_RUNTIME_DIR": str(folder), "COLUMNS": "250"},
    )  # fmt: skip
    shutil.rmtree(folder / "t")  # or the secrets planted there would fail this test
    outcomes = {
        line.split("::")[1].split(" ")[0]: line
        for line in done.stdout.splitlines()
        if line.startswith(("PASSED", "FAILED"))
    }
    assert len(outcomes) == len(PLANTED) + len(CLEAN) + 3, done.stdout
    for name, line in outcomes.items():
        if name.startswith("test_clean"):
            assert line.startswith("PASSED"), line
        else:
            assert line.startswith("FAILED"), line
            assert ("SecretFoundError" in line) == name.startswith("test_planted"), line
    for what in (
        "words in a row in the log of anna",
        "words in a row in anna/notes",
        "storage key as raw in backup",
    ):
        assert what in done.stdout
