"""Makes an actor fail at a message of one kind, with an exception that holds everything the actor knows.

The text of the exception, its arguments, its notes and its cause contain the message and, in a session, the
complete state: words, code and keys.

The fork server preloads this module, which patches the actors' code; the environment variable
SECRETS_CRASH_ON names the kind. Never import it into a test.
"""

import os

import msgspec

from spacedrive_node.actors import stepping
from spacedrive_node.actors.session.machine import SessionMachine
from spacedrive_node.protocol.code import derive, words_of

KIND = os.environ["SECRETS_CRASH_ON"]
_incoming, _step = stepping.decode_delivery, SessionMachine.step


def raise_with(*known: object) -> None:
    """Raise an exception that contains `known`, caused by another one that does as well."""
    try:
        raise KeyError(*known)
    except KeyError as cause:
        error = ValueError(f"injected: {known}", *known)
        error.add_note(repr(known))
        raise error from cause


def incoming(deliver, decoder):  # type: ignore[no-untyped-def]
    """Raise at a message of the chosen kind; otherwise do what the original does."""
    if deliver.kind == KIND:
        body = bytes(deliver.body)
        raise_with(body, msgspec.msgpack.decode(body), body.hex())
    return _incoming(deliver, decoder)


def step(self, message, now):  # type: ignore[no-untyped-def]
    """Raise at a message of the chosen kind; otherwise do what the original does."""
    session = self.session
    if type(message.message).__name__ == KIND and session is not None and session.code:
        keys = derive(session.code)
        words = words_of(session.code)
        raise_with(session.code, words, keys.auth_key, keys.route_key.hex(), msgspec.to_builtins(session))
    return _step(self, message, now)


if KIND == "StoreDevice":
    stepping.decode_delivery = incoming
else:
    SessionMachine.step = step  # type: ignore[method-assign]
