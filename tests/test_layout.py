"""The shape of the tree: packages are listed, layers import downwards only, nothing names a machine."""

import ast
import builtins
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
NOT_PACKAGES = {"tests", "docs", "deploy", "clients", "examples", "requirements", "build", "dist"}

# What each part may import of ours. An actor may import none of the other actors.
ALLOWED: dict[str, set[str]] = {
    "messages": {"messages"},
    "protocol": {"messages", "protocol"},
    "supervisor": {"messages", "supervisor"},
    "actors.base": {"messages", "supervisor.channel", "supervisor.process_title"},
    "actors.histogram": {"messages"},
    "actors.netlink": set(),
    "actors.http_server": set(),
    "config.paths": {"config.paths", "messages.errors"},
    "config.control_socket": {"config.control_socket", "config.paths", "messages.errors"},
    "config.running_nodes": {
        "config.running_nodes",
        "config.control_socket",
        "config.paths",
        "messages.errors",
    },
    "config.values": {
        "config.values",
        "config.paths",
        "messages.errors",
        "protocol.errors",
        "protocol.names",
    },
    "config": {"config", "messages", "protocol"},
    "client": {"client", "config", "messages", "protocol"},
}
ACTOR_MAY_IMPORT = {
    "import_stubs",
    "messages",
    "protocol",
    "actors.base",
    "actors.stepping",
    "actors.histogram",
    "actors.netlink",
    "actors.http_server",
    "supervisor.channel",
}


def sources() -> list[Path]:
    found = []
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).parts
        if parts[0] in NOT_PACKAGES or parts[0].startswith("."):
            continue
        found.append(path)
    return found


def module_of(path: Path) -> str:
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    if parts[-1] == "__init__":
        parts.pop()
    return ".".join(parts)


def imports_of(path: Path) -> set[str]:
    """Our own modules that a file imports, without the package's name in front."""
    package = list(path.relative_to(ROOT).parent.parts)
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            if node.level:
                base = package[: len(package) - (node.level - 1)] if node.level > 1 else package
                stem = [*base, *(node.module.split(".") if node.module else [])]
            elif node.module and node.module.split(".")[0] == "spacedrive_node":
                stem = node.module.split(".")[1:]
            else:
                continue
            for alias in node.names:
                dotted = ".".join([*stem, alias.name])
                is_module = (ROOT / Path(*stem, alias.name)).with_suffix(".py").exists() or (
                    ROOT / Path(*stem, alias.name)
                ).is_dir()
                found.add(dotted if is_module else ".".join(stem))
        elif isinstance(node, ast.Import):
            found |= {
                alias.name.partition(".")[2]
                for alias in node.names
                if alias.name.split(".")[0] == "spacedrive_node"
            }
    return found - {""}


def within(module: str, allowed: set[str]) -> bool:
    return any(module == a or module.startswith(a + ".") for a in allowed)


def test_every_package_is_listed() -> None:
    """An unlisted package works in an editable install and is missing from the wheel."""
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    there = {
        ".".join(["spacedrive_node", *path.parent.relative_to(ROOT).parts])
        for path in sources()
        if path.name == "__init__.py"
    }
    assert listed == there


@pytest.mark.parametrize("path", sources(), ids=lambda p: module_of(p) or "root")
def test_layers_import_downwards_only(path: Path) -> None:
    """messages ← protocol, supervisor ← actors ← node; no actor imports another."""
    module = module_of(path)
    shared = (
        "actors.base",
        "actors.stepping",
        "actors.histogram",
        "actors.netlink",
        "actors.http_server",
    )
    if module.startswith("actors.") and module not in shared:
        own = ".".join(module.split(".")[:2])
        allowed = ACTOR_MAY_IMPORT | {own}
    else:
        owner = next((name for name in ALLOWED if within(module, {name})), None)
        if owner is None:
            return
        allowed = ALLOWED[owner]
    wrong = {name for name in imports_of(path) if not within(name, allowed)}
    assert not wrong, f"{module} must not import {sorted(wrong)}"


def test_what_is_installed_does_not_know_its_benchmarks() -> None:
    """They stand beside the product and are not installed with it."""
    for path in sources():
        if path.relative_to(ROOT).parts[0] != "benchmarks":
            assert not any(within(name, {"benchmarks"}) for name in imports_of(path)), path


@pytest.mark.parametrize("path", sources(), ids=lambda p: module_of(p) or "root")
def test_modules_stay_readable(path: Path) -> None:
    """Every module says what it is for, and none grows past 400 lines."""
    text = path.read_text()
    assert ast.get_docstring(ast.parse(text)), f"{path.name} has no docstring"
    assert len(text.splitlines()) <= 400, f"{path.name} has {len(text.splitlines())} lines"


@pytest.mark.parametrize("module", ["spacedrive_node", "spacedrive_node.supervisor.fork_server"])
def test_light_modules_import_nothing_heavy(module: str) -> None:
    """Only the swarm imports libp2p; the package itself and the fork server stay small."""
    heavy = {"libp2p", "rich", "click", "prometheus_client", "segno"}
    code = f"import sys, {module}; print(*sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == []


def test_nothing_names_a_machine_or_a_registry() -> None:
    """Committed files hold no path of a machine and no registry's host."""
    hosts = ["pypi" + ".org", "pythonhosted" + ".org", "npmjs" + ".", "crates" + ".io"]
    places = ["/" + "work/", "/" + "root/", "/" + "home/"]
    for path in ROOT.rglob("*"):
        parts = path.relative_to(ROOT).parts
        if (
            not path.is_file()
            or parts[0] in {".git", ".venv", ".venv-bench", ".interop", ".web", "build"}
            or "__pycache__" in parts
        ):
            continue
        if path.name == "Cargo.lock":
            continue  # cargo writes it and git ignores it, because it names the registry
        if parts[0].endswith(".egg-info") or parts[0] in {".mypy_cache", ".ruff_cache", ".hypothesis"}:
            continue
        text = path.read_bytes().decode("utf-8", "replace")
        assert not [word for word in hosts + places if word in text], path


def test_only_pictures_are_binary() -> None:
    """No archive or program that somebody has left in the tree."""
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, timeout=60, check=True
    )
    paths = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    assert paths
    binary = [
        path for path in paths if path.suffix != ".png" and path.is_file() and b"\0" in path.read_bytes()
    ]
    assert binary == []


def test_every_exception_ends_in_error_and_has_the_one_base() -> None:
    """Programs can catch whatever this project raises with one `except SpacedriveNodeError`."""
    for path in sources():
        if path.relative_to(ROOT).parts[0] == "benchmarks":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.ClassDef):
                continue
            bases = [ast.unparse(base) for base in node.bases]
            if any(base.endswith(("Error", "Exception")) for base in bases):
                ours = bases[0] in ("SpacedriveNodeError", "Exception") or bases[0] not in vars(builtins)
                assert node.name.endswith("Error"), f"{path.name}: {node.name}"
                assert ours, f"{path.name}: {node.name} derives from {bases}"
                if bases[0] == "Exception":
                    assert node.name == "SpacedriveNodeError", f"{path.name}: {node.name}"


def test_no_area_of_tests_has_the_name_of_a_standard_module() -> None:
    """Pytest imports areas as top-level packages: one named `secrets` took the place of the library's."""
    areas = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir()}
    assert not areas & sys.stdlib_module_names
