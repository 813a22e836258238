"""Where the repository is, and the examples that tests read."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[1]
DATA = ROOT / "tests" / "data"
PAYLOADS = DATA / "payloads"
