"""The topics that Sendlog declares: what is kept of each, for how long, and whose time it has."""

from __future__ import annotations

import pytest

from processor.kafka.topics import declared_topics
from schemas.providers import adapters

TOPICS = {topic.name: topic.config for topic in declared_topics()}
OURS = {
    "delivery.commands", "delivery.decisions", "delivery.policy", "delivery.policy-state",
    "delivery.retries", "delivery.suppressions", "delivery.dead-letters",
}  # fmt: skip
COMPACTED = {"delivery.policy-state", "delivery.suppressions"}
SMALL = {"delivery.retries", "delivery.suppressions"}


def test_there_is_a_topic_for_mailers_each_provider_and_ourselves():
    feeds = {f"{each.CHANNEL}.events.{each.PROVIDER}" for each in adapters().values()}
    assert set(TOPICS) == {"email.sends", "sms.sends"} | feeds | OURS
    assert {"email.events.ses", "sms.events.twilio"} <= feeds


@pytest.mark.parametrize("name", TOPICS)
def test_a_topic_has_the_settings_that_the_guarantees_rest_on(name):
    config = TOPICS[name]
    expected = {"cleanup.policy": "compact" if name in COMPACTED else "delete"}
    if name in COMPACTED:
        expected["max.compaction.lag.ms"] = str(7 * 24 * 3600 * 1000)
    if name not in COMPACTED:
        expected["retention.ms"] = str(30 * 24 * 3600 * 1000)
    if name not in SMALL:
        expected["max.message.bytes"] = str(16 * 1024 * 1024)
    if name in OURS:
        expected["message.timestamp.type"] = "LogAppendTime"
    if name == "delivery.policy-state":
        expected |= {
            "segment.bytes": str(32 * 1024 * 1024), "segment.ms": str(3600 * 1000),
            "min.cleanable.dirty.ratio": "0.1",
        }  # fmt: skip
    assert config == expected
