"""The watermark passes a moment when all that Kafka had then is committed: of intake, then fed."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from processor.kafka import watermark
from processor.kafka.watermark import MIN_POLL_INTERVAL_SECONDS, Watermark
from processor.settings import KafkaSettings
from schemas.events import EPOCH

NOON = datetime(2026, 11, 2, 12, tzinfo=UTC)
SENDS, MORE_SENDS = TopicPartition("email.sends", 0), TopicPartition("email.sends", 1)
POLICY = TopicPartition("delivery.policy", 0)


class Kafka:
    """A broker as the watermark sees it: ends, starts and what the group has committed."""

    def __init__(self, monkeypatch):
        self.now, self.seconds, self.requests = NOON, 1000.0, 0
        self.ends, self.starts, self.committed = {}, {}, {}
        self.is_away, self.after_ends = False, None
        monkeypatch.setattr(watermark, "monotonic", lambda: self.seconds)
        self.watermark = Watermark(
            KafkaSettings(group="group"),
            {"email.sends": 2},
            {"delivery.policy": 1},
            lambda: self.now,
        )
        self.watermark._consumer = SimpleNamespace(
            end_offsets=self.end_offsets, beginning_offsets=self.beginning_offsets
        )
        self.watermark._admin = SimpleNamespace(list_consumer_group_offsets=self.group_offsets)

    async def end_offsets(self, places):
        self.requests += 1
        if self.is_away:
            raise KafkaError("away")
        ends = {place: self.ends.get(place, 0) for place in places}
        if self.after_ends:
            self.after_ends()
        return ends

    async def beginning_offsets(self, places):
        return {place: self.starts.get(place, 0) for place in places}

    async def group_offsets(self, group):
        assert group == "group"
        self.requests += 1
        return {place: SimpleNamespace(offset=offset) for place, offset in self.committed.items()}

    def refresh(self):
        self.seconds += MIN_POLL_INTERVAL_SECONDS
        return asyncio.run(self.watermark.refresh())


@pytest.fixture
def kafka(monkeypatch):
    return Kafka(monkeypatch)


def test_before_anything_is_known_no_time_has_passed(kafka):
    kafka.ends[SENDS] = 1
    assert kafka.watermark.value == EPOCH
    assert kafka.refresh() == EPOCH


def test_without_any_record_it_is_now(kafka):
    assert kafka.refresh() == NOON
    kafka.now += timedelta(seconds=1)
    assert kafka.refresh() == NOON + timedelta(seconds=1)


@pytest.mark.parametrize("late", [SENDS, MORE_SENDS])
def test_every_record_of_intake_s_topics_has_to_be_committed(kafka, late):
    kafka.ends = {SENDS: 10, MORE_SENDS: 10}
    for committed in ({}, {late: 9}):
        kafka.committed = {SENDS: 10, MORE_SENDS: 10} | committed
        if not committed:
            del kafka.committed[late]
        assert kafka.refresh() == EPOCH
    kafka.committed = {SENDS: 10, MORE_SENDS: 10}
    assert kafka.refresh() == NOON


def test_what_intake_fed_the_policy_until_it_had_committed_has_to_be_committed_too(kafka):
    kafka.ends = {SENDS: 10}
    assert kafka.refresh() == EPOCH
    kafka.committed[SENDS], kafka.ends[POLICY] = 10, 3
    assert kafka.refresh() == EPOCH
    kafka.committed[POLICY] = 2
    assert kafka.refresh() == EPOCH
    kafka.committed[POLICY] = 3
    assert kafka.refresh() == NOON


def test_the_moment_is_that_before_the_ends_were_read(kafka):
    kafka.after_ends = lambda: setattr(kafka, "now", NOON + timedelta(hours=1))
    assert kafka.refresh() == NOON


def test_what_comes_in_while_it_waits_is_of_the_next_moment(kafka):
    kafka.ends = {SENDS: 10}
    assert kafka.refresh() == EPOCH
    kafka.now += timedelta(seconds=5)
    kafka.ends[SENDS], kafka.committed[SENDS] = 20, 10
    assert kafka.refresh() == NOON
    assert kafka.refresh() == NOON
    kafka.committed[SENDS] = 20
    assert kafka.refresh() == NOON + timedelta(seconds=5)


def test_records_that_were_deleted_unread_are_not_waited_for(kafka):
    kafka.ends, kafka.starts = {SENDS: 10}, {SENDS: 10}
    assert kafka.refresh() == NOON
    kafka.starts[SENDS] = 9
    assert kafka.refresh() == NOON
    kafka.now += timedelta(seconds=1)
    assert kafka.refresh() == NOON  # of one record nobody has committed anything


def test_the_broker_is_asked_no_more_often_than_workers_commit(kafka):
    kafka.refresh()
    requests = kafka.requests
    kafka.seconds += MIN_POLL_INTERVAL_SECONDS * 0.9
    asyncio.run(kafka.watermark.refresh())
    assert kafka.requests == requests
    kafka.refresh()
    assert kafka.requests > requests


def test_while_the_broker_is_away_it_stays_and_then_goes_on(kafka):
    assert kafka.refresh() == NOON
    kafka.now += timedelta(seconds=1)
    kafka.is_away = True
    assert kafka.refresh() == NOON
    kafka.is_away = False
    assert kafka.refresh() == NOON + timedelta(seconds=1)
