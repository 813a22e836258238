"""The topics that Sendlog declares: what is kept of each, for how long, and whose time it has."""

from __future__ import annotations

import pytest

from processor.kafka.acls import component_rights
from processor.kafka.topics import declared_topics, mailer_of, sends_channel
from processor.settings import KafkaSettings
from schemas.providers import adapters

TOPICS = {topic.name: topic.config for topic in declared_topics(KafkaSettings())}
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


def test_a_mailer_with_walls_has_topics_of_its_own_kept_as_the_shared_ones():
    own = {
        topic.name: topic.config for topic in declared_topics(KafkaSettings(mailers={"a": ["t"]}))
    }
    names = ("email.sends", "sms.sends", "delivery.retries", "delivery.suppressions")
    assert set(own) - set(TOPICS) == {f"{name}.a" for name in names}
    assert [own[f"{name}.a"] for name in names] == [own[name] for name in names]


def test_the_shared_topics_of_sends_may_be_closed():
    names = {topic.name for topic in declared_topics(KafkaSettings(shared_sends=False))}
    assert set(TOPICS) - names == {"email.sends", "sms.sends"}


@pytest.mark.parametrize(
    ("topic", "channel", "mailer"),
    [
        ("email.sends", "email", ""), ("sms.sends", "sms", ""),
        ("email.sends.shop-1", "email", "shop-1"), ("sms.sends.a_b", "sms", "a_b"),
        ("email.sends.", None, ""), ("email.sends.a.b", None, ""), ("email.sendsa", None, ""),
        ("email.events.ses", None, ""), ("delivery.retries.a", None, ""),
    ],
)  # fmt: skip
def test_a_topic_of_sends_is_known_by_its_name(topic, channel, mailer):
    assert (sends_channel(topic), mailer_of(topic)) == (channel, mailer)


@pytest.mark.parametrize("name", ["", "A", "a.b", "-a", "a b", "a" * 65])
def test_a_mailer_whose_name_no_topic_can_have_is_refused(name):
    with pytest.raises(ValueError, match="pattern"):
        KafkaSettings(mailers={name: ["t"]})


def test_a_mailer_with_walls_has_rights_on_its_own_topics_alone():
    rights = component_rights(KafkaSettings(mailers={"a": ["t"], "b": ["u"]}))
    assert [(right.resource, right.name, right.operations) for right in rights["mailer-a"]] == [
        ("topic", "email.sends.a", ("Write",)), ("topic", "sms.sends.a", ("Write",)),
        ("topic", "delivery.retries.a", ("Read",)),
        ("topic", "delivery.suppressions.a", ("Read",)),
        ("group", "sendlog-mailer-a", ("Read",)),
    ]  # fmt: skip
    assert not any(right.prefixed for name in ("mailer-a", "mailer-b") for right in rights[name])


def test_where_the_shared_topics_are_closed_no_mailer_has_rights_on_them():
    rights = component_rights(KafkaSettings(mailers={"a": ["t"]}, shared_sends=False))
    assert set(rights) == {"worker", "gateway", "api", "operator", "mailer-a"}
