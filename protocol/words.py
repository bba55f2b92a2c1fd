"""The 2048 English words of BIP-39: reads typed words leniently, completes them, corrects mistyped ones.

People type codes, so the form hardly matters and a mistake gets a suggestion (docs/protocol.md, "Code").
Never keeps what it is given. Errors show at most the one wrong word, never other words of the code.
"""

import re
import unicodedata
from typing import Final, NamedTuple

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
_TOKEN = re.compile(r"[^\W_]+")
_NUMBERING = re.compile(r"([0-9]{1,2})(?![0-9])(?:(?:st|nd|rd|th)(?![a-z]))?")
_LETTERING = re.compile(r"(?<![^\W_])(?:[a-z]|[ivx]{1,5})[).:\]](?=\s)")
"""As in `a) word`, `iv. word` or `[x] word`: no word of the list is a single letter or a Roman number."""
_COLOURS = re.compile(r"\x1b\[[0-9;:]*m")
"""Of a terminal, in what was copied from a log."""
_DOTLESS_I = {ord("ı"): "i"}
"""What a Turkish keyboard gives for the letter; `İ` folds to an i with a mark, which is dropped."""
_INVISIBLE_CATEGORIES = frozenset({"Cf", "Mn", "Me"})
"""Soft hyphens and the like, and marks that have not become part of a letter."""
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

    Case, white space, commas, hyphens, bullets and line ends do not matter; four letters of a word suffice.
    The numbers 1 to 12, each beside one word, decide the order; other numbering does not matter.
    """
    if len(text) > MAX_TEXT_CHARACTERS:
        raise CodeError(f"This is too long to be a code: a code has {WORD_COUNT} words.")
    typed = _in_order(_split(text))
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


def count_words(text: str) -> int:
    """Return how many words a text has, whatever stands between them; numbers are none."""
    return len(_split(text))


def are_enough(text: str) -> bool:
    """Return whether a text has twelve words or more, of those with numbers if any has one."""
    typed = _split(text)
    return len([word for word in typed if word.number is not None] or typed) >= WORD_COUNT


def begins_anew(line: str, before: str) -> bool:
    """Return whether a line is a new beginning, and not the continuation of the words `before` it.

    It is with twelve words or more, and where its first word has the number 1, unless every word has that.
    """
    typed, earlier = _split(line), _split(before)
    if not typed or not earlier:
        return True
    return len(typed) >= WORD_COUNT or (typed[0].number == 1 and earlier[-1].number != 1)


def words_before(text: str, position: int) -> str:
    """Return the words before the one that stands at `position`, counted from 1, as they were typed.

    Nothing if the numbers beside the words say that they do not stand in order.
    """
    typed = _split(text)
    if any(word.number not in (None, place) for place, word in enumerate(typed, start=1)):
        return ""
    return " ".join(word.text for word in typed[: position - 1])


class _TypedWord(NamedTuple):
    """A word as it was typed, folded; the number directly before it, and the one directly behind it."""

    text: str
    number: int | None
    number_behind: int | None = None


def _fold(text: str) -> str:
    """Remove differences of form: case, full-width letters and digits, invisible characters.

    Folding the case of one letter may give several (`İ`, `ß`), so the text is normalized again behind it.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    kept = (char for char in folded if unicodedata.category(char) not in _INVISIBLE_CATEGORIES)
    return "".join(_ascii_digit(char) for char in kept).translate(_DOTLESS_I)


def _ascii_digit(char: str) -> str:
    return str(unicodedata.decimal(char)) if char.isdecimal() else char


def _split(text: str) -> list[_TypedWord]:
    """Return the words of a text, each with the numbers that stand beside it."""
    found: list[_TypedWord] = []
    number = None
    folded = _fold(_COLOURS.sub("", text))
    for token in _TOKEN.findall(_LETTERING.sub(" ", folded)):
        numbering = _NUMBERING.match(token)
        if numbering:
            number = int(numbering[1])
            if found:
                found[-1] = found[-1]._replace(number_behind=number)
            token = token[numbering.end() :]
        if token:
            found.append(_TypedWord(token, number))
            number = None
    return found


def _in_order(typed: list[_TypedWord]) -> list[str]:
    """Return the words in the order of the numbers beside them, else as they stand. Raises CodeError."""
    if len(typed) > WORD_COUNT:  # what stands around a numbered list may have been copied with it
        listed = [word for word in typed if word.number is not None and _resolve(word.text) is not None]
        if sorted(word.number or 0 for word in listed) == list(range(1, WORD_COUNT + 1)):
            typed = listed
    if len(typed) == WORD_COUNT:
        numbers = [word.number for word in typed]
        if typed[0].number is None:  # as in `word 1, word 2`
            numbers = [word.number_behind for word in typed]
        given = [number for number in numbers if number is not None]
        if sorted(given) == list(range(1, WORD_COUNT + 1)):
            return [word.text for _, word in sorted(zip(given, typed, strict=True))]
        if len(given) == WORD_COUNT and given != sorted(given):
            raise CodeError(
                f"The numbers beside the words are not 1 to {WORD_COUNT}, each once, so their order is not "
                "certain: enter the words in their order, without numbers."
            )
    return [word.text for word in typed]


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
