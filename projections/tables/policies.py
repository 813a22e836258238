"""The policies in force: of each tenant that has its own, and of all others."""

from __future__ import annotations

from typing import Final

from projections.tables import View
from projections.tables.policy_history import TABLE as HISTORY

VIEW: Final = View(
    name="policies",
    comment="policies for retries and the blacklist now; '*' is every other tenant",
    select=f"""
SELECT * FROM {{database}}.{HISTORY.name}
WHERE since = (SELECT max(since) FROM {{database}}.{HISTORY.name})
""",
)
