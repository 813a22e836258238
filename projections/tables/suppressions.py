"""The blacklist now: a reading of its history, so that it can never differ from it."""

from __future__ import annotations

from typing import Final

from projections.tables import View
from projections.tables.suppression_history import TABLE as HISTORY
from schemas.decisions import SUPPRESSION_RULES

#: The strongest first.
_RULES: Final = list(SUPPRESSION_RULES)
_SKIPPED: Final = [name for name, rule in SUPPRESSION_RULES.items() if rule.effect == "skipped"]
#: The last change of each rule decides; of two at one time, an end comes after a beginning.
_CURRENT_REASONS: Final = f"""
    SELECT tenant_id, channel, address, rule AS by_rule, argMax(
        tuple(change, since, until, reason, actor, message_id, cause_event_id),
        tuple(occurred_at, change NOT IN ('added', 'extended'), event_id)
    ) AS line
    FROM {{database}}.{HISTORY.name}
    WHERE change != 'refused'
    GROUP BY tenant_id, channel, address, rule
    HAVING line.1 IN ('added', 'extended') AND (line.3 IS NULL OR line.3 > now64(3))
"""

VIEW: Final = View(
    name="suppressions",
    comment="who is blacklisted now and by the strongest rule why; `rules` are all that hold",
    select=f"""
SELECT tenant_id, channel, address, rules[1] AS rule,
    strongest.2 AS since, strongest.3 AS until, strongest.4 AS reason, strongest.5 AS actor,
    strongest.6 AS message_id, strongest.7 AS cause_event_id,
    if(rule IN {_SKIPPED}, 'skipped', 'invalid') AS effect, rules
FROM (
    SELECT tenant_id, channel, address,
        arraySort(held -> indexOf({_RULES}, held), groupArray(toString(by_rule))) AS rules,
        argMin(line, indexOf({_RULES}, toString(by_rule))) AS strongest
    FROM ({_CURRENT_REASONS})
    GROUP BY tenant_id, channel, address
) AS entry""",
)
