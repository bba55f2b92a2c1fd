"""What a node can do only if more packages are installed, and how they are (docs/operations.md, "WebRTC").

Looks whether the packages are there without importing them: only the swarm does, where they are used.
"""

from importlib.util import find_spec

INSTALL_WEBRTC = "pip install 'spacedrive-node[webrtc]'"
_WEBRTC_MODULES = ("google_crc32c", "OpenSSL")


def has_webrtc() -> bool:
    """Return whether the packages of the extra `webrtc` are installed."""
    return all(find_spec(name) is not None for name in _WEBRTC_MODULES)
