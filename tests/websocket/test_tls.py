"""WebSocket under TLS: the name of the server is checked, and wrong files are told."""

import os
import ssl
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from spacedrive_node.actors.swarm.websocket import upgrade_limits
from spacedrive_node.actors.swarm.websocket.stream import WebSocketStream
from spacedrive_node.actors.swarm.websocket.tls import CertificateFileError
from spacedrive_node.actors.swarm.websocket.transport import WebSocketTransport
from spacedrive_node.actors.swarm.websocket.wire import WebSocketOptions
from spacedrive_node.tests.harness.websocket_hosts import (
    DEADLINE,
    make_certificate,
    receive_all,
    request,
    served,
)

SECURE = "/ip4/127.0.0.1/tcp/0/tls/ws"
CONFINED = """
import gc, ssl, sys, trio
from multiaddr import Multiaddr
from spacedrive_node.actors.swarm.websocket import warm_up
from spacedrive_node.sandbox_profiles import SWARM
from spacedrive_node.supervisor.sandbox import enter_sandbox

def roots():
    return sum(len(one.get_ca_certs()) for one in gc.get_objects() if isinstance(one, ssl.SSLContext))

async def main():
    from spacedrive_node.actors.swarm.websocket.transport import WebSocketTransport
    from spacedrive_node.actors.swarm.websocket.wire import WebSocketOptions

    enter_sandbox(SWARM, 0)
    async with trio.open_nursery() as nursery:
        transport = WebSocketTransport(WebSocketOptions())
        transport.set_background_nursery(nursery)
        print("roots", roots())
        for _ in range(2):
            await transport.dial(Multiaddr(sys.argv[1]))
        print("roots", roots())
        nursery.cancel_scope.cancel()

warm_up()
trio.run(main)
"""


async def echo(connection: WebSocketStream) -> None:
    while data := await connection.read(65536):
        await connection.write(data)
    await connection.close()


@pytest.mark.parametrize("form", ["tls/ws", "wss"])
async def test_bytes_go_both_ways(tmp_path: Path, form: str) -> None:
    """With a certificate for the address; both sides know that it is TLS."""
    async with served(make_certificate(tmp_path, ["127.0.0.1"]), address=SECURE, handler=echo) as listening:
        assert listening.address == f"/ip4/127.0.0.1/tcp/{listening.port}/tls/ws"
        connection = await listening.dial(listening.address.replace("tls/ws", form))
        with trio.fail_after(DEADLINE):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(connection.write, b"x" * 1_000_000)
                received = 0
                while received < 1_000_000:
                    received += len(await connection.read(65536))
            await connection.close()
        assert connection.transport == "wss"


async def test_the_certificate_has_to_be_for_the_name(tmp_path: Path) -> None:
    """For the name that was resolved (sni), or for the address; any other is refused."""
    options = make_certificate(tmp_path, ["node.example", "::1"])
    async with served(options, address=SECURE, handler=echo) as listening:
        start = f"/ip4/127.0.0.1/tcp/{listening.port}/tls"
        with trio.fail_after(DEADLINE):
            connection = await listening.dial(f"{start}/sni/node.example/ws")
            await connection.write(b"hello")
            assert await connection.read(5) == b"hello"
            for wrong in (f"{start}/ws", f"{start}/sni/other.example/ws"):
                with pytest.raises(OSError, match="no answer"):
                    await listening.dial(wrong)


async def test_unknown_roots_are_refused(tmp_path: Path) -> None:
    """Without the file of roots, the system's alone count."""
    options = make_certificate(tmp_path, ["127.0.0.1"])
    async with served(replace(options, ca=None), address=SECURE, handler=echo) as listening:
        with trio.fail_after(DEADLINE), pytest.raises(OSError, match="no answer"):
            await listening.dial()
        assert listening.connections == []


@pytest.mark.parametrize(
    "remark", ["", "de: Zürich\n", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
async def test_the_roots_of_the_system_are_read_at_the_first_dial(tmp_path: Path, remark: str) -> None:
    """In the sandbox, which opens no file of theirs; a node that never dials under TLS keeps none.

    The file may have remarks between its certificates. Of one that is broken those before that place count.
    """
    options = make_certificate(tmp_path, ["127.0.0.1"])
    roots = tmp_path / "roots.pem"
    own = (tmp_path / "certificate.pem").read_text()
    roots.write_text(own + remark if "BEGIN" in remark else remark + own)
    async with served(replace(options, ca=None), address=SECURE, handler=echo) as listening:
        with trio.fail_after(60):
            done = await trio.run_process(
                [sys.executable, "-c", CONFINED, listening.address],
                capture_stdout=True,
                capture_stderr=True,
                check=False,
                env={**os.environ, "SSL_CERT_FILE": str(roots)},
            )
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.decode().split("\n") == ["roots 0", "roots 1", ""]


async def test_half_a_handshake_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And one without TLS gets nothing that could be read."""
    monkeypatch.setattr(upgrade_limits, "UPGRADE_TIMEOUT_S", 0.3)
    async with served(make_certificate(tmp_path, ["127.0.0.1"]), address=SECURE) as listening:
        assert await receive_all(await listening.open(b"\x16\x03\x01")) == b""
        assert not (await receive_all(await listening.open(request()))).startswith(b"HTTP")
        assert len(listening.transport.upgrades) == 0


async def test_old_versions_of_tls_are_refused(tmp_path: Path) -> None:
    """TLS 1.2 and later."""
    async with served(make_certificate(tmp_path, ["127.0.0.1"]), address=SECURE) as listening:
        old = ssl.create_default_context(cafile=listening.transport.options.ca)
        old.set_ciphers("DEFAULT:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
        stream = trio.SSLStream(await listening.open(), old, server_hostname="127.0.0.1")
        with trio.fail_after(DEADLINE), pytest.raises(trio.BrokenResourceError):
            await stream.do_handshake()


async def test_what_nobody_reads_stays_with_the_peer(tmp_path: Path) -> None:
    """As without TLS."""
    async with served(make_certificate(tmp_path, ["127.0.0.1"]), address=SECURE) as listening:
        connection = await listening.dial()
        sent = 0
        with trio.move_on_after(1):
            while sent < 64 * 1024 * 1024:
                await connection.write(b"x" * 60_000)
                sent += 60_000
        assert sent < 32 * 1024 * 1024
        with trio.fail_after(DEADLINE):
            await connection.close()


def test_wrong_files_are_named(tmp_path: Path) -> None:
    """Missing, of another kind, sealed, or not of one pair: a text for the user, and no question."""
    good = make_certificate(tmp_path, ["a.example"])
    other = tmp_path / "other"
    other.mkdir()
    stranger = make_certificate(other, ["b.example"])
    (tmp_path / "text").write_text("hello")
    sealed = tmp_path / "sealed"
    key = ec.generate_private_key(ec.SECP256R1())
    sealed.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    for wrong, words in (
        (replace(good, key=str(tmp_path / "missing")), "No such file"),
        (replace(good, certificate=str(tmp_path / "text")), "text"),
        (replace(good, key=stranger.key), "mismatch"),
        (replace(good, key=str(sealed)), "sealed"),
        (replace(good, key=None), "needed"),
        (WebSocketOptions(ca=str(tmp_path / "text")), "roots"),
        (WebSocketOptions(ca=str(tmp_path / "missing")), "No such file"),
    ):
        with pytest.raises(CertificateFileError, match=words):
            WebSocketTransport(wrong)
