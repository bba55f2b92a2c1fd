"""The fork server waits for no child: each reply goes out when the child's own file has come, or cannot."""

import os
import select
import socket

from spacedrive_node.supervisor import memory_handover
from spacedrive_node.supervisor.memory_handover import MemoryHandover, hand_over_memory_file


def test_a_child_that_stands_still_holds_up_no_other(monkeypatch):
    handover, replies = MemoryHandover(), []
    (slow, slow_end), (quick, quick_end) = (
        socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(2)
    )
    handover.expect(slow, lambda files: replies.append(("slow", len(files))))
    handover.expect(
        quick, lambda files: replies.append(("quick", len(files))) or [os.close(f) for f in files]
    )
    assert 0 < handover.timeout() <= 1
    hand_over_memory_file(quick_end)
    select.select(list(handover.descriptors), [], [], 10)
    handover.receive()
    assert replies == [("quick", 1)]
    with slow_end:
        monkeypatch.setattr(memory_handover.time, "monotonic", lambda: float("inf"))
        handover.receive()
    assert replies == [("quick", 1), ("slow", 0)]
    assert handover.timeout() is None
    assert not handover.descriptors


def test_a_child_that_has_ended_is_replied_for_at_once():
    handover, replies = MemoryHandover(), []
    receiver, sender = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    handover.expect(receiver, replies.append)
    sender.close()
    handover.receive()
    assert replies == [[]]
