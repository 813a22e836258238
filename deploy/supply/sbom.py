"""`make sbom`: writes what is deployed as a CycloneDX document.

The packages are those of `deploy/requirements.lock`, with their hashes; the jars of the local
stack's Kafka are those of `deploy/local/kafka/jars.sha256`. The same locks give the same bytes.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parents[2]
LOCK = _ROOT / "deploy" / "requirements.lock"
JARS = _ROOT / "deploy" / "local" / "kafka" / "jars.sha256"


def components_of_jars() -> list[dict[str, Any]]:
    """Return a component for each jar."""
    components = []
    for line in JARS.read_text("utf-8").splitlines():
        sha256, coordinates = line.split()
        group, artifact, version = coordinates.split(":")
        purl = f"pkg:maven/{group}/{artifact}@{version}"
        components.append({
            "type": "library", "bom-ref": purl, "group": group, "name": artifact,
            "version": version, "purl": purl, "hashes": [{"alg": "SHA-256", "content": sha256}],
        })  # fmt: skip
    return components


def main(python: str, target: str) -> None:
    """Write the document to a file, with the tool that a `python` has."""
    tool = [python, "-m", "cyclonedx_py", "requirements", str(LOCK), "--output-reproducible"]
    made = subprocess.run(  # noqa: S603 - the tool of the lock
        [*tool, "--pyproject", str(_ROOT / "pyproject.toml")], check=True, stdout=subprocess.PIPE
    )
    document = json.loads(made.stdout)
    document["components"] += components_of_jars()
    Path(target).parent.mkdir(exist_ok=True)
    Path(target).write_text(json.dumps(document, indent=2) + "\n", "utf-8")
    sys.stdout.write(f"{target}: {len(document['components'])} components\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
