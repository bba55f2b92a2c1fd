"""The actors: one package for each, and what they share.

base       for every actor: messages in and out, log lines, the live actor's Mailbox
stepping   runs an actor that is a state machine: one input, one Step

An actor imports messages, the protocol and these two, never another actor (tests/test_layout.py).
"""
