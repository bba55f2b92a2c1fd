"""Builds the Debian package: `python deploy/debian/build.py dist` (`make deb`), with the Python of .venv.

The package holds a virtual environment of its own in /usr/lib/spacedrive-node, installed from the lock with
its hashes, and links the Python of the distribution, which has to be of the version that built it. On the
target nothing is compiled or downloaded. Two builds of one source give the same bytes: every time is the
change log's.

Owns what lies where in the package. Never writes outside `build/` and the directory it is given.
"""

import argparse
import compileall
import gzip
import hashlib
import os
import py_compile
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from email.parser import HeaderParser
from email.utils import parsedate_to_datetime
from pathlib import Path

_HERE = Path(__file__).parent
_ROOT = _HERE.parent.parent
_NAME = "spacedrive-node"
_HOME = f"usr/lib/{_NAME}"
_PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"
_SITE = f"{_HOME}/lib/{_PYTHON}/site-packages"
_DOC = f"usr/share/doc/{_NAME}"
_COMPLETIONS = {
    "bash": "usr/share/bash-completion/completions/sdnode",
    "zsh": "usr/share/zsh/vendor-completions/_sdnode",
    "fish": "usr/share/fish/vendor_completions.d/sdnode.fish",
}
_SCRIPT = f"""#!/{_HOME}/bin/python3 -P
import sys

from spacedrive_node.__main__ import main

sys.exit(main())
"""


def _run(*argv: str | Path, **environment: str) -> str:
    return subprocess.run(  # noqa: S603, the arguments are all our own
        [str(one) for one in argv],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    ).stdout


def _pip(*words: str | Path) -> None:
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    _run(*pip, *words, "--no-deps", "--no-build-isolation")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _write_gzip(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode(), 9, mtime=0))


def _make_wheel(source: Path, work: Path) -> Path:
    """Build our own wheel from a copy, in which no former build has left anything."""
    copy, wheels = work / "source", work / "wheels"
    project = tomllib.loads((source / "pyproject.toml").read_text())
    data = project["tool"]["setuptools"]["package-data"]
    for package in project["tool"]["setuptools"]["packages"]:
        directory = source.joinpath(*package.split(".")[1:])
        for pattern in ("*.py", *data.get(package, ())):
            for file in directory.glob(pattern):
                place = copy / file.relative_to(source)
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, place)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(source / name, copy)
    _pip("wheel", "--wheel-dir", wheels, copy)
    (wheel,) = wheels.glob("*.whl")
    return wheel


def _install_environment(source: Path, work: Path, stage: Path) -> None:
    """Lay the virtual environment: what the lock names, ourselves, and a link to the system's Python."""
    into = ("--no-compile", "--ignore-installed", "--prefix", stage / _HOME)
    for lock in (source / "requirements/runtime.txt", source / "requirements/webrtc.txt"):
        if lock.exists():
            _pip("install", *into, "--require-hashes", "-r", lock)
    _pip("install", *into, _make_wheel(source, work))
    for unwanted in ("bin", "share", "include"):  # commands and pages of others
        shutil.rmtree(stage / _HOME / unwanted, ignore_errors=True)
    for record in (stage / _SITE).glob("*.dist-info/RECORD"):
        (record.parent / "direct_url.json").unlink(missing_ok=True)  # names the machine that has built it
        kept = [
            line
            for line in record.read_text().splitlines(keepends=True)
            if not line.startswith("../") and "/direct_url.json," not in line
        ]
        record.write_text("".join(sorted(kept)))
    _write(stage / _HOME / "pyvenv.cfg", "home = /usr/bin\ninclude-system-site-packages = false\n")
    commands = stage / _HOME / "bin"
    commands.mkdir()
    (commands / "python3").symlink_to(f"/usr/bin/{_PYTHON}")
    _write(commands / "sdnode", _SCRIPT)
    (stage / "usr/bin").mkdir(parents=True)
    (stage / "usr/bin/sdnode").symlink_to(f"../lib/{_NAME}/bin/sdnode")


def _install_service(stage: Path) -> None:
    systemd = _ROOT / "deploy/systemd"
    unit = (systemd / f"{_NAME}.service").read_text().replace("/usr/local/bin/sdnode", "/usr/bin/sdnode")
    _write(stage / f"usr/lib/systemd/system/{_NAME}.service", unit)
    _write(stage / f"usr/lib/sysusers.d/{_NAME}.conf", (systemd / f"{_NAME}.sysusers").read_text())
    _write(stage / f"etc/default/{_NAME}", (systemd / f"{_NAME}.environment").read_text())


def _install_for_shells(stage: Path) -> None:
    """Write manual pages and completions, by the program that is packed; a former one may have none."""
    site = stage / _SITE
    own = {"PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"}
    if not (site / "spacedrive_node/cli/completion.py").exists():
        return
    for shell, path in _COMPLETIONS.items():
        _write(stage / path, _run(sys.executable, "-P", "-m", "spacedrive_node", "completion", shell, **own))
    pages = stage / "usr/share/man/man1"
    _run(sys.executable, "-P", "-m", "spacedrive_node.cli.man_pages", pages, **own)
    for page in pages.glob("*.1"):
        _write_gzip(page.with_name(f"{page.name}.gz"), page.read_text())
        page.unlink()


def _install_documents(source: Path, stage: Path) -> None:
    _write(stage / _DOC / "copyright", (_HERE / "copyright").read_text() + _bundled(stage / _SITE))
    _write_gzip(stage / _DOC / "changelog.gz", (_HERE / "changelog").read_text())
    _write_gzip(stage / _DOC / "NEWS.md.gz", (source / "CHANGELOG.md").read_text())
    _write(stage / _DOC / "README.Debian", (_HERE / "README.Debian").read_text())
    for directory in ("firewall", "prometheus"):
        shutil.copytree(_ROOT / "deploy" / directory, stage / _DOC / "examples" / directory)
    overrides = (_HERE / "lintian-overrides").read_text()
    _write(stage / f"usr/share/lintian/overrides/{_NAME}", overrides)


