"""A node whose settings change while it runs: pairings under way go on, and nothing is applied by halves."""

import socket
import ssl
from pathlib import Path

import pytest
import trio
from msgspec import structs

from spacedrive_node.tests.harness.nodes import DEADLINE, Node, free_port, running_node, two_nodes
from spacedrive_node.tests.harness.websocket_hosts import make_certificate


async def restarts(node: Node) -> dict[str, int]:
    return {row.actor: row.restarts for row in await node.client.actors()}


async def finish(*pairings: object) -> None:
    """Accept on both sides; both must end paired."""

    async def accept(pairing: object) -> None:
        await pairing.confirmation()
        await pairing.accept()
        await pairing.paired()

    with trio.fail_after(DEADLINE):
        async with trio.open_nursery() as nursery:
            for pairing in pairings:
                nursery.start_soon(accept, pairing)


async def test_a_pairing_goes_on_over_a_change_of_transports_and_finders(tmp_path: Path) -> None:
    """On both sides the swarm, discovery and the gateway start again while the users are asked."""
    async with two_nodes(tmp_path) as (a, b):
        showing = await a.client.start_pairing()
        joining = await b.client.join_pairing(" ".join(showing.code.words), timeout=DEADLINE)
        with trio.fail_after(DEADLINE):
            await showing.confirmation()
            await joining.confirmation()
        for node in (a, b):
            before, counted = await node.pids(), await restarts(node)
            more = (*node.settings[0].listen, f"/ip4/127.0.0.1/tcp/{free_port()}/ws")
            report = await node.reload(listen=more, same_host=True, code_lifetime=120.0, dht_mode="client")
            assert report.state == "applied"
            assert [change.key for change in report.changes] == [
                "listen",
                "dht-mode",
                "same-host",
                "code-lifetime",
            ]
            assert set(report.actors) == {"swarm", "discovery", "gateway"}
            after = await node.pids()
            assert {name for name, pid in before.items() if after.get(name) != pid} == set(report.actors)
            assert await restarts(node) == counted  # none of them has crashed
        await finish(showing, joining)
        for node in (a, b):
            status = await node.client.status()
            assert status.addresses[0] == node.ready.addresses[0]
            assert [text for text in status.listening if text.endswith("/ws")]
            assert status.dht_mode == "client"


@pytest.mark.timeout(240)
async def test_who_has_shown_the_code_moves_while_the_users_decide(tmp_path: Path) -> None:
    """To another port: the DHT says where it is. The other device gives up a transport meanwhile."""
    async with (
        running_node(tmp_path, "server") as server,
        running_node(tmp_path, "anna", bootstrap=(server.bootstrap,)) as a,
        running_node(tmp_path, "bruno", bootstrap=(server.bootstrap,)) as b,
    ):
        showing = await a.client.start_pairing()
        joining = await b.client.join_pairing(" ".join(showing.code.words), timeout=DEADLINE)
        with trio.fail_after(DEADLINE):
            await showing.confirmation()
            await joining.confirmation()
        moved = (f"/ip4/127.0.0.1/tcp/{free_port()}",)
        assert (await a.reload(listen=moved)).state == "applied"
        assert (await b.reload(listen=(f"/ip4/127.0.0.1/tcp/{free_port()}",))).state == "applied"
        await finish(showing, joining)
        assert (await a.client.status()).listening == moved


async def test_what_is_not_to_change_does_not(tmp_path: Path) -> None:
    """No process, by settings of the supervisor itself; nothing, by a check or with a fixed setting."""
    async with running_node(tmp_path, "anna") as a:
        before = await a.pids()
        assert (await a.reload()).state == "unchanged"
        report = await a.reload(log_level="debug", max_sessions=7)
        assert (report.state, report.actors) == ("applied", ())
        assert [(change.key, change.former, change.new) for change in report.changes] == [
            ("max-sessions", "256", "7"),
            ("log-level", "info", "debug"),
        ]
        assert (await a.client.status()).sessions_limit == 7
        report = await a.reload(check=True, dht_mode="client")
        assert (report.state, report.actors) == ("possible", ("swarm",))
        for setting in ("data_dir", "control", "passphrase_file"):
            former = getattr(a.settings[0], setting)
            report = await a.reload(**{setting: str(tmp_path / "other")})
            key = setting.replace("_", "-")
            assert report.state == "refused"
            assert [key in reason and "restart" in reason for reason in report.reasons] == [True]
            found = {change.key: change.needs_restart for change in report.changes}
            assert found == {key: True, "dht-mode": False}
            a.settings.append(structs.replace(a.settings[-1], **{setting: former}))
        assert await a.pids() == before
        assert (await a.client.status()).dht_mode != "client"


async def test_a_runtime_directory_that_others_may_enter_ends_no_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reload is refused with the reason, and carried out when that is mended; a stop is in order anyway."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    directory = tmp_path / "spacedrive-node"
    async with running_node(tmp_path, "anna") as a:
        directory.chmod(0o755)
        for check in (True, False):
            report = await a.reload(check=check, dht_mode="client")
            assert report.state == "refused"
            assert f"chmod 700 {directory}" in report.reasons[0]
        directory.chmod(0o700)
        assert (await a.reload()).state == "applied"
        directory.chmod(0o755)
    directory.chmod(0o700)


NOTED = {
    ("gateway", "Accept", "session"),
    ("gateway", "Decide", "accept"),
    ("session", "SessionView", "stage"),
    ("swarm", "PeerRequest", "path"),
    ("vault", "Stored", "state"),
}
"""Of the messages that the second half of a pairing causes: sender, kind, a field beside it."""


