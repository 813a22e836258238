"""Where the repository is, and the examples of payloads."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[1]
PAYLOADS = ROOT / "tests" / "data" / "payloads"
