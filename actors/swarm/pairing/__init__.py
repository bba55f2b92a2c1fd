"""Pairing frames: those that come in, those that go out, and what bounds both (docs/protocol.md)."""
