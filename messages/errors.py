"""The base of every exception of this project. Imports nothing."""


class SpacedriveNodeError(Exception):
    """Something this project raises on purpose. Its text never holds a secret."""
