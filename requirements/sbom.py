"""Writes what a node consists of, as CycloneDX JSON: `python requirements/sbom.py dist/sbom.cdx.json`.

From the lock (runtime.txt) alone, so that it is the same on every machine. Hashes are those of all files that
the lock allows. Never asks a registry.
"""

import json
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent
_PIN = re.compile(r"^([a-z0-9][a-z0-9._-]*)==([^ ;\\]+)")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


def locked_components(lock: str) -> list[dict[str, Any]]:
    """Return the components that a lock names, each with its hashes."""
    found: list[dict[str, Any]] = []
    for entry in lock.replace("\\\n", " ").splitlines():
        if pin := _PIN.match(entry):
            name, version = pin.groups()
            purl = f"pkg:pypi/{name}@{version}"
            files = [
                {"type": "distribution", "url": purl, "hashes": [{"alg": "SHA-256", "content": digest}]}
                for digest in _HASH.findall(entry)
            ]
            one = {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}
            found.append({**one, "externalReferences": files})
    return found


def bill_of_materials(lock: str, project: dict[str, Any]) -> dict[str, Any]:
    """Return the document."""
    name, version = project["name"], project["version"]
    purl = f"pkg:pypi/{name}@{version}"
    root = {"type": "application", "bom-ref": purl, "name": name, "version": version, "purl": purl}
    licences = [{"license": {"id": project["license"]}}]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {**root, "licenses": licences}},
        "components": locked_components(lock),
    }


def main(target: Path) -> None:
    """Write the document."""
    project = tomllib.loads((_HERE.parent / "pyproject.toml").read_text())["project"]
    document = bill_of_materials((_HERE / "runtime.txt").read_text(), project)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
