"""Why a message has its status, as plain data: the rule, those overruled, and each fact's part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from projections.status import explain, fold_facts, read
from projections.tables import KEY, log_of


def tell(facts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the explanation of one message's facts, at least one, in order of time.

    A fact's role is what it would make of the message alone: "decides" if that is the status it
    has, "lost" if it is another, "" if it says no more than that the message is under way. `row`
    is the message in its log.
    """
    channel = facts[0]["channel"]
    log = log_of(channel)
    state = fold_facts(log, facts)
    verdict = explain(state)
    resting = log.rules[-1].status
    key = {name: facts[0][name] for name in KEY}
    told = []
    for fact in facts:
        alone = ""
        if fact["kind"] in log.kinds:
            alone = explain(fold_facts(log, [fact])).status
        role = ""
        if alone not in ("", resting):
            role = "decides" if alone == verdict.status else "lost"
        given = {name: value for name, value in fact.items() if value not in (None, "", 0, [])}
        told.append({**given, "alone": alone, "role": role})
    return {
        **key,
        "channel": channel,
        "status": verdict.status,
        "status_reason": verdict.reason,
        "rule": verdict.rule,
        "rule_place": verdict.place,
        "overruled": [{"status": status, "rule": rule} for status, rule in verdict.overruled],
        "row": read(log, key, state),
        "facts": told,
    }
