"""Sections, files, tests and anchors that documents and comments refer to exist; lines stay short."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAX_LINE = 120
OUTSIDE = {".venv", ".venv-bench", ".interop", ".web", "build", "dist", ".git", ".hypothesis"}
SECTION = re.compile(
    r'(?:docs/)?(?:(?P<page>[a-z]+)\.md|decisions/(?P<decision>\d{4})[-a-z]*(?:\.md)?)(?:,\s+)"(?P<section>[^"\n]+)"'
)
DECISION = re.compile(r"docs/decisions/(\d{4})")
LINK = re.compile(r"\[[^\]]*\]\((?P<file>[^)#\s]*)(?:#(?P<anchor>[^)\s]+))?\)")
PATH = re.compile(r"`(?P<path>(?:[a-z_]+/)+[a-z_.-]*[a-z_]+\.(?:py|md|toml|yml|json|service|sh))`")
TEST = re.compile(r"`(?P<file>(?:[a-z_]+/)*test_[a-z_]+\.py)`(?P<names>(?:,? `test_[a-z0-9_…]+`)+)")


def files(*suffixes: str) -> Iterator[Path]:
    for path in sorted(ROOT.rglob("*")):
        parts = path.relative_to(ROOT).parts
        if parts[0] in OUTSIDE or parts[0].endswith(".egg-info") or "__pycache__" in parts:
            continue
        if path.is_file() and path.suffix in suffixes:
            yield path


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def headings(path: Path) -> list[str]:
    text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.DOTALL | re.MULTILINE)
    return [line.lstrip("#").strip() for line in text.splitlines() if re.match(r"#{1,6} ", line)]


def anchor_of(heading: str) -> str:
    """The anchor that a heading gets: lower case, without punctuation, blanks as hyphens."""
    return re.sub(r"[^\w\- ]", "", re.sub(r"[`*]", "", heading).lower()).replace(" ", "-")


def one_line(text: str) -> str:
    """Join what was wrapped, in docstrings, comments and paragraphs, so that a reference is in one piece."""
    return re.sub(r"\s*\n\s*(?:#(?!#) ?)?", " ", text)


DOCUMENTS = list(files(".md"))
SOURCES = list(files(".py", ".md", ".toml", ".yml", ".service"))


def sections_named_in(path: Path) -> Iterator[tuple[Path, str]]:
    for found in SECTION.finditer(one_line(path.read_text())):
        if found["page"] is not None:
            page = ROOT / "docs" / f"{found['page']}.md"
            if not page.exists():
                continue  # another project's page, such as a specification
        else:
            page = next((ROOT / "docs" / "decisions").glob(f"{found['decision']}-*.md"), ROOT / "missing")
        yield page, " ".join(found["section"].split())


def wrong_sections(path: Path) -> list[str]:
    return [
        f'{page.name}, "{section}"'
        for page, section in sections_named_in(path)
        if not page.exists() or section not in headings(page)
    ]


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_sections_that_are_referred_to_exist(path: Path) -> None:
    """A reference such as docs/protocol.md, "Limits" leads to a heading of that page."""
    if path == Path(__file__).resolve():
        return
    assert wrong_sections(path) == []
    for number in DECISION.findall(path.read_text()):
        assert list((ROOT / "docs" / "decisions").glob(f"{number}-*.md")), f"decision {number}"


def test_the_search_for_references_finds_them(tmp_path: Path) -> None:
    """Also where the reference is wrapped; and a section that does not exist is reported."""
    page = tmp_path / "page.py"
    page.write_text(
        '"""See docs/protocol.md,\n    "Which pairing is\n    in use" and docs/protocol.md, "Nowhere"."""\n'
    )
    assert [section for _page, section in sections_named_in(page)] == ["Which pairing is in use", "Nowhere"]
    assert wrong_sections(page) == ['protocol.md, "Nowhere"']


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_links_of_documents_lead_somewhere(path: Path) -> None:
    """Files exist, and so do the headings that anchors name."""
    for link in LINK.finditer(path.read_text()):
        if link["file"].startswith("http"):
            continue
        target = (path.parent / link["file"]).resolve() if link["file"] else path
        assert target.exists(), link.group()
        if link["anchor"] is not None:
            assert link["anchor"] in [anchor_of(heading) for heading in headings(target)], link.group()


@pytest.mark.parametrize("path", [p for p in DOCUMENTS if p.name != "CHANGELOG.md"], ids=name_of)
def test_files_and_tests_that_documents_name_exist(path: Path) -> None:
    """A path in backticks stands below the root, `actors/` or `tests/`; a named test is in its file."""
    text = one_line(path.read_text())
    for found in PATH.finditer(text):
        places = [base / found["path"] for base in (ROOT, ROOT / "actors", ROOT / "tests")]
        assert any(place.exists() for place in places), found["path"]
    for found in TEST.finditer(text):
        places = [ROOT / "tests" / found["file"], ROOT / found["file"]]
        file = next((place for place in places if place.exists()), None)
        assert file is not None, found["file"]
        for name in re.findall(r"`(test_[a-z0-9_…]+)`", found["names"]):
            assert f"def {name.rstrip('…')}" in file.read_text(), f"{found['file']} {name}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_lines_of_documents_are_short(path: Path) -> None:
    """So that differences can be read side by side."""
    long = [number for number, line in enumerate(path.read_text().splitlines(), 1) if len(line) > MAX_LINE]
    assert not long, f"{path.name}: lines {long} are longer than {MAX_LINE} characters"
