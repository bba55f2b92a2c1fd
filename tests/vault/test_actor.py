"""The vault behind its channel, as the supervisor runs it."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import trio

from spacedrive_node.actors.vault import main
from spacedrive_node.messages.actor_configs import VaultConfig
from spacedrive_node.messages.base import encode
from spacedrive_node.messages.child_protocol import (
    Deliver,
    Fatal,
    Ready,
    Start,
    Step,
    Stop,
    decode_from_child,
    decode_to_child,
)
from spacedrive_node.messages.to_vault import ListDevices
from spacedrive_node.supervisor.channel import Channel


@asynccontextmanager
async def running(data_dir: Path) -> AsyncIterator[Channel[Any]]:
    here, there = trio.testing.memory_stream_pair()
    channel = Channel(here, decode_from_child)
    config = msgspec.Raw(encode(VaultConfig(data_dir=str(data_dir))))
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(main, Channel(there, decode_to_child))
            await channel.send(Start("vault", 1, config))
            yield channel


async def test_start_list_stop(tmp_path: Path) -> None:
    """Ready, the standing messages as one step, one Step for each input; Stop gives the lock back."""
    for _ in range(2):
        async with running(tmp_path) as channel:
            assert isinstance(await channel.receive(), Ready)
            first = await channel.receive()
            assert isinstance(first, Step)
            assert [out.kind for out in first.out][:2] == ["Observed", "SwarmIdentity"]
            body = msgspec.Raw(encode(ListDevices(4)))
            await channel.send(Deliver(1, "gateway", 1, "ListDevices", os.urandom(16), body))
            step = await channel.receive()
            assert isinstance(step, Step)
            assert (step.input, [out.kind for out in step.out]) == (1, ["Devices"])
            await channel.send(Stop())


async def test_last_words(tmp_path: Path) -> None:
    """What the user must know is said on the channel before the vault ends."""
    (tmp_path / "identity.key").write_bytes(b"junk")
    (tmp_path / "identity.key").chmod(0o600)
    async with running(tmp_path) as channel:
        fatal = await channel.receive()
    assert isinstance(fatal, Fatal)
    assert "damaged" in fatal.message
