"""What a child counts as having died of, where its end is noticed late."""

import pytest
import trio
import trio.testing

from spacedrive_node.messages.child_protocol import decode_from_child
from spacedrive_node.supervisor.channel import Channel
from spacedrive_node.supervisor.child_channel import ChildChannel


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
    channel = ChildChannel(EndedChild(late), lambda _frame: None, lambda _number: None)
    channel.mark_lost()
    assert await channel.run() == "zygote"


@pytest.mark.parametrize(("late", "cause"), [(0.5, "killed"), (3.0, "hang"), (60.0, "hang")])
async def test_a_child_that_goes_on_without_its_channel_has_hung(autojump_clock, late, cause):
    channel = ChildChannel(EndedChild(late), lambda _frame: None, lambda _number: None)
    assert await channel.run() == cause
