"""Signals while a line is typed, one by one; test_typed_codes.py has them with a whole command."""

import os
import select
import signal
import threading

from spacedrive_node.cli import terminal_lines


def test_a_signal_that_interrupts_no_wait_is_handled_all_the_same() -> None:
    """As one that comes just before the wait begins. Here another thread gets it."""
    reading, writing = os.pipe()
    before = signal.signal(signal.SIGUSR1, lambda _number, _frame: os.write(writing, b"x"))
    try:
        with terminal_lines._noticed_signals():
            here = threading.Timer(0.1, lambda: signal.pthread_kill(threading.get_ident(), signal.SIGUSR1))
            here.start()
            assert select.select([reading], [], [], 10)[0]
            here.join()
    finally:
        signal.signal(signal.SIGUSR1, before)
        os.close(reading)
        os.close(writing)
