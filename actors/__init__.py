"""The actors: one package each, and the base that they share.

An actor imports messages, the protocol and this base, never another actor (tests/test_layout.py).
"""
