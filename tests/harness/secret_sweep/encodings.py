"""Every encoding in which a secret can appear in text or in a file, and one search for all of them.

Owns the encodings and the search. Never reports a secret itself, only its name.

Of each encoding only the beginning and the end are searched for. Each is long enough not to occur by chance.
So a value is found that was truncated, or embedded in something longer.
"""

import base64
import json
import re
from collections.abc import Iterator, Sequence

import base58

from spacedrive_node.protocol.words import WORDS

BYTES = 8
"""Bytes of a value that are searched for, at each end."""
VARIETY = 6
"""Different bytes that a value needs. One with fewer (the code of `abandon … about` is all zero) is in every
file.
"""
RUN = 3
"""Consecutive words of a code that are searched for. Shorter runs occur in plain English."""
ROWS = 4
"""Rows of the table in which `sdnode pair` shows the words; they are read down the columns."""
_SENTENCE = 24
"""Bytes of a sentence that are longer than two words of a code."""
_BETWEEN = rb"[^a-z]{1,16}"
"""What may stand between two words: numbers, quotes, spaces of a table."""
_LONG_ZEROS = re.compile(rb"\0{64,}")


def ends(text: bytes, length: int) -> Iterator[bytes]:
    """Yield the first and the last `length` bytes."""
    yield text[:length]
    yield text[-length:]


def encodings(value: bytes, length: int = BYTES) -> Iterator[tuple[str, bytes]]:
    """Yield (name of the encoding, bytes to search for) of a value. Hexadecimal is in lower case."""
    for part in ends(value, length):
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
    # Encode the value as a whole: cut at another place, it might decode differently.
    for part in ends(value.decode("utf-8", "backslashreplace").encode(), length * 2):
        yield "UTF-8 with escapes", part
    for encode in (base64.standard_b64encode, base64.urlsafe_b64encode):
        for before in range(3):
            text = encode(bytes(before) + value)
            whole = (before + len(value)) * 8 // 6
            # Leave out the padding, and the characters at either end that depend on neighbouring bytes.
            for part in ends(text[(0, 2, 3)[before] : whole], length * 3 // 2):
                yield "base64", part
    for part in ends(base58.b58encode(value), length * 3 // 2):
        yield "base58", part


class SecretSearch:
    """Secrets, each with a name, and the search for all of them at once."""

    def __init__(self) -> None:
        self._names: set[str] = set()
        self._exact: dict[bytes, str] = {}
        self._folded: dict[bytes, str] = {}
        self._added: set[tuple[str, bytes]] = set()
        self._runs: dict[tuple[str, ...], tuple[bytes, bytes, re.Pattern[bytes], str]] = {}

    @property
    def names(self) -> set[str]:
        """The names of the secrets."""
        return self._names

    def add(self, name: str, value: bytes) -> None:
        """Search for a value of at least eight bytes, unless it has too few different bytes."""
        self._names.add(name)
        if len(set(value)) < VARIETY or (name, value) in self._added:
            return
        self._added.add((name, value))
        for encoding, part in encodings(value):
            into = self._folded if encoding == "hex" else self._exact
            into.setdefault(part, f"{name} as {encoding}")

    def add_words(self, name: str, words: Sequence[str]) -> None:
        """Search for three consecutive words, whatever separates them and however they are abbreviated.

        Search also for the complete code in the encodings of a value, and as the numbers of its words.
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
        """Search for a passphrase: complete, in upper or lower case, and in the encodings of a value."""
        self._names.add(name)
        self._folded.setdefault(phrase.lower(), f"{name} in the clear")
        self._encoded(name, phrase, BYTES)

    def _encoded(self, name: str, text: bytes, length: int) -> None:
        """Search for the unreadable encodings of a text. Parts of it in the clear may be common words."""
        if len(text) >= BYTES:
            for encoding, part in encodings(text, length):
                if encoding in ("hex", "base64", "base58", "decimal"):
                    (self._folded if encoding == "hex" else self._exact).setdefault(
                        part, f"{name} as {encoding}"
                    )

    def find(self, data: bytes) -> list[str]:
        """Return the names of the secrets in the data, never their values."""
        data = _LONG_ZEROS.sub(bytes(BYTES), data)  # a new database is mostly zeros
        folded = data.lower()
        found = [label for part, label in self._exact.items() if part in data]
        found += [label for part, label in self._folded.items() if part in folded]
        for first, middle, pattern, label in self._runs.values():
            if first in folded and middle in folded and pattern.search(folded):
                found.append(label)
        return sorted(set(found))


def _abbreviated(word: str) -> bytes:
    """Return a pattern of a word and of its abbreviations; a user may enter four letters of each word."""
    head, tail = word[:4], word[4:]
    pattern = "".join(f"(?:{letter}" for letter in tail) + ")?" * len(tail)
    return (head + pattern).encode()