def _bundled(site: Path) -> str:
    """Return what the licences of the packages in it are, by their own metadata."""
    lines = []
    for metadata in sorted(site.glob("*.dist-info/METADATA"), key=lambda path: path.parent.name.lower()):
        head = HeaderParser().parsestr(metadata.read_text())
        classifiers = [
            one.rpartition(" :: ")[2]
            for one in head.get_all("Classifier", [])
            if one.startswith("License :: ") and not one.endswith("OSI Approved")
        ]
        text = (head["License"] or "").strip()
        short = text if "\n" not in text and len(text) < 80 else ""
        licence = head["License-Expression"] or " AND ".join(classifiers) or short or "see its files"
        lines.append(f" {head['Name']} {head['Version']}: {licence}\n")
    return "".join(lines)


def _libc(stage: Path) -> str:
    """Return the oldest version of the C library that has all that the libraries ask for."""
    versions = [
        int(found)
        for library in stage.rglob("*.so*")
        for found in re.findall(rb"GLIBC_2\.(\d+)", library.read_bytes())
    ]
    return f"2.{max(versions)}"


def _compile(stage: Path, date: int) -> None:
    """Write the bytecode, which names its files as they lie on the target."""
    for path in [*stage.rglob("*"), stage]:
        if path.is_symlink():
            continue
        runs = path.is_dir() or (path.parent.name == "bin" and path.parent.parent == stage / _HOME)
        path.chmod(0o755 if runs else 0o644)
        os.utime(path, (date, date))
    compileall.compile_dir(
        stage / _SITE,
        maxlevels=50,
        quiet=2,
        stripdir=str(stage),
        prependdir="/",
        invalidation_mode=py_compile.PycInvalidationMode.TIMESTAMP,
    )
    for path in stage.rglob("__pycache__"):
        path.chmod(0o755)
        for compiled in path.iterdir():
            compiled.chmod(0o644)
            os.utime(compiled, (date, date))


def _write_control(stage: Path, version: str, architecture: str) -> None:
    size = (
        sum(path.lstat().st_size for path in stage.rglob("*") if stat.S_ISREG(path.lstat().st_mode)) // 1024
    )
    major, minor = sys.version_info[:2]
    fields = {
        "VERSION": version,
        "ARCHITECTURE": architecture,
        "SIZE": str(size),
        "PYTHON": f"python3 (>= {major}.{minor}), python3 (<< {major}.{minor + 1})",
        "LIBC": _libc(stage),
    }
    text = (_HERE / "control").read_text()
    control = stage / "DEBIAN"
    _write(control / "control", re.sub(r"@(\w+)@", lambda found: fields[found[1]], text))
    _write(control / "conffiles", f"/etc/default/{_NAME}\n")
    for script in ("postinst", "prerm", "postrm"):
        _write(control / script, (_HERE / script).read_text())
        (control / script).chmod(0o755)
    _write(control / "md5sums", "".join(_checksums(stage)))


def _checksums(stage: Path) -> Iterator[str]:
    for path in sorted(stage.rglob("*")):
        name = path.relative_to(stage)
        if name.parts[0] not in ("DEBIAN", "etc") and path.is_file() and not path.is_symlink():
            yield f"{hashlib.md5(path.read_bytes()).hexdigest()}  {name}\n"  # noqa: S324, the form of dpkg


def _date(changelog: str) -> int:
    (first, *_) = re.findall(r"^ -- .*>  (.*)$", changelog, re.MULTILINE)
    return int(parsedate_to_datetime(first).timestamp())


def build(source: Path, target: Path, version: str | None, compression: str) -> Path:
    """Build the package of a source tree into a directory, and return its path."""
    date = int(os.environ.get("SOURCE_DATE_EPOCH") or _date((_HERE / "changelog").read_text()))
    os.environ["SOURCE_DATE_EPOCH"] = str(date)
    (_ROOT / "build").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="debian-", dir=_ROOT / "build") as work:
        return _build_in(Path(work), source, target, version, compression, date)


def _build_in(
    work: Path, source: Path, target: Path, version: str | None, compression: str, date: int
) -> Path:
    stage = work / "stage"
    stage.mkdir()
    version = version or tomllib.loads((source / "pyproject.toml").read_text())["project"]["version"]
    _install_environment(source, work, stage)
    _install_service(stage)
    _install_for_shells(stage)
    _install_documents(source, stage)
    _compile(stage, date)
    architecture = _run("dpkg", "--print-architecture").strip()
    _write_control(stage, version, architecture)
    target.mkdir(parents=True, exist_ok=True)
    package = target / f"{_NAME}_{version}_{architecture}.deb"
    _run("dpkg-deb", "--root-owner-group", f"-Z{compression}", "--build", stage, package)
    return package


def main() -> None:
    """Read the arguments, and print the path of the package."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("target", type=Path)
    parser.add_argument("--source", type=Path, default=_ROOT, help="another tree whose program is packed")
    parser.add_argument("--version", help="instead of that of pyproject.toml")
    parser.add_argument("--compression", default="xz", help="none is quick")
    arguments = parser.parse_args()
    missing = [program for program in ("dpkg", "dpkg-deb") if shutil.which(program) is None]
    if missing:
        sys.exit(f"{', '.join(missing)} is missing: the package is built on Debian")
    source = arguments.source.absolute()
    package = build(source, arguments.target, arguments.version, arguments.compression)
    sys.stdout.write(f"{package}\n")


if __name__ == "__main__":
    main()
