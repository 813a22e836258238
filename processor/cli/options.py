"""What options of several commands have in common."""

from __future__ import annotations

from enum import StrEnum

from schemas.errors import ExplainedError


class OptionError(ExplainedError, ValueError):
    """An option has a wrong value or is missing; the text names it and what it takes."""


class ReportFormat(StrEnum):
    """How a report is printed."""

    TABLE = "table"
    JSON = "json"
