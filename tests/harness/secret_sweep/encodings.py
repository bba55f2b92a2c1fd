"""Every form in which a secret can stand in text or in a file, and one search for all of them.

Owns the forms and the search. Knows no secret of its own, and never shows one: what it finds it
calls by name.

Of each form only the beginning and the end are looked for, each long enough not to be there by chance: so a
value is found that was cut, or embedded in something longer.
"""

import base64
import json
import re
from collections.abc import Iterator, Sequence

import base58

from spacedrive_node.protocol.words import WORDS

BYTES = 8
"""How much of a value is looked for at each end."""
VARIETY = 6
"""A value of fewer different bytes (the code of `abandon … about` is all zero) is in every file."""
RUN = 3
"""So many words of a code, one after the other, are no common English."""
ROWS = 4
"""Of the table in which `sdnode pair` shows them, to be read down."""
_SENTENCE = 24
"""Bytes of a sentence that hold more than two words of a code."""
_BETWEEN = rb"[^a-z]{1,16}"
"""Between two words: numbers, quotes, spaces of a table."""
_LONG_ZEROS = re.compile(rb"\0{64,}")


def cuts(text: bytes, length: int) -> Iterator[bytes]:
    """The beginning and the end of a form."""
    yield text[:length]
    yield text[-length:]


def forms(value: bytes, length: int = BYTES) -> Iterator[tuple[str, bytes]]:
    """Yield (name of the form, bytes to look for) of a value; hexadecimal is in lower case."""
    for part in cuts(value, length):
        yield "raw", part
        for separator in ("", ":", " "):
            yield "hex", (part.hex(separator) if separator else part.hex()).encode()
        for separator in (", ", ","):
            yield "decimal", separator.join(map(str, part)).encode()
        shown = repr(part)[2:-1]
        for quoted in {shown, shown.replace("'", "\\'"), shown.replace("\\'", "'")}:
            yield "repr", quoted.encode()
        as_text = part.decode("latin-1")
        yield "latin-1 in UTF-8", as_text.encode()
        yield "latin-1 in JSON", json.dumps(as_text)[1:-1].encode()
    # Not of a part: where it is cut, it might not be what it was.
    for part in cuts(value.decode("utf-8", "backslashreplace").encode(), length * 2):
        yield "UTF-8 with escapes", part
    for encode in (base64.standard_b64encode, base64.urlsafe_b64encode):
        for before in range(3):
            text = encode(bytes(before) + value)
            whole = (before + len(value)) * 8 // 6
            # The characters at either end that depend on the neighbours are left out, the padding too.
            for part in cuts(text[(0, 2, 3)[before] : whole], length * 3 // 2):
                yield "base64", part
    for part in cuts(base58.b58encode(value), length * 3 // 2):
        yield "base58", part


class Sweep:
    """Some secrets, and the search for them."""

    def __init__(self) -> None:
        self._names: set[str] = set()
        self._exact: dict[bytes, str] = {}
        self._folded: dict[bytes, str] = {}
        self._added: set[tuple[str, bytes]] = set()
        self._runs: dict[tuple[str, ...], tuple[bytes, bytes, re.Pattern[bytes], str]] = {}

    @property
    def names(self) -> set[str]:
        """What the secrets are called."""
        return self._names

    def add(self, name: str, value: bytes) -> None:
        """Look for a value of at least eight bytes from now on, unless it could be anything."""
        self._names.add(name)
        if len(set(value)) < VARIETY or (name, value) in self._added:
            return
        self._added.add((name, value))
        for form, part in forms(value):
            into = self._folded if form == "hex" else self._exact
            into.setdefault(part, f"{name} as {form}")

    def add_words(self, name: str, words: Sequence[str]) -> None:
        """Look for three consecutive words from now on, however separated and however short they were cut;
        and for the whole code in the forms of a value, and as the numbers of its words.
        """
        self._names.add(name)
        if (name, whole := " ".join(words).encode()) in self._added:
            return
        self._added.add((name, whole))
        runs = [tuple(words[begin : begin + RUN]) for begin in range(len(words) - RUN + 1)]
        table = [tuple(words[row::ROWS][:RUN]) for row in range(ROWS) if len(words) >= ROWS * RUN]
        for run in (*runs, *table):
            pattern = _BETWEEN.join(_abbreviated(word) for word in run)
            middle = run[1][:4].encode()
            self._runs.setdefault(
                run, (run[0][:4].encode(), middle, re.compile(rb"(?<![a-z])" + pattern), f"{name} in a row")
            )
        for separator in (" ", "-"):
            self._encoded(name, separator.join(words).encode(), _SENTENCE)
        self._exact.setdefault("".join(words).encode(), f"{name} without spaces")
        self._exact.setdefault(" ".join(words).encode("utf-16-le"), f"{name} in UTF-16")
        if len(words) == 12:
            numbers = ", ".join(str(WORDS.index(word)) for word in words)
            self._exact.setdefault(numbers.encode(), f"{name} as numbers")

    def add_phrase(self, name: str, phrase: bytes) -> None:
        """Look for a passphrase from now on: as a whole, in any case, and in the forms of a value."""
        self._names.add(name)
        self._folded.setdefault(phrase.lower(), f"{name} in the clear")
        self._encoded(name, phrase, BYTES)

    def _encoded(self, name: str, text: bytes, length: int) -> None:
        """The forms of a text in which it cannot be read; parts of it in the clear may be common words."""
        if len(text) >= BYTES:
            for form, part in forms(text, length):
                if form in ("hex", "base64", "base58", "decimal"):
                    (self._folded if form == "hex" else self._exact).setdefault(part, f"{name} as {form}")

    def find(self, data: bytes) -> list[str]:
        """Return what of it there is in the data: names, never values."""
        data = _LONG_ZEROS.sub(bytes(BYTES), data)  # most of a young database
        folded = data.lower()
        found = [called for part, called in self._exact.items() if part in data]
        found += [called for part, called in self._folded.items() if part in folded]
        for first, middle, pattern, called in self._runs.values():
            if first in folded and middle in folded and pattern.search(folded):
                found.append(called)
        return sorted(set(found))


def _abbreviated(word: str) -> bytes:
    """A pattern of a word or of its beginning, as short as a code may be entered."""
    head, tail = word[:4], word[4:]
    pattern = "".join(f"(?:{letter}" for letter in tail) + ")?" * len(tail)
    return (head + pattern).encode()
