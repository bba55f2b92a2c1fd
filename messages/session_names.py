"""The name of a session's actor: `session-` and the id of the session, 16 hex digits.

There is one actor for each pairing session, made when the session begins, so its name is derived from the id
(types.SessionId). All other actors have fixed names. Owns this form; nobody else builds such a name or takes
one apart.
"""

import re
from typing import Final

_PREFIX: Final = "session-"
_NAME: Final = re.compile(_PREFIX + "[0-9a-f]{16}")


def actor_of_session(session: str) -> str:
    """Return the name of the actor that runs the session with this id."""
    return _PREFIX + session


def session_of_actor(name: str) -> str:
    """Return the id of the session that the actor of this name runs; `name` must be a session actor's."""
    return name.removeprefix(_PREFIX)


def is_session_actor(name: str) -> bool:
    """Return whether `name` is exactly a session actor's: the prefix and a well-formed id."""
    return _NAME.fullmatch(name) is not None
