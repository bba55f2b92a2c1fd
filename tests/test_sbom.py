"""The bill of materials names what the lock installs, in the form of CycloneDX 1.5."""

import json
import re
import subprocess
import sys
from pathlib import Path

REQUIREMENTS = Path(__file__).parents[1] / "requirements"


def test_every_locked_package_is_in_it_with_its_hashes(tmp_path):
    target = tmp_path / "new" / "sbom.cdx.json"
    subprocess.run([sys.executable, str(REQUIREMENTS / "sbom.py"), str(target)], check=True)
    document = json.loads(target.read_text())
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.5")
    assert document["metadata"]["component"]["name"] == "spacedrive-node"
    lock = (REQUIREMENTS / "runtime.txt").read_text()
    named = {(one["name"], one["version"]) for one in document["components"]}
    assert named == set(re.findall(r"^([\w.-]+)==([\w.+!-]+)", lock, re.MULTILINE))
    references = [one["bom-ref"] for one in document["components"]]
    assert len(set(references)) == len(references) == len(named)
    files = [one for component in document["components"] for one in component["externalReferences"]]
    hashes = [digest["content"] for one in files for digest in one["hashes"]]
    assert sorted(hashes) == sorted(re.findall(r"sha256:([0-9a-f]{64})", lock))
    assert all(component["externalReferences"] for component in document["components"])
