"""What an adapter raises and yields for what it cannot read; below the adapters and `decode`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from schemas.errors import ExplainedError

if TYPE_CHECKING:
    from pydantic import ValidationError


class UnreadableError(ExplainedError, ValueError):
    """A payload, or one element of it, that cannot become events; its text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectedPart:
    """A part of a payload that gave no event; it becomes a dead letter.

    `element` is its index in a batch payload, from 0, or None for the whole payload; `raw` can be
    decoded again on its own once the cause is mended.
    """

    reason: str
    raw: bytes
    element: int | None = None


def explain_validation(error: ValidationError) -> str:
    """Return one line that names each wrong field and what it takes, without its value."""
    return "; ".join(
        f"{'.'.join(str(step) for step in problem['loc']) or 'payload'}: {problem['msg']}"
        for problem in error.errors(include_input=False, include_url=False)[:5]
    )
