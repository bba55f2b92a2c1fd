"""What a child counts as having died of, where its end is noticed late, and when it is written to."""

import contextlib
import socket

import msgspec
import pytest
import trio
import trio.testing

from spacedrive_node.messages.base import INTERNAL_LIMIT, FrameReader, encode, frame
from spacedrive_node.messages.child_protocol import (
    Deliver,
    Pong,
    Ready,
    Step,
    decode_from_child,
    decode_to_child,
)
from spacedrive_node.supervisor.channel import Channel
from spacedrive_node.supervisor.child_channel import ChildChannel, OutboxBatch


class EndedChild:
    """Its channel is at its end, and its exit status comes after `late` seconds."""

    pid = 1

    def __init__(self, late):
        ours, theirs = trio.testing.memory_stream_pair()
        theirs.send_stream.close()
        self.channel = Channel(ours, decode_from_child)
        self.late = late

    def kill(self):
        pass

    async def wait(self):
        await trio.sleep(self.late)
        return -9


@pytest.mark.parametrize("late", [0.5, 3.0, 60.0])
async def test_a_child_that_is_lost_with_the_fork_server_has_not_hung(autojump_clock, late):
    channel = ChildChannel(EndedChild(late), lambda _frame: None, lambda _number: None, OutboxBatch())
    channel.mark_lost()
    assert await channel.run() == "zygote"


@pytest.mark.parametrize(("late", "cause"), [(0.5, "killed"), (3.0, "hang"), (60.0, "hang")])
async def test_a_child_that_goes_on_without_its_channel_has_hung(autojump_clock, late, cause):
    channel = ChildChannel(EndedChild(late), lambda _frame: None, lambda _number: None, OutboxBatch())
    assert await channel.run() == cause


class ChildOverSocket:
    """Its channel is a socket pair, of which the test has the child's end."""

    pid = 1

    def __init__(self):
        ours, self.theirs = socket.socketpair()
        ours.setblocking(False)
        self.theirs.settimeout(10.0)
        self.channel = Channel(trio.SocketStream(trio.socket.from_stdlib_socket(ours)), decode_from_child)

    def kill(self):
        pass

    async def wait(self):
        await trio.sleep_forever()

    def close(self):
        self.channel._stream.socket.close()
        self.theirs.close()


@contextlib.contextmanager
def child():
    made = ChildOverSocket()
    try:
        yield made
    finally:
        made.close()


def delivery(number, size=10):
    body = msgspec.Raw(encode(Step(0, checkpoint=bytes(size))))
    return Deliver(number, "tester", 1, "Test", bytes(16), body)


def numbers_of(sock, count):
    """Return the numbers of the next deliveries that arrive, in their order."""
    reader, found = FrameReader(INTERNAL_LIMIT), []
    while len(found) < count:
        reader.feed(sock.recv(65536))
        while (payload := reader.next_frame()) is not None:
            found.append(decode_to_child(payload).input)
    return found


async def test_what_a_read_leads_to_is_written_before_the_next_wait():
    """No task of the receiver has to run for it, and what comes of one read goes in one write."""
    batch, written, numbers = OutboxBatch(), [], iter(range(1, 9))
    with child() as sender, child() as receiver:
        to = ChildChannel(receiver, lambda _frame: None, written.append, batch)
        channel = ChildChannel(
            sender, lambda _frame: to.enqueue(delivery(next(numbers))), lambda _number: None, batch
        )
        frames = [frame(encode(one), INTERNAL_LIMIT) for one in (Ready(), Pong(), Ready(), Ready())]
        sender.theirs.sendall(b"".join(frames))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(channel.run)
            with trio.fail_after(60):
                await trio.lowlevel.wait_readable(receiver.theirs)
            assert numbers_of(receiver.theirs, 3) == [1, 2, 3]
            assert written == [3]
            nursery.cancel_scope.cancel()


async def test_what_the_kernel_does_not_take_follows_in_order():
    """A full channel holds up nobody: its task writes the rest when there is room, before what is newer."""
    batch, written = OutboxBatch(), []
    with child() as receiver:
        to = ChildChannel(receiver, lambda _frame: None, written.append, batch)
        with batch:
            for number in range(1, 21):
                to.enqueue(delivery(number, 100_000))
        assert written[-1:] != [20]  # it does not fit
        with batch:
            to.enqueue(delivery(21))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(to.run)
            found = await trio.to_thread.run_sync(numbers_of, receiver.theirs, 21)
            with batch:
                to.enqueue(delivery(22))
            found += await trio.to_thread.run_sync(numbers_of, receiver.theirs, 1)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
    assert found == list(range(1, 23))
    assert written[-1] == 22
    assert written == sorted(written)
