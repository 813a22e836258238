"""Topics are made as declared, and what of an existing one is otherwise has a name."""

from __future__ import annotations

import pytest
from kafka import KafkaConsumer
from kafka.admin import ConfigResource, ConfigResourceType

from processor.kafka import topics
from processor.kafka.producer import sync_producer
from processor.settings import KafkaSettings
from tests.system import empty_topics


@pytest.fixture
def kafka(broker):
    settings = KafkaSettings(bootstrap=broker.bootstrap, replication=1)
    empty_topics(settings)
    return settings


def change(kafka, topic, **config):
    configs = {name.replace("_", "."): value for name, value in config.items()}
    with topics.admin_client(kafka) as admin:
        admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs)])


def test_topics_are_made_as_declared_and_more_is_no_problem(kafka):
    assert topics.config_problems(kafka) == []
    change(kafka, "email.sends", retention_ms="-1")
    change(kafka, "delivery.retries", retention_ms=str(400 * 86_400_000))
    assert topics.config_problems(kafka) == []


@pytest.mark.parametrize(
    ("topic", "setting", "value", "right"),
    [
        ("delivery.commands", "message.timestamp.type", "CreateTime", "LogAppendTime"),
        ("delivery.policy-state", "cleanup.policy", "delete", "compact"),
        ("delivery.policy-state", "max.message.bytes", "1048588", str(16 * 1024 * 1024)),
        ("email.sends", "retention.ms", "86400000", str(30 * 86_400_000)),
    ],
)
def test_a_wrong_setting_is_named_with_the_command_that_mends_it(
    kafka, topic, setting, value, right
):
    name = setting.replace(".", "_")
    change(kafka, topic, **{name: value})
    [problem] = topics.config_problems(kafka)
    assert f"topic {topic} has {setting}={value}, not {right}" in problem
    assert problem.endswith(f"--alter --topic {topic} --add-config {setting}={right}")
    change(kafka, topic, **{name: right})
    assert topics.config_problems(kafka) == []


def test_a_command_has_the_time_of_the_broker(kafka):
    with sync_producer(kafka) as send:
        send._producer.send("delivery.commands", value=b"{}", timestamp_ms=1_000)
    consumer = KafkaConsumer(
        "delivery.commands", bootstrap_servers=kafka.bootstrap, auto_offset_reset="earliest",
        consumer_timeout_ms=30_000,
    )  # fmt: skip
    try:
        assert next(consumer).timestamp > 1_700_000_000_000
    finally:
        consumer.close()
