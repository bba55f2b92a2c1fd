"""The 2048 English words of BIP-39: reads typed words leniently, completes them, corrects mistyped ones.

People type codes, so the form hardly matters and a mistake gets a suggestion (docs/protocol.md, "Code").
Never keeps what it is given. Errors show at most the one wrong word, never other words of the code.
"""

import re
import unicodedata
from typing import Final

from mnemonic import Mnemonic

from ..messages.errors import SpacedriveNodeError

_MNEMONIC = Mnemonic("english")
WORDS: Final[tuple[str, ...]] = tuple(_MNEMONIC.wordlist)
WORD_COUNT: Final = 12
MAX_TEXT_CHARACTERS: Final = 1024
"""Of typed input. Twelve words of eight letters with numbering and separators take 150."""

_WORD_SET = frozenset(WORDS)
_SIGNIFICANT_LETTERS = 4
"""BIP-39 words are distinct in their first four letters."""
_BY_STEM = {word[:_SIGNIFICANT_LETTERS]: word for word in WORDS if len(word) >= _SIGNIFICANT_LETTERS}
_SEPARATORS = re.compile(r"[\W_]+")
_NUMBERING = re.compile(r"^[0-9]{1,2}(?=[^0-9]|$)")
_MAX_SHOWN_CHARACTERS = 24
_MAX_DISTANCE = 3


class CodeError(SpacedriveNodeError, ValueError):
    """The text is not a code; the message is for the person who typed it.

    For a word that is not in the list: `position` counts from 1, `word` is what was typed, and `suggestions`
    are the nearest words of the list, best first. Otherwise None and empty.
    """

    def __init__(
        self,
        message: str,
        *,
        position: int | None = None,
        word: str | None = None,
        suggestions: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message)
        self.position = position
        self.word = word
        self.suggestions = suggestions


def words_of(entropy: bytes) -> tuple[str, ...]:
    """Return the twelve words of 16 bytes (BIP-39, 4-bit checksum). Raises ValueError for another length."""
    if len(entropy) != 16:
        raise ValueError("a code has 16 bytes")
    return tuple(_MNEMONIC.to_mnemonic(entropy).split(" "))


def parse_words(text: str) -> bytes:
    """Return the 16 bytes of twelve words as people write them. Raises CodeError.

    Case, white space, commas, hyphens, line ends and numbering do not matter; four letters of a word suffice.
    """
    if len(text) > MAX_TEXT_CHARACTERS:
        raise CodeError(f"This is too long to be a code: a code has {WORD_COUNT} words.")
    typed = _split(text)
    if not typed:
        raise CodeError(f"No words: a code has {WORD_COUNT} words.")
    words = []
    for position, token in enumerate(typed, start=1):
        word = _resolve(token)
        if word is None:
            raise _wrong_word(position, token, len(typed))
        words.append(word)
    if len(words) != WORD_COUNT:
        raise CodeError(f"{_counted(len(words))}; a code has {WORD_COUNT}.")
    try:
        return bytes(_MNEMONIC.to_entropy(words))
    except ValueError:
        raise CodeError(
            "All twelve are words of the list, but they do not fit together: "
            "one of them is another word than the one shown, or two are in the wrong order."
        ) from None


def complete(prefix: str) -> tuple[str, ...]:
    """Return the words that begin with `prefix`, in order of the list; all words for an empty prefix."""
    start = _fold(prefix).strip()
    return tuple(word for word in WORDS if word.startswith(start))


def suggest(word: str, limit: int = 3) -> tuple[str, ...]:
    """Return at most `limit` words that a mistyped one may have meant, best first; none if none is near."""
    typed = _fold(word).strip()[:_MAX_SHOWN_CHARACTERS]
    if not typed:
        return ()
    ranked = []
    near = min(_MAX_DISTANCE, max(1, len(typed) // 2))
    for candidate in WORDS:
        if len(typed) >= 2 and candidate.startswith(typed):
            distance = 1  # the rest is still missing: as near as one wrong letter
        elif abs(len(candidate) - len(typed)) <= near:
            distance = _distance(typed, candidate)
        else:
            continue
        if distance <= near:
            ranked.append((distance, candidate[0] != typed[0], candidate))
    return tuple(candidate for _, _, candidate in sorted(ranked)[:limit])


def _fold(text: str) -> str:
    """Remove differences of form: case, full-width letters, invisible characters such as soft hyphens."""
    normal = unicodedata.normalize("NFKC", text).casefold()
    return "".join(char for char in normal if unicodedata.category(char) != "Cf")


def _split(text: str) -> list[str]:
    tokens = (_NUMBERING.sub("", token) for token in _SEPARATORS.split(_fold(text)))
    return [token for token in tokens if token]


def _resolve(token: str) -> str | None:
    """Return the word that is meant: `token`, or the only word that begins with it (four letters or more)."""
    if token in _WORD_SET:
        return token
    word = _BY_STEM.get(token[:_SIGNIFICANT_LETTERS])
    return word if word is not None and word.startswith(token) else None


def _wrong_word(position: int, token: str, count: int) -> CodeError:
    nearest = suggest(token)
    shown = token if len(token) <= _MAX_SHOWN_CHARACTERS else token[:_MAX_SHOWN_CHARACTERS] + "…"
    message = f"Word {position}, “{shown}”, is not in the list"
    message += f"; did you mean {_alternatives(nearest)}?" if nearest else "."
    if count != WORD_COUNT:
        message += f" {_counted(count)}; a code has {WORD_COUNT}."
    return CodeError(message, position=position, word=shown, suggestions=nearest)


def _alternatives(words: tuple[str, ...]) -> str:
    quoted = [f"“{word}”" for word in words]
    return " or ".join([", ".join(quoted[:-1]), quoted[-1]] if len(quoted) > 1 else quoted)


def _counted(count: int) -> str:
    return "This is 1 word" if count == 1 else f"These are {count} words"


def _distance(left: str, right: str) -> int:
    """Return the edit distance, where swapping two neighbouring letters counts as one edit.

    The usual table, row by row; a swap looks two rows back.
    """
    before: list[int] = []
    last = list(range(len(right) + 1))
    for row, a in enumerate(left, start=1):
        line = [row]
        for column, b in enumerate(right, start=1):
            cost = min(last[column] + 1, line[-1] + 1, last[column - 1] + (a != b))
            if row > 1 and column > 1 and a == right[column - 2] and left[row - 2] == b:
                cost = min(cost, before[column - 2] + 1)
            line.append(cost)
        before, last = last, line
    return last[-1]
