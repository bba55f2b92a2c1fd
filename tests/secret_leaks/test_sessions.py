"""The keys that live in a session only (prk, ephemeral keys, keys of decisions) are nowhere outside of it.

Two whole nodes whose supervisors are in this process: what passes between them and their sessions is known.
"""

import io
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trio

from spacedrive_node.client.node_client import Pairing, PairingFailedError
from spacedrive_node.logs import make_log
from spacedrive_node.messages.child_protocol import Deliver, Step
from spacedrive_node.supervisor.process_spawner import ProcessSpawner
from spacedrive_node.tests.harness.nodes import DEADLINE, InterceptingSpawner, Node, pair, running_node
from spacedrive_node.tests.harness.secret_sweep import known_secrets
from spacedrive_node.tests.harness.secret_sweep.encodings import SecretSearch
from spacedrive_node.tests.harness.secret_sweep.places import find_in_files, find_in_texts, http_get
from spacedrive_node.tests.harness.secret_sweep.process_views import ProcessSampler

PRELOADS = "spacedrive_node.tests.harness.secret_sweep"


@dataclass
class Listener(InterceptingSpawner):
    """Knows all that the sessions of a node know."""

    checkpoints: list[bytes] = field(default_factory=list)
    crashes: int = 0
    crashed: trio.Event = field(default_factory=trio.Event)
    """An actor has failed for the third time."""

    async def intercept(self, actor: str, message: Deliver | Step) -> None:
        if isinstance(message, Step) and actor.startswith("session") and message.checkpoint is not None:
            self.checkpoints.append(message.checkpoint)

    def on_log(self, actor: str, level: str, event: str, fields: Mapping[str, object]) -> None:
        self.crashes += event == "actor crashed"
        if self.crashes == 3:
            self.crashed.set()


def listener(module: str, **environment: str) -> Listener:
    """One whose fork server imports a module of this area first."""
    return Listener(inner=ProcessSpawner(preload=(f"{PRELOADS}.{module}",), environment=environment))


@dataclass
class Two:
    """Two nodes that know each other, and those who listen to them."""

    folder: Path
    a: Node
    b: Node
    sampler: ProcessSampler

    def search(self) -> SecretSearch:
        """All secrets of both."""
        search = SecretSearch()
        for node in (self.a, self.b):
            for checkpoint in node.spawner.checkpoints:  # type: ignore[attr-defined]
                known_secrets.add_session(search, checkpoint)
        for name in ("anna", "bruno"):
            assert known_secrets.add_data(search, self.folder / name)
        return search

    def found(self, search: SecretSearch) -> list[str]:
        """What of them is in logs of either form, in processes and in files."""
        texts = [*self.sampler.texts()]
        for node in (self.a, self.b):
            assert node.logs
            for form in ("console", "json"):
                out = io.StringIO()
                write = make_log(form, "debug", out)
                for line in node.logs:
                    write(*line)  # type: ignore[arg-type]
                texts.append((f"the log as {form}", out.getvalue().encode()))
        return find_in_texts(search, texts) + find_in_files(search, self.folder)


@asynccontextmanager
async def two(folder: Path, module: str, **environment: str) -> AsyncIterator[Two]:
    """Run both; only the first has the module."""
    listening = {"spawner": listener(module, **environment), "metrics_listen": "127.0.0.1:0"}
    with ProcessSampler() as sampler:
        async with (
            running_node(folder, "anna", **listening) as a,  # type: ignore[arg-type]
            running_node(folder, "bruno", spawner=listener("known_secrets"), bootstrap=(a.bootstrap,)) as b,
        ):
            for node in (a, b):
                sampler.add(node.spawner.pid)
            yield Two(folder, a, b, sampler)


async def scrape(node: Node) -> list[tuple[str, bytes]]:
    """What the node says over HTTP."""
    address = node.ready.metrics
    assert address is not None
    return [
        (path, await trio.to_thread.run_sync(http_get, address, path))
        for path in ("/metrics", "/livez", "/readyz")
    ]


async def test_the_keys_of_a_pairing(folder: Path) -> None:
    """A complete pairing, and one that a user refuses; the initiator's own dice are loaded."""
    async with two(folder, "fixed_randomness") as both:
        await pair(both.a, both.b)
        await _refuse(both.a, both.b)
        texts = await scrape(both.a)
        search = both.search()
        search.add("ephemeral", known_secrets.FIXED_PREFIX * 3)
        assert search.names == known_secrets.OF_CODE | known_secrets.OF_SESSION | known_secrets.OF_IDENTITY
        assert both.found(search) == []
        assert find_in_texts(search, texts) == []
        assert any(known_secrets.FIXED_PREFIX in checkpoint for checkpoint in both.a.spawner.checkpoints)  # type: ignore[attr-defined]
    assert both.found(search) == []


async def _refuse(a: Node, b: Node) -> None:
    with trio.fail_after(DEADLINE):
        showing = await a.client.start_pairing()
        joining = await b.client.join_pairing(" ".join(showing.code.words))
        await showing.confirmation()
        await joining.confirmation()
        await joining.accept()
        await showing.reject()
        for side in (showing, joining):
            with pytest.raises(PairingFailedError):
                await side.paired()


async def test_a_code_that_expires(folder: Path) -> None:
    """Its words and keys are in no log, process or file, before and after."""
    with ProcessSampler() as sampler:
        async with running_node(folder, "anna", spawner=listener("fixed_randomness"), code_lifetime=1.0) as a:
            sampler.add(a.spawner.pid)
            with trio.fail_after(DEADLINE):
                showing = await a.client.start_pairing()
                sampler.sample()
                with pytest.raises(PairingFailedError, match="expired"):
                    await showing.paired()
            both = Two(folder, a, a, sampler)
            search = SecretSearch()
            known_secrets.add_code(search, " ".join(showing.code.words))
            assert both.found(search) == []
    assert both.found(search) == []


@pytest.mark.parametrize("kind", ["PeerRequest", "StoreDevice"])
async def test_actors_that_fail_with_all_they_know(folder: Path, kind: str) -> None:
    """A session at its peer's bytes, a vault at a pairing secret: exceptions full of secrets, three times.

    The session ends as `crashed`, the vault drops the message. That they failed is logged, and where.
    """
    async with two(folder, "crash_injector", SECRETS_CRASH_ON=kind) as both:
        with trio.fail_after(DEADLINE):
            showing = await both.a.client.start_pairing()
            joining = await both.b.client.join_pairing(" ".join(showing.code.words), timeout=DEADLINE)
            async with trio.open_nursery() as nursery:
                for side in (showing, joining):
                    nursery.start_soon(_accept, side)
                await both.a.spawner.crashed.wait()  # type: ignore[attr-defined]
                if kind == "PeerRequest":
                    with pytest.raises(PairingFailedError) as failure:
                        await showing.paired()
                    assert failure.value.outcome == "crashed"
                nursery.cancel_scope.cancel()
        crashes = [fields for _, _, event, fields in both.a.logs if event == "actor crashed"]
        assert all("crash_injector.py:" in str(fields["where"]) for fields in crashes)
        assert all(str(fields["error"]).startswith("ValueError") for fields in crashes)
        search = both.search()
        assert search.names >= known_secrets.OF_CODE | known_secrets.OF_IDENTITY
        assert kind == "PeerRequest" or "pairing_secret" in search.names
        assert both.found(search) == []
    assert both.found(search) == []


async def _accept(side: Pairing) -> None:
    try:
        await side.confirmation()
        await side.accept()
        await side.paired()
    except PairingFailedError:
        return
