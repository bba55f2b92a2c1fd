"""The text of a peer id, in a module of its own: messages show it, and the command line imports little."""


def peer_id_text(peer: bytes) -> str:
    """Return the text of a binary peer id as people and multiaddrs write it: base58btc, "12D3Koo…"."""
    import base58

    return base58.b58encode(peer).decode("ascii")
