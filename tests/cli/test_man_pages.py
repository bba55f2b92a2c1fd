"""Manual pages: one for each command, with all of its options, and no fault that a formatter finds."""

import shutil
import subprocess

import pytest

from spacedrive_node.cli import exit_codes, run
from spacedrive_node.cli.main import COMMANDS
from spacedrive_node.cli.man_pages import _EXIT_CODES, pages, write_pages

FORMATTERS = {
    "mandoc": ["mandoc", "-T", "lint", "-W", "warning"],
    "man": ["man", "--warnings=w", "-Tutf8", "-l"],
}


@pytest.fixture
def written(tmp_path):
    write_pages(tmp_path)
    return sorted(tmp_path.iterdir())


def test_every_command_has_a_page(written):
    """Also those of groups; and every option of a command is on its page."""
    expected = {"sdnode.1", *(f"sdnode-{name}.1" for name in COMMANDS)}
    expected |= {f"sdnode-devices-{name}.1" for name in ("list", "rename", "forget")}
    assert {path.name for path in written} == expected


@pytest.mark.parametrize("name", COMMANDS)
def test_a_page_has_what_the_help_has(name, capfd):
    """Every option that --help shows, and the exit codes that it names."""
    assert run([name, "--help"]) == 0
    shown = capfd.readouterr().out
    page = pages()[f"sdnode-{name}.1"].replace("\\-", "-")
    options = [word for word in shown.split() if word.startswith("--")]
    assert options
    for option in options:
        assert option.strip(",.()[]`:;") in page, option
    assert (".SH EXIT STATUS" in page) == ("Exit codes:" in shown)


def test_the_exit_codes_are_all_there():
    known = {
        str(value) for name, value in vars(exit_codes).items() if name.isupper() and isinstance(value, int)
    }
    assert set(_EXIT_CODES) == known


@pytest.mark.parametrize("formatter", FORMATTERS)
def test_formatters_find_nothing(written, formatter):
    if shutil.which(formatter) is None:
        pytest.skip(f"{formatter} is not installed")
    for path in [written] if formatter == "mandoc" else [[page] for page in written]:
        done = subprocess.run(
            [*FORMATTERS[formatter], *map(str, path)], capture_output=True, text=True, timeout=60, check=False
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
        if formatter == "mandoc":
            assert done.stdout == ""


def test_no_character_is_lost(tmp_path):
    """What is not ASCII, and what roff would read as a request, comes out as it is."""
    from spacedrive_node.cli.man_pages import _escaped

    assert _escaped(".x \\ …") == "\\&.x \\e \\[u2026]"
    if shutil.which("mandoc"):
        page = tmp_path / "x.1"
        page.write_text(f".TH X 1\n.SH NAME\n{_escaped('.x a-b … end')}\n")
        done = subprocess.run(
            ["mandoc", "-T", "utf8", page], capture_output=True, text=True, timeout=60, check=True
        )
        assert ".x a-b … end" in done.stdout
