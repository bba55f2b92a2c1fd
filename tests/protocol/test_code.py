"""The code: what people may type, what they are told, and the QR text."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spacedrive_node.cli.views import plain_lines
from spacedrive_node.messages.types import PeerAddresses
from spacedrive_node.protocol import code, peer_ids
from spacedrive_node.protocol.code import CodeError

RELAXED = settings(deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
"""A loaded machine is no failure, and nothing is written beside the tests."""

ENTROPY = bytes.fromhex("9e885d952ad362caeb4efe34a8e91bd2")
PHRASE = "ozone drill grab fiber curtain grace pudding thank cruise elder eight picnic"
PEER = peer_ids.peer_id_of(bytes(range(32)))

FORMS = {
    "as shown": PHRASE,
    "upper case": PHRASE.upper(),
    "capitals": PHRASE.title(),
    "commas": PHRASE.replace(" ", ", "),
    "commas without spaces": PHRASE.replace(" ", ","),
    "hyphens": PHRASE.replace(" ", "-"),
    "long dashes": PHRASE.replace(" ", " – "),
    "lines": PHRASE.replace(" ", "\r\n"),
    "tabs and no-break spaces": PHRASE.replace(" ", "\t\u00a0"),
    "white space around": f"\n  {PHRASE} \n",
    "numbered with dots": " ".join(f"{n}. {word}" for n, word in enumerate(PHRASE.split(), 1)),
    "numbered with brackets": "\n".join(f"{n}) {word}" for n, word in enumerate(PHRASE.split(), 1)),
    "numbered tightly": " ".join(f"{n}.{word}" for n, word in enumerate(PHRASE.split(), 1)),
    "numbered in a table": "\n".join(f"| {n} | {word} |" for n, word in enumerate(PHRASE.split(), 1)),
    "numbers touching": " ".join(f"{n}{word}" for n, word in enumerate(PHRASE.split(), 1)),
    "quotes and full stop": f"“{PHRASE}”.",
    "four letters": " ".join(word[:4] for word in PHRASE.split()),
    "five letters": " ".join(word[:5] for word in PHRASE.split()),
    "full-width letters": "".join(chr(ord(c) + 0xFEE0) if c != " " else "\u3000" for c in PHRASE),
    "soft hyphens": PHRASE.replace("pudding", "pud\u00adding"),
    "numbered with colons and tabs": "\n".join(f"{n}:\t{word}" for n, word in enumerate(PHRASE.split(), 1)),
    "two numbered lines of six": " ".join(f"{n}. {word}" for n, word in enumerate(PHRASE.split(), 1)).replace(
        " 7.", "\n7."
    ),
    "dashes": "\n".join(f"- {word}" for word in PHRASE.split()),
    "bullets": "\n".join(f"\t• {word}" for word in PHRASE.split()),
    "every number 1": "\n".join(f"1. {word}" for word in PHRASE.split()),
    "numbers behind": ", ".join(f"{word} {n}" for n, word in enumerate(PHRASE.split(), 1)),
    "numbers in circles": " ".join(f"{chr(0x245F + n)} {word}" for n, word in enumerate(PHRASE.split(), 1)),
    "keycap numbers": " ".join(
        "".join(f"{digit}\ufe0f\u20e3" for digit in str(n)) + word for n, word in enumerate(PHRASE.split(), 1)
    ),
    "Arabic digits": " ".join(
        "".join(chr(0x660 + int(digit)) for digit in str(n)) + f". {word}"
        for n, word in enumerate(PHRASE.split(), 1)
    ),
    "Turkish capitals": PHRASE.replace("i", "İ").upper(),
    "Turkish small letters": PHRASE.replace("i", "ı"),
    "ligatures": PHRASE.replace("fi", "ﬁ"),
    "byte-order mark": "\ufeff" + PHRASE,
    "all that pair shows": "\n".join(plain_lines({"event": "code", "words": PHRASE, "expires_in": 300.0})),
}


def failure(text: str) -> CodeError:
    with pytest.raises(CodeError) as caught:
        code.parse_code(text)
    return caught.value


@pytest.mark.parametrize("form", FORMS)
def test_forgiving_forms(form):
    """However the words are written down, they are the same code."""
    assert code.parse_words(FORMS[form]) == ENTROPY


def ordinal(number):
    """`1st` and so on."""
    return f"{number}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(number, 'th') }"


FULL_WIDTH = {ord("0") + digit: 0xFF10 + digit for digit in range(10)}
ROMAN = ["i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x", "xi", "xii"]


@pytest.mark.parametrize(
    "lines",
    [
        [f"{ordinal(n)} {word}" for n, word in enumerate(PHRASE.split(), 1)],
        [f"{chr(96 + n)}) {word}" for n, word in enumerate(PHRASE.split(), 1)],
        [f"({chr(64 + n)}) {word}" for n, word in enumerate(PHRASE.split(), 1)],
        [f"{ROMAN[n]}. {word}" for n, word in enumerate(PHRASE.split())],
        [f"{chr(0x2160 + n)}. {word}" for n, word in enumerate(PHRASE.split())],
        [f"- [x] {word}" for word in PHRASE.split()],
        [f"> {n}. **{word}**" for n, word in enumerate(PHRASE.split(), 1)],
        [f"\x1b[1;32m{word}\x1b[0m" for word in PHRASE.split()],
        [f"{n}．\u00a0{word}".translate(FULL_WIDTH) for n, word in enumerate(PHRASE.split(), 1)],
    ],
    ids=["ordinals", "letters", "capitals", "Roman", "Roman signs", "check boxes", "quoted bold", "colours",
         "full width"],
)  # fmt: skip
def test_lists_of_every_kind(lines):
    """With Unix and Windows line ends, and on one line."""
    for end in ("\n", "\r\n", " "):
        assert code.parse_words(end.join(lines)) == ENTROPY


def test_a_word_that_looks_like_numbering_is_still_named():
    """Two letters are no numbering, and a full stop behind a word is none either."""
    assert failure(PHRASE.replace("pudding", "pu.")).word == "pu"
    assert code.parse_words(PHRASE.replace(" ", ". ") + ".") == ENTROPY


@pytest.mark.parametrize("columns", [2, 3, 4, 6])
@pytest.mark.parametrize("form", ["{0}. {1}", "{0} {1}", "{0}{1}", "{1} {0}"])
def test_numbers_decide_the_order(columns, form):
    """1 to 12, each beside one word: a table that was filled column by column and is read row by row."""
    cells = [form.format(number, word) for number, word in enumerate(PHRASE.split(), 1)]
    rows = 12 // columns
    text = "\n".join("   ".join(cells[row::rows]) for row in range(rows))
    assert code.parse_words(text) == ENTROPY


def test_the_place_of_a_wrong_word_is_its_number():
    """In a table that is read row by row as well."""
    cells = [f"{n} {word}" for n, word in enumerate(PHRASE.replace("pudding", "xyzzy").split(), 1)]
    error = failure("\n".join("  ".join(cells[row::4]) for row in range(4)))
    assert (error.position, error.word) == (7, "xyzzy")


@pytest.mark.parametrize("numbers", [[1, 5, 9] * 4, [2, 1, *range(3, 12), 11], [*range(12, 2, -1), 1, 1]])
def test_numbers_that_contradict_are_refused(numbers):
    """They are not 1 to 12, each once, and do not rise either: which order is meant is not guessed."""
    text = " ".join(f"{n}. {word}" for n, word in zip(numbers, PHRASE.split(), strict=True))
    assert "order" in str(failure(text))


@pytest.mark.parametrize("letters", ["İ", "ß", "ŉ", "ǰ", "ΐ", "ﬃ", "a\u030b", "ẖ"])
def test_letters_that_fold_to_several_are_one_word(letters):
    """The position of a wrong word, and how many there are, do not depend on how many letters there are."""
    error = failure(PHRASE.replace("grab", f"x{letters}xq").replace("picnic", ""))
    assert error.position == 3
    assert "These are 11 words" in str(error)


def test_generated_and_typed_code_give_the_same_keys():
    """Both sides derive from the 16 bytes and never from the text."""
    assert code.derive(code.parse_words(FORMS["four letters"])) == code.derive(ENTROPY)


@RELAXED
@given(st.binary(min_size=16, max_size=16))
def test_words_round_trip(entropy):
    """Every code can be said in words and typed back, in full and in four letters each."""
    words = code.words_of(entropy)
    assert len(words) == 12
    assert code.parse_words(" ".join(words)) == entropy
    assert code.parse_words("-".join(word[:4] for word in words)) == entropy


@RELAXED
@given(st.text(max_size=200))
def test_any_text_is_a_code_or_a_code_error(text):
    """Nothing that can be typed or pasted raises anything else."""
    for prefix in ("", "spacedrive:pair?v=2&w=", "spacedrive:"):
        with pytest.raises(CodeError):
            code.parse_code(prefix + text)


def test_an_exact_word_beats_a_prefix():
    """`act` is a word and the start of `action`; four letters of it are `acti`."""
    assert code.complete("act")[0] == "act"
    words = code.words_of(bytes(16))
    assert words[0] == "abandon"
    resolved = [code.parse_words(" ".join(["abandon"] * 11 + [last])) for last in ("about", "abou")]
    assert resolved == [bytes(16)] * 2


def test_every_word_is_read_as_itself():
    """No word is taken for another, neither in full nor by its first four letters."""
    for index, word in enumerate(code.WORDS):
        entropy = (index << 117).to_bytes(16, "big")
        first, *rest = code.words_of(entropy)
        assert first == word
        assert code.parse_words(" ".join([word, *rest])) == entropy
        assert code.parse_words(" ".join([word[:4], *rest])) == entropy


@pytest.mark.parametrize(
    ("typo", "meant"),
    [
        ("pudidng", "pudding"),
        ("puding", "pudding"),
        ("puddding", "pudding"),
        ("budding", "pudding"),
        ("pu", "public"),
        ("púdding", "pudding"),
        ("pudd1ng", "pudding"),
        ("puddingx", "pudding"),
    ],
)
def test_a_wrong_word_is_named_with_its_neighbours(typo, meant):
    """The message tells where, what, and what was probably meant; it shows no other word of the code."""
    error = failure(PHRASE.replace("pudding", typo))
    assert error.position == 7
    assert error.word == typo
    assert meant in error.suggestions
    assert 1 <= len(error.suggestions) <= 3
    assert f"Word 7, “{typo}”" in str(error)
    assert meant in str(error)
    others = set(PHRASE.split()) - {"pudding"} - set(error.suggestions)
    assert not any(word in str(error) for word in others)


def test_a_word_like_no_other_has_no_neighbours():
    """Nothing is suggested rather than something far off."""
    error = failure(PHRASE.replace("pudding", "xqzxqzxqz"))
    assert error.suggestions == ()
    assert "did you mean" not in str(error)


def test_a_very_long_word_is_shown_shortened():
    """A pasted key does not come back in full."""
    error = failure("k" * 500)
    assert error.word == "k" * 24 + "…"
    assert len(str(error)) < 200


@pytest.mark.parametrize(
    ("count", "said"), [(1, "1 word;"), (2, "2 words"), (11, "11 words"), (13, "13 words")]
)
def test_a_wrong_count_says_how_many(count, said):
    """Words that are all good but not twelve."""
    error = failure(" ".join((PHRASE.split() * 2)[:count]))
    assert said in str(error)
    assert "12" in str(error)
    assert error.position is None


@pytest.mark.parametrize("text", ["", "  \n", "1. 2. 3.", "-,-"])
def test_no_words(text):
    """Nothing typed is said to be nothing."""
    assert "No words" in str(failure(text))


def test_a_wrong_checksum_is_explained():
    """Two words swapped: all are in the list, so it says that they do not fit together, and quotes none."""
    words = PHRASE.split()
    words[0], words[1] = words[1], words[0]
    error = failure(" ".join(words))
    assert "do not fit together" in str(error)
    assert not any(word in str(error).split() for word in words)


def test_too_long_input_is_refused_unread():
    """The bound comes before any work."""
    assert "too long" in str(failure(PHRASE + " " * 2000 + "x"))
    assert "too long" in str(failure("spacedrive:pair?v=2&w=" + "a" * 5000))


def test_complete():
    """Completion is by prefix, in order, and forgiving about case."""
    assert code.complete("ZO") == ("zone", "zoo")
    assert code.complete("zebra") == ("zebra",)
    assert code.complete("xx") == ()
    assert len(code.complete("")) == len(code.WORDS) == 2048


def test_keys_are_all_different_and_hidden():
    """The DHT key, the mDNS name and the secrets are independent, and repr shows none of them."""
    derived = code.derive(ENTROPY)
    values = {derived.route_key, derived.auth_key, derived.provider_key[2:], ENTROPY}
    assert len(values) == 4
    assert len(derived.provider_key) == 34
    assert derived.provider_key[:2] == b"\x12\x20"
    assert len(derived.mdns_instance) == 16
    assert repr(derived) == "<CodeKeys>"


def test_code_id_depends_on_both_peers_and_their_roles():
    """A decoy that was asked cannot use it towards another peer, nor with roles exchanged."""
    route_key = code.derive(ENTROPY).route_key
    other = peer_ids.peer_id_of(bytes(32))
    third = peer_ids.peer_id_of(b"\x01" * 32)
    ids = {code.code_id(route_key, a, b) for a in (PEER, other, third) for b in (PEER, other, third)}
    assert len(ids) == 9
    assert all(len(identifier) == 16 for identifier in ids)


# --- the QR text --------------------------------------------------------------------------------


HYPHENATED = PHRASE.replace(" ", "-")
PEER_TEXT = peer_ids.peer_id_text(PEER)


def qr(*, v="2", w=HYPHENATED, p=PEER_TEXT, a=(), extra="") -> str:
    return f"spacedrive:pair?v={v}&w={w}&p={p}" + "".join(f"&a={address}" for address in a) + extra


@RELAXED
@given(st.lists(st.from_regex(r"\A/[!-~]{1,60}\Z"), max_size=8, unique=True))
def test_qr_round_trip(addresses):
    """Whatever an address contains, percent-encoding brings it back."""
    suffix = "/p2p/" + peer_ids.peer_id_text(PEER)
    kept = [address for address in addresses if not address.endswith(suffix)]
    text = code.qr_payload(ENTROPY, PEER, kept)
    assert text.isascii()
    assert " " not in text
    assert code.parse_code(f" {text}\n") == (ENTROPY, (PeerAddresses(PEER, tuple(kept)),))


def test_qr_writes_at_most_eight_addresses():
    """More would make a picture that a camera cannot read."""
    _, hints = code.parse_code(code.qr_payload(ENTROPY, PEER, [f"/ip4/192.0.2.{n}/tcp/1" for n in range(20)]))
    assert len(hints[0].addresses) == 8


def test_qr_scheme_is_read_in_any_case_and_unknown_parameters_are_ignored():
    """Some scanners change the case of a scheme; later writers may add parameters."""
    text = qr(extra="&z=1&z").replace("spacedrive:pair", "SPACEDRIVE:PAIR")
    assert code.parse_code(text)[0] == ENTROPY
    assert code.parse_code(qr().upper()) == (ENTROPY, ())  # the peer id is not readable any more


@pytest.mark.parametrize(
    "form",
    [
        "\ufeff{}",
        "<{}>",
        '"{}"',
        "'{}'",
        "“{}”",
        "„{}“",
        "«{}»",
        "({})",
        "[{}]",
        "`{}`",
        " \ufeff<{}>;\n",
        "Scan this: {}",
        "[pair]({})",
        "> {}",
        "My code\n{}",
    ],
)
def test_what_stands_around_a_qr_text_does_not_matter(form):
    """Neither the words nor the hints."""
    text = code.qr_payload(ENTROPY, PEER, ["/ip4/192.0.2.7/tcp/7520"])
    assert code.parse_code(form.format(text)) == code.parse_code(text)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("&", "&amp;"),
        lambda text: text.replace("&", "\\&").replace("?", "\\?").replace("=", "\\="),
        lambda text: text[:40] + "\r\n" + text[40:90] + "\n  " + text[90:],
        lambda text: "> " + text[:40] + "\n> " + text[40:90] + "\r\n>> " + text[90:],
        lambda text: text[:20] + "\u200b" + text[20:60] + "\u00ad" + text[60:],
    ],
    ids=["HTML", "escaped for a shell", "wrapped", "quoted mail", "invisible"],
)
def test_what_has_been_put_into_a_qr_text_does_not_matter(change):
    """A web page, a shell, a terminal of 40 columns."""
    text = code.qr_payload(ENTROPY, PEER, ["/ip4/192.0.2.7/tcp/7520"])
    assert code.parse_code(change(text)) == code.parse_code(text)


@pytest.mark.parametrize("end", ["spacedrive:", "pair", "?", "v=2"])
def test_a_qr_text_that_a_shell_has_cut(end):
    """It says what has happened."""
    text = qr()
    assert "shell cuts it at the first &" in str(failure(text[: text.index(end) + len(end)]))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (qr(v="1"), "another version"),
        (qr(v="3"), "another version"),
        (qr(extra="&v=2"), "another version"),
        ("spacedrive:pair?w=" + HYPHENATED, "another version"),
        (qr(extra="&w=zoo"), "one pairing code"),
        ("spacedrive:pair?v=2", "one pairing code"),
        (qr(w=PHRASE.replace(" ", "-").replace("ozone", "ozoone")), "Word 1"),
        (qr(extra="&x" * 100), "too many"),
        ("spacedrive:library?v=2", "not one for pairing"),
    ],
)
def test_bad_qr_texts_are_refused_with_a_reason(text, said):
    """Each says what is wrong with it."""
    assert said in str(failure(text))


@pytest.mark.parametrize(
    ("text", "addresses"),
    [
        (qr(p=""), None),
        (qr(p="12D3KooWnotapeer"), None),
        (qr(extra="&p=" + peer_ids.peer_id_text(PEER)), None),
        (qr(a=["192.0.2.1:7520"]), ()),
        (qr(a=["/ip4/192.0.2.1%0Atcp/1"]), ()),
        (qr(a=["/%FF%FE"]), ()),
        (qr(a=["/ip4/192.0.2.1/tcp/1" + "x" * 300]), ()),
        (qr(a=["/ip4/192.0.2.1/tcp/1"] * 3), ("/ip4/192.0.2.1/tcp/1",)),
        (
            qr(a=["/ip4/192.0.2.1/tcp/1/p2p/" + peer_ids.peer_id_text(PEER)]),
            ("/ip4/192.0.2.1/tcp/1",),
        ),
        (
            qr(a=[f"/ip4/192.0.2.{n}/tcp/1" for n in range(40)]),
            tuple(f"/ip4/192.0.2.{n}/tcp/1" for n in range(32)),
        ),
    ],
)
def test_bad_hints_are_left_out(text, addresses):
    """A hint is never needed: the words count even if nothing else can be read."""
    entropy, hints = code.parse_code(text)
    assert entropy == ENTROPY
    assert hints == (() if addresses is None else (PeerAddresses(PEER, addresses),))
