"""Children whose fork server has ended, where the supervisor is the one that inherits them.

It is as the first process of a container: there is no other that takes the exit status of an orphan, and each
would stay as a zombie, which counts as a process, for as long as the node runs. Owns nothing.
"""

import os
from collections.abc import Iterable

import trio

_PAUSE_S = 0.1
"""Between two looks: the kernel kills them when their parent ends, and nothing says when that is done."""


async def reap_orphans(pids: Iterable[int]) -> None:
    """Take the exit statuses of these processes when they have ended; of those that are others', none."""
    left = set(pids)
    while left:
        for pid in list(left):
            try:
                is_running = os.waitpid(pid, os.WNOHANG)[0] == 0  # noqa: ASYNC222, it does not wait
            except ChildProcessError:
                is_running = False  # whoever inherited it takes its status
            if not is_running:
                left.discard(pid)
        await trio.sleep(_PAUSE_S if left else 0)