async def test_after_a_reload_running_processes_log_as_if_started_so(tmp_path: Path) -> None:
    """None of them starts again: at level debug each shows of its messages what it shows otherwise."""

    def noted(node: Node) -> set[tuple[str, str, str]]:
        lines = [
            (actor.partition("-")[0], fields) for actor, _, event, fields in node.logs if event == "message"
        ]
        return {(actor, str(fields["kind"]), name) for actor, fields in lines for name in fields}

    async with two_nodes(tmp_path) as (a, b):
        showing = await a.client.start_pairing()
        joining = await b.client.join_pairing(" ".join(showing.code.words), timeout=DEADLINE)
        with trio.fail_after(DEADLINE):
            await showing.confirmation()
            await joining.confirmation()
        assert noted(a) == set()
        before = await a.pids()
        assert (await a.reload(log_level="debug")).state == "applied"
        await finish(showing, joining)
        assert noted(a) >= NOTED
        after = await a.pids()
        assert all(after[name] == pid for name, pid in before.items() if name in after)
        assert (await a.reload(log_level="info")).state == "applied"
        a.logs.clear()
        await (await a.client.start_pairing()).cancel()
        assert noted(a) == set()


async def test_a_port_that_is_taken_brings_the_former_settings_back(tmp_path: Path) -> None:
    """The swarm cannot listen; what was changed before it and after it is as it was, too."""
    async with running_node(tmp_path, "anna") as a:
        with socket.create_server(("127.0.0.1", 0)) as holder:
            taken = holder.getsockname()[1]
            report = await a.reload(
                listen=(f"/ip4/127.0.0.1/tcp/{taken}",), mdns=True, code_lifetime=120.0, max_sessions=3
            )
        assert report.state == "undone"
        assert str(taken) in report.reasons[0]
        status = await a.client.status()
        with trio.fail_after(DEADLINE):
            while not status.ready:
                status = await a.client.status()
        assert tuple(status.addresses) == a.ready.addresses
        assert status.sessions_limit == 256
        assert "lan" not in await a.pids()
        assert status.mdns == "off"
        assert (await a.reload(listen=a.settings[0].listen, mdns=False)).state == "applied"
        assert (await a.client.status()).addresses[0] == a.ready.addresses[0]


async def test_an_actor_comes_and_goes_and_one_moves(tmp_path: Path) -> None:
    """lan is there while mDNS is wanted, and nothing of it stays. Metrics go on at another port."""
    async with running_node(tmp_path, "anna", metrics_listen="127.0.0.1:0") as a:
        report = await a.reload(mdns=True)
        assert report.state == "applied"
        assert set(report.actors) == {"lan", "discovery", "gateway"}
        assert (await a.client.status()).mdns == "idle"
        showing = await a.client.start_pairing()
        await a.spawner.wait_until_delivered("lan", "Announce", 1)
        port = free_port()
        report = await a.reload(mdns=False, metrics_listen=f"127.0.0.1:{port}")
        assert report.state == "applied"
        assert set(report.actors) == {"lan", "discovery", "gateway", "metrics"}
        assert "lan" not in await a.pids()
        assert (await a.client.status()).mdns == "off"
        assert 'actor_restarts_total{actor="metrics",reason="reload"}' in await scrape(f"127.0.0.1:{port}")
        with pytest.raises(OSError, match="all attempts"):
            await scrape(str(a.ready.metrics))
        assert [line for line in a.logs if line[1] == "error"] == []
        await showing.cancel()


async def test_a_runtime_directory_that_is_not_safe_any_more_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reload is refused, and the node goes on."""
    runtime = tmp_path / "run"
    runtime.mkdir(0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    async with running_node(tmp_path, "anna") as a:
        (own,) = runtime.iterdir()
        own.chmod(0o755)
        for check in (True, False):
            report = await a.reload(check=check, max_sessions=5)
            assert (report.state, len(report.reasons)) == ("refused", 1)
            assert str(own) in report.reasons[0]
        own.chmod(0o700)
        assert (await a.reload(max_sessions=5)).state == "applied"


async def scrape(endpoint: str) -> str:
    host, _, port = endpoint.rpartition(":")
    async with await trio.open_tcp_stream(host, int(port)) as stream:
        await stream.send_all(b"GET /metrics HTTP/1.0\r\n\r\n")
        return b"".join([piece async for piece in stream]).decode()


async def test_a_renewed_certificate_is_served_and_a_broken_one_is_not(tmp_path: Path) -> None:
    """The settings are the same; of broken files the swarm, which has the good ones, hears nothing."""
    made = make_certificate(tmp_path, ["127.0.0.1"])
    port = free_port()
    files = {"tls_certificate": made.certificate, "tls_key": made.key}
    async with running_node(tmp_path, "anna", listen=(f"/ip4/127.0.0.1/tcp/{port}/tls/ws",), **files) as a:
        former = await served_certificate(port)
        make_certificate(tmp_path, ["127.0.0.1"])
        report = await a.reload()
        assert (report.state, report.actors) == ("applied", ("swarm",))
        assert [change.key for change in report.changes] == ["tls-certificate", "tls-key"]
        renewed = await served_certificate(port)
        assert renewed != former
        (tmp_path / "key.pem").write_text("no key")
        report = await a.reload()
        assert report.state == "refused"
        assert str(made.key) in report.reasons[0]
        assert await served_certificate(port) == renewed


async def served_certificate(port: int) -> str:
    return await trio.to_thread.run_sync(ssl.get_server_certificate, ("127.0.0.1", port))
