"""A process that keeps the namespaces in which it was started, for as long as a test needs them."""

import subprocess


def hold(*command: str) -> "subprocess.Popen[bytes]":
    """Start one; it runs until it is killed or its input is closed. `command` makes the namespaces.

    Raises ValueError.
    """
    holder = subprocess.Popen(
        [*command, "sh", "-c", "echo here; exec cat"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert holder.stdout is not None
    if holder.stdout.readline() != b"here\n":
        holder.communicate()
        raise ValueError("no namespace")
    return holder
