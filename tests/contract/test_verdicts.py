"""The class of a bounce: by the rules that are passed, and the same again of what is stored."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from processor.intake.decoder import Decoder
from processor.kafka.topics import feed_topic
from processor.settings import IntakeSettings
from schemas.bounces import BounceRules, default_rules
from schemas.events import milliseconds
from schemas.providers import adapters, normalise, verdict
from schemas.providers._common import (
    EXPLANATION_PREFIX,
)
from tests.chunks import chunk_of
from tests.paths import PAYLOADS

RECORDED_AT = datetime(2025, 6, 1, 12, tzinfo=UTC)
CASES = {
    f"{path.parent.name}/{path.stem}": json.loads(path.read_text("utf-8"))
    for path in sorted(PAYLOADS.glob("*/*.json"))
}
BOUNCES = {
    name: case
    for name, case in CASES.items()
    if any(event["kind"] == "bounce" for event in case["expected"])
}
#: The rules that ship; some that contradict them; and none but what labels say.
RULES = {
    "shipped": default_rules(),
    "contrary": BounceRules.parse(
        'rules_version = 2\n[codes]\n"5.x.x" = "soft"\n"5.1.1" = "block"\n"4.x.x" = "hard"\n'
        '[phrases]\nhard = ["mailbox full", "unable to deliver"]\n',
        default_rules(),
    ),
    "none": BounceRules(version=0),
}

for_bounces = pytest.mark.parametrize("case", BOUNCES.values(), ids=BOUNCES)
for_rules = pytest.mark.parametrize("rules", RULES.values(), ids=RULES)


def stored(case, rules):
    """Return the bounces of a payload as the event store holds them."""
    adapter = adapters()[case["provider"]]
    record = SimpleNamespace(
        topic=feed_topic(adapter.CHANNEL, adapter.PROVIDER), partition=0, offset=0,
        value=case["payload"].encode(), timestamp=milliseconds(RECORDED_AT),
        headers=[(name, text.encode()) for name, text in (case.get("headers") or {}).items()],
    )  # fmt: skip
    batch = Decoder(IntakeSettings(), max_record_bytes=1_000_000, rules=rules)(chunk_of([record]))
    rows = [
        {name: value.decode() if isinstance(value, bytes) else value for name, value in row.items()}
        for row in batch.events.to_pylist()
    ]
    # A column of which a fact says nothing holds its type's zero.
    zeros = {"smtp_code": 0, "classified_by": ""}
    return [
        {name: zeros.get(name, "") if value is None else value for name, value in row.items()}
        for row in rows
        if row["kind"] == "bounce"
    ]


def judged(case, row, rules):
    outcome = verdict(adapters()[case["provider"]], row, rules)
    return outcome.bounce_class, outcome.classified_by or ""


@for_rules
@for_bounces
def test_what_is_stored_of_a_bounce_gives_its_verdict_again(case, rules) -> None:
    rows = stored(case, rules)
    assert rows
    for row in rows:
        assert judged(case, row, rules) == (row["bounce_class"], row["classified_by"])


@for_bounces
def test_other_rules_judge_what_is_stored_as_they_would_have_judged_the_payload(case) -> None:
    before, after = stored(case, RULES["shipped"]), stored(case, RULES["contrary"])
    assert [row["kind"] for row in before] == [row["kind"] for row in after]
    for old, new in zip(before, after, strict=True):
        expected = (new["bounce_class"], new["classified_by"])
        assert judged(case, old, RULES["contrary"]) == expected
        assert old["event_id"] == new["event_id"]


def test_a_deployments_rules_decide_before_those_that_ship() -> None:
    case = CASES["ses/bounce_sns"]
    body, headers = case["payload"].encode(), {}
    (shipped,) = normalise("ses", body, headers, RECORDED_AT)
    (own,) = normalise("ses", body, headers, RECORDED_AT, rules=RULES["contrary"])
    assert shipped.bounce_class != own.bounce_class
    assert shipped.event_id == own.event_id


def test_words_that_explain_a_label_in_general_decide_nothing() -> None:
    bounce = {"label": "SoftBounce", "diagnostic": EXPLANATION_PREFIX + "(ex: user unknown)"}
    outcome = verdict(adapters()["postmark"], bounce)
    assert (outcome.bounce_class, outcome.classified_by) == ("soft", "label")
