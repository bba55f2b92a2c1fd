"""The version of libp2p that the corrections were written for."""

from importlib.metadata import version

from spacedrive_node.actors.swarm.library import host_factory


def test_the_library_is_the_version_that_was_corrected() -> None:
    """Another version means: read docs/decisions/0004 again, then change CORRECTED_VERSION."""
    assert version("libp2p") == host_factory.CORRECTED_VERSION
