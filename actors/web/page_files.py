"""The files of the page, read when this module is imported: in its sandbox the actor can open no file.

Owns which there are, by the path under which they are served. None of them holds a secret or asks for
anything from elsewhere.
"""

from pathlib import Path

_FOLDER = Path(__file__).parent / "page"
_SCRIPT = "text/javascript; charset=utf-8"
_TYPES = {
    "index.html": "text/html; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
    "page.js": _SCRIPT,
    "node.js": _SCRIPT,
    "views.js": _SCRIPT,
}

FILES: dict[bytes, tuple[bytes, str]] = {
    b"/" + (b"" if name == "index.html" else name.encode()): ((_FOLDER / name).read_bytes(), content_type)
    for name, content_type in _TYPES.items()
}
"""Content and content type by path; "/" is the page itself."""
