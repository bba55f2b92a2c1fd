"""The library's log is silent."""

import logging

import pytest
from libp2p.peer.id import ID
from multiaddr import Multiaddr

from spacedrive_node.actors.swarm.library import library_logs
from spacedrive_node.tests.harness.library_hosts import keys, our_host, running


async def test_the_library_is_silent(caplog: pytest.LogCaptureFixture) -> None:
    """Failed dials are logged as errors, with peer ids, by default."""
    library_logs.silence_library_logs()
    client = our_host(1)
    async with running(client):
        with pytest.raises(Exception, match=r".*"):
            await client.get_network().dial_addr(
                Multiaddr("/ip4/127.0.0.1/tcp/1"), ID.from_pubkey(keys(9).public_key)
            )
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
