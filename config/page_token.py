"""The token of the page: made at each start of a node, or read from a file that its operator keeps.

Owns what a token may be. Never prints it: whoever starts a node does, once. The actor web gets only its
digest.
"""

import os
from pathlib import Path

from ..messages.errors import ReportedError, is_temporary
from .paths import UnsafePathError, expand_user
from .settings import NodeConfig

MIN_TOKEN_CHARS, MAX_TOKEN_CHARS = 22, 256
"""Of a token from a file. 22 characters of base64 have 128 bits; how many of them can be guessed is up
to its operator."""


class PageTokenError(ReportedError):
    """The file of the token cannot be used."""


def page_token(config: NodeConfig) -> str | None:
    """Return the token of the page: that of the configured file, or a new one; None if there is no page.

    Raises PageTokenError. A new one has 256 random bits, in 43 characters that an address may contain.
    """
    from base64 import urlsafe_b64encode

    if config.web is None:
        return None
    if config.web_token_file:
        return read_token(config.web_token_file)
    return urlsafe_b64encode(os.urandom(32)).rstrip(b"=").decode()


def read_token(file: str) -> str:
    """Return the token in a file, one line. Raises PageTokenError, which never quotes it."""
    try:
        with Path(expand_user(file)).open("rb") as opened:
            raw = opened.read(MAX_TOKEN_CHARS + 2)
    except UnsafePathError as error:
        raise PageTokenError(f"the page's token cannot be read: {error}") from None
    except OSError as error:
        raise PageTokenError(
            f"the page's token cannot be read from {file}: {error.strerror}", is_temporary=is_temporary(error)
        ) from None
    token = raw.decode("ascii", "replace").rstrip("\r\n")
    if not MIN_TOKEN_CHARS <= len(token) <= MAX_TOKEN_CHARS or not all("!" <= char <= "~" for char in token):
        raise PageTokenError(
            f"{file} holds no token for the page: one line of {MIN_TOKEN_CHARS} to {MAX_TOKEN_CHARS} ASCII "
            "characters without blanks is needed, as from: openssl rand -base64 32"
        )
    return token
