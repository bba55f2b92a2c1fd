"""The swarm: the libp2p host, and the one actor that has the network (docs/architecture.md, "Swarm")."""

from ...messages.child_protocol import ToChild
from ...supervisor.channel import Channel
from .library.import_stubs import stub_unused_modules


async def main(channel: Channel[ToChild]) -> None:
    """Run the swarm until the node stops. libp2p is imported only here: it is large and slow to load."""
    with stub_unused_modules():
        from .actor import run

    await run(channel)


def warm_up() -> None:
    """Import all of it, and what the libraries import at first use: in its sandbox it can open no module."""
    import encodings.idna  # noqa: F401, every look-up of an address uses it

    with stub_unused_modules():
        from . import actor  # noqa: F401, `main` finds it imported
        from .dial import resolver
        from .library import corrections

        corrections.import_the_rest()
        resolver.load_name_services()
