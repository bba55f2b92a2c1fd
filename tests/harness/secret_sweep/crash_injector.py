"""A mine in the actors of a test's node: a message of one kind makes its receiver fail with all it knows.

The text of the exception, its arguments, its notes and its cause hold what the message says and, in a
session, the whole state: words, code and keys. To be preloaded by the fork server, with the kind in the
environment: never import it into a test.
"""

import os

import msgspec

from spacedrive_node.actors import stepping
from spacedrive_node.actors.session.machine import SessionMachine
from spacedrive_node.protocol.code import derive, words_of

KIND = os.environ["SECRETS_MINE"]
_incoming, _step = stepping.as_incoming, SessionMachine.step


def blow_up(*known: object) -> None:
    """Raise an exception that says everything, from one that does too."""
    try:
        raise KeyError(*known)
    except KeyError as cause:
        error = ValueError(f"mine: {known}", *known)
        error.add_note(repr(known))
        raise error from cause


def incoming(deliver, decoder):  # type: ignore[no-untyped-def]
    """Stand on the mine, or not."""
    if deliver.kind == KIND:
        body = bytes(deliver.body)
        blow_up(body, msgspec.msgpack.decode(body), body.hex())
    return _incoming(deliver, decoder)


def step(self, message, now):  # type: ignore[no-untyped-def]
    """Stand on the mine, or not."""
    session = self.session
    if type(message.message).__name__ == KIND and session is not None and session.code:
        keys = derive(session.code)
        words = words_of(session.code)
        blow_up(session.code, words, keys.auth_key, keys.route_key.hex(), msgspec.to_builtins(session))
    return _step(self, message, now)


if KIND == "StoreDevice":
    stepping.as_incoming = incoming
else:
    SessionMachine.step = step  # type: ignore[method-assign]
