"""The base of every exception of this project.

A program that embeds a node can catch all of them with one `except`. Imports nothing.
"""


class SpacedriveNodeError(Exception):
    """Raised by this project on purpose. Its text says what happened and never holds a secret."""
