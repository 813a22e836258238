"""The commit frontier: never past a chunk that is not acked, and never for a partition given up."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from contextlib import nullcontext
from types import SimpleNamespace
from weakref import WeakSet

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.consumer import fetcher
from aiokafka.consumer.subscription_state import Assignment
from aiokafka.errors import KafkaError
from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from processor.kafka import patches
from processor.kafka.lag import Undone
from processor.kafka.patches import UNKNOWN_END, PartitionProgress, read_chunk
from processor.kafka.transport import Consumer, GroupLostError, _Delivery, _Thread

TP0, TP1 = TP("email.sends", 0), TP("email.sends", 1)
RECORD = SimpleNamespace(offset=9, timestamp=0, timestamp_type=0)


def consumer(*delivered):
    """A consumer with chunks delivered, that end at these offsets; not connected to anything."""
    made = object.__new__(Consumer)
    made._delivered = defaultdict(deque, {TP0: deque(_Delivery(end + 1) for end in delivered)})
    made._uncommitted, made._committed_offset = {}, defaultdict(lambda: None)
    made._positions, made._first_ends = {}, {}
    made._read_offset, made._unacked_messages = defaultdict(lambda: None), WeakSet()
    made._seeks_begun = made._seeks_done = 0
    return made


def message_of(made, place=-1):
    """The message of a delivered chunk."""
    return made._to_chunk(
        TP0, [SimpleNamespace(offset=0, timestamp=0, timestamp_type=0)],
        made._delivered[TP0][place], 1,
    )  # fmt: skip


def ack(made, offset):
    delivery = next(each for each in made._delivered[TP0] if each.end == offset + 1)
    delivery.is_acked = True


def test_the_frontier_is_the_end_of_the_last_chunk_acked():
    made = consumer(99, 149)
    ack(made, 99)
    assert made._new_offset(TP0) == 100
    assert made._new_offset(TP0) is None
    ack(made, 149)
    assert made._new_offset(TP0) == 150


def test_a_chunk_acked_early_waits_for_those_before_it():
    made = consumer(0, 1, 2)
    ack(made, 2)
    assert made._new_offset(TP0) is None
    ack(made, 0)
    assert made._new_offset(TP0) == 1
    ack(made, 1)
    assert made._new_offset(TP0) == 3


@pytest.mark.parametrize("end", [49, 99])
def test_an_ack_from_before_a_rebalance_moves_nothing_even_if_the_chunk_ends_alike(end):
    made = consumer(99)
    made.app = SimpleNamespace(consumer_generation_id=1)
    old = message_of(made)
    made._forget({TP0})
    made._delivered[TP0].append(_Delivery(end + 1))
    assert made.ack(old)
    assert made._new_offset(TP0) is None
    new = message_of(made)
    assert made.ack(new)
    assert not made.ack(new)
    assert made._new_offset(TP0) == end + 1


def progress(position, reset=None):
    return {TP0: PartitionProgress(position, position, reset)}


def test_offsets_without_records_are_committed_once_all_before_them_is_acked():
    made = consumer(99)
    made._follow(progress(103), {})
    assert list(made._filter_tps_with_pending_acks()) == [TP0]
    assert made._new_offset(TP0) is None
    ack(made, 102)
    assert made._new_offset(TP0) == 103
    made._committed_offset[TP0] = 103
    made._follow(progress(103), {})
    assert made._new_offset(TP0) is None
    made._follow(progress(110), {})
    assert made._new_offset(TP0) == 110


@pytest.mark.parametrize(("position", "offset"), [(0, None), (1, 1)])
def test_of_a_partition_without_any_commit_the_first_offset_is_committed_too(position, offset):
    made = consumer()
    made._follow(progress(position), {})
    assert made._new_offset(TP0) == offset


def test_nothing_behind_what_was_fetched_is_committed_before_that_is_acked():
    made = consumer()
    [delivery] = made._follow(progress(10), {TP0: [RECORD]}).values()
    made._follow(progress(12), {})
    assert made._new_offset(TP0) is None
    delivery.is_acked = True
    assert made._new_offset(TP0) == 12


def test_what_was_there_when_a_partition_was_taken_over_may_have_been_read_before():
    def chunk_at(offset, end):
        record = SimpleNamespace(offset=offset, timestamp=0, timestamp_type=0)
        fetched = {TP0: PartitionProgress(offset + 1, end, None)}
        [delivery] = made._follow(fetched, {TP0: [record]}).values()
        return made._to_chunk(TP0, [record], delivery, end).value

    made = consumer()
    made.app = SimpleNamespace(consumer_generation_id=1)
    made._follow({TP0: PartitionProgress(10, UNKNOWN_END, None)}, {})
    assert [chunk_at(offset, 12).is_repeated for offset in (10, 11, 12)] == [True, True, False]
    assert not chunk_at(15, 20).is_repeated
    made._forget({TP0})
    assert [chunk_at(offset, 20).is_repeated for offset in (15, 20)] == [True, False]
    # What comes into a partition that was empty nobody has read before.
    made._forget({TP0})
    made._follow({TP0: PartitionProgress(0, 0, None)}, {})
    assert not chunk_at(0, 1).is_repeated


def test_a_reset_is_logged_with_what_was_lost_and_counted():
    made = consumer()
    before = REGISTRY.get_sample_value("sendlog_lost_records_total", {"topic": TP0.topic}) or 0
    with capture_logs() as lines:
        made._follow(progress(70, reset=(10, 60)), {})
    [line] = lines
    assert line["event"] == "offset_reset"
    assert (line["topic"], line["partition"], line["lost"]) == ("email.sends", 0, 50)
    after = REGISTRY.get_sample_value("sendlog_lost_records_total", {"topic": TP0.topic})
    assert after - before == 50


def test_after_a_reset_to_an_earlier_offset_all_is_read_and_committed_again():
    made = consumer(99)
    made._committed_offset[TP0], made._read_offset[TP0] = 50, 99
    made._follow(progress(9, reset=(100, 0)), {TP0: [RECORD]})
    assert (made._committed_offset[TP0], made._read_offset[TP0]) == (None, None)
    assert [each.end for each in made._delivered[TP0]] == [9]


@pytest.mark.parametrize("more", [False, True])
def test_a_commit_that_failed_is_due_again(monkeypatch, more):
    answers = [False, True]

    async def commit(self, offsets, _start):
        self._committed_offset.update(offsets)  # as Faust does, whatever the answer
        return answers.pop(0)

    monkeypatch.setattr(Consumer.__mro__[1], "_commit_offsets", commit)
    made = consumer(99, 149)
    ack(made, 99)
    offsets = {TP0: made._new_offset(TP0)}
    assert not asyncio.run(made._commit_offsets(offsets))
    assert made._committed_offset[TP0] is None
    if more:
        ack(made, 149)
    again = made._new_offset(TP0)
    assert again == (150 if more else 100)
    assert asyncio.run(made._commit_offsets({TP0: again}))
    assert made._committed_offset[TP0] == again
    assert made._new_offset(TP0) is None


@pytest.mark.parametrize("coordination_ended", [False, True])
@pytest.mark.parametrize("beats", [False, True])
def test_an_error_of_the_group_is_checked_and_crashes_only_if_nothing_goes_on(
    coordination_ended, beats
):
    checks, joins = [], []

    def check_errors():
        checks.append(1)
        raise KafkaError("the coordinator is away")

    def task(done):
        return SimpleNamespace(done=lambda: done)

    coordinator = SimpleNamespace(
        check_errors=check_errors,
        request_rejoin=lambda: joins.append(1),
        _coordination_task=task(coordination_ended),
        _heartbeat_task=task(not beats),
        _commit_refresh_task=None,
    )
    fetcher = SimpleNamespace(error_future=task(False))
    with pytest.raises(KafkaError) if coordination_ended else nullcontext():
        patches.handle_group_error(
            SimpleNamespace(_coordinator=coordinator, _fetcher=fetcher, _closed=False)
        )
    assert checks == [1]
    assert joins == ([] if coordination_ended or beats else [1])


@pytest.mark.parametrize("stops", [False, True])
def test_a_worker_that_fetches_no_more_ends_unless_it_is_stopping_anyway(stops):
    ended = SimpleNamespace(error_future=SimpleNamespace(done=lambda: True))
    coordinator = SimpleNamespace(check_errors=lambda: None)
    with nullcontext() if stops else pytest.raises(KafkaError, match="start the worker again"):
        patches.handle_group_error(
            SimpleNamespace(_coordinator=coordinator, _fetcher=ended, _closed=stops)
        )


@pytest.mark.parametrize(
    ("broker", "generation", "rejoins", "outside"),
    [
        (1, 7, False, False), (1, 1, False, False), (1, 0, False, True), (1, -1, False, True),
        (1, 7, True, True), (None, -1, True, False),
    ],
)  # fmt: skip
def test_outside_the_group_is_who_is_no_member_while_the_broker_is_there(
    broker, generation, rejoins, outside
):
    coordinator = SimpleNamespace(
        coordinator_id=broker, generation=generation, need_rejoin=lambda _subscription: rejoins
    )
    subscription = SimpleNamespace(subscription=object())
    thread = object.__new__(_Thread)
    thread._consumer = SimpleNamespace(
        _coordinator=coordinator, _subscription=subscription, _closed=False,
        _fetcher=SimpleNamespace(error_future=SimpleNamespace(done=lambda: False)),
    )  # fmt: skip
    coordinator.check_errors = lambda: None
    assert asyncio.run(thread._is_outside_group()) is outside
    thread._consumer = None
    assert not asyncio.run(thread._is_outside_group())


@pytest.mark.parametrize("comes_back", [True, False])
def test_a_worker_that_stays_outside_its_group_ends_with_a_clear_line(monkeypatch, comes_back):
    looks = [True] * 4 + [not comes_back] + [True] * 4
    clock = iter(range(0, 10**6, 60))

    async def is_outside():
        return looks.pop(0)

    monkeypatch.setattr("processor.kafka.transport.monotonic", lambda: next(clock))
    monkeypatch.setattr("processor.kafka.transport.MAX_OUTSIDE_GROUP_SECONDS", 300.0)
    monkeypatch.setattr(Consumer, "should_stop", property(lambda _self: not looks))
    made = consumer()
    made._thread = SimpleNamespace(is_outside_group=is_outside)
    made.sleep = lambda _seconds: asyncio.sleep(0)
    ends = pytest.raises(GroupLostError, match="no member of the consumer group for 300 s")
    with nullcontext() if comes_back else ends:
        asyncio.run(Consumer._watch_group.fun(made))


@pytest.mark.parametrize(("end", "lag"), [(1, 0), (10, 9), (0, 0)])
def test_the_lag_of_a_chunk_is_what_is_behind_it(end, lag):
    made = consumer(0)
    made.app = SimpleNamespace(consumer_generation_id=1)
    record = SimpleNamespace(offset=0, timestamp=0, timestamp_type=0)
    assert made._to_chunk(TP0, [record], made._delivered[TP0][0], end).value.lag == lag


@pytest.mark.parametrize("is_assigned", [True, False])
def test_a_partition_without_a_position_does_not_end_the_worker(monkeypatch, is_assigned):
    async def verify():
        assignment = Assignment({TP0}) if is_assigned else None
        subscriptions = SimpleNamespace(subscription=SimpleNamespace(assignment=assignment))
        consumer = SimpleNamespace(_fetcher=SimpleNamespace(_subscriptions=subscriptions))
        made = object.__new__(_Thread)
        made.time_started = 0.0
        topics = SimpleNamespace(acks_enabled_for=lambda _topic: True)
        made.consumer = SimpleNamespace(app=SimpleNamespace(monitor=object(), topics=topics))
        monkeypatch.setattr(_Thread, "_ensure_consumer", lambda _self: consumer)
        monkeypatch.setattr(_Thread, "_verify_aiokafka_event_path", lambda *_: False)
        made.verify_event_path(10.0, TP0)

    asyncio.run(verify())


@pytest.mark.parametrize("assignment", [None, {TP1}])
def test_a_commit_that_meets_a_rebalance_does_not_end_the_worker(monkeypatch, assignment):
    async def commit():
        client = AIOKafkaConsumer(group_id="sendlog", enable_auto_commit=False)
        client.subscribe(["email.sends"])
        if assignment is not None:
            client._subscription.assign_from_subscribed(assignment)
        made, crashes = object.__new__(_Thread), []
        monkeypatch.setattr(_Thread, "crash", crashes.append)
        made._consumer = client
        return await made._commit({TP0: 100}), crashes

    assert asyncio.run(commit()) == (False, [])


def test_gaps_between_chunks_are_not_tracked():
    assert asyncio.run(consumer()._add_gap(TP0, 1, 10**12)) is None


@pytest.mark.parametrize("size", [1, 7])
@given(order=st.permutations(range(12)), commits=st.sets(st.integers(0, 11), min_size=1))
def test_in_any_order_of_acks_the_frontier_never_passes_a_hole(size, order, commits):
    ends = [size * (n + 1) - 1 for n in range(12)]
    made, done, frontier = consumer(*ends), set(), 0
    for step, chunk in enumerate(order):
        ack(made, ends[chunk])
        done.add(chunk)
        if step in commits:
            moved = made._new_offset(TP0)
            frontier = frontier if moved is None else moved
            whole = next((n for n in range(12) if n not in done), 12)
            assert frontier == size * whole
    last = made._new_offset(TP0)
    assert (frontier if last is None else last) == size * 12


def test_records_are_fetched_of_a_partition_whose_stream_has_enough():
    made = consumer()
    made.app = SimpleNamespace(in_recovery=False)
    made._active_partitions, made._buffered_partitions = {TP0}, set()
    made.on_buffer_full(TP0)
    assert made._get_active_partitions() == {TP0}


@pytest.mark.parametrize(("paused", "delivered"), [({TP0}, [9]), (set(), [])])
def test_what_was_read_of_a_partition_is_delivered_if_it_was_paused_meanwhile(
    monkeypatch, paused, delivered
):
    async def read(self, _timeout):
        self._thread.progress = progress(10)
        record = SimpleNamespace(offset=9, timestamp=0, timestamp_type=0)
        return {TP0: [record]}, {TP("sms.sends", 0)}

    made = reading(monkeypatch, read)
    made._paused_partitions = paused
    assert asyncio.run(offsets(made)) == delivered


def reading(monkeypatch, read):
    """A consumer that reads by `read`, is at offset 5 in the group, and was at 10 itself."""

    async def seek_to_committed(_self):
        await asyncio.sleep(0.01)
        return {TP0: 5}

    monkeypatch.setattr(Consumer, "_wait_next_records", read)
    monkeypatch.setattr(Consumer, "seek_to_committed", seek_to_committed)
    monkeypatch.setattr(Consumer, "should_stop", False)
    made = consumer()
    made.app = SimpleNamespace(
        consumer_generation_id=1, monitor=SimpleNamespace(track_tp_end_offset=lambda *_: None)
    )
    made._paused_partitions, made.flow_active = set(), True
    made._thread = SimpleNamespace(progress=progress(10))
    return made


async def offsets(made):
    return [message.offset async for _, message in made.getmany(1.0)]


def test_where_it_was_before_a_seek_is_not_committed_after_it_as_nothing_is_fetched(monkeypatch):
    async def read(self, _timeout):
        await self.perform_seek()  # a rebalance, with all partitions paused
        return {}, set()

    made = reading(monkeypatch, read)
    made._delivered[TP0].append(_Delivery(10))
    assert asyncio.run(offsets(made)) == []
    assert made._new_offset(TP0) is None


@pytest.mark.parametrize("ahead_seconds", [0.0, 0.005])
@pytest.mark.parametrize(
    "records", [{}, {TP0: [SimpleNamespace(offset=9, timestamp=0, timestamp_type=0)]}]
)
def test_what_was_fetched_before_or_during_a_seek_is_dropped_and_read_again(
    monkeypatch, records, ahead_seconds
):
    seeks = []

    async def read(self, _timeout):
        self._thread.progress = progress(10)
        await asyncio.sleep(0.02 if ahead_seconds else 0.005)
        return records, {TP0}

    async def run():
        seek = asyncio.create_task(made.perform_seek())
        await asyncio.sleep(ahead_seconds)
        read_offsets = await offsets(made)
        await seek
        return read_offsets

    made = reading(monkeypatch, read)
    plain = made.seek_to_committed
    made.seek_to_committed = lambda: seeks.append(1) or plain()
    made._delivered[TP0].append(_Delivery(10))
    assert asyncio.run(run()) == []
    assert made._new_offset(TP0) is None
    assert len(seeks) == (2 if records else 1)


def test_a_fetch_waits_for_records_to_come_together(monkeypatch):
    async def made():
        plain = AIOKafkaConsumer(bootstrap_servers="127.0.0.1:1")
        before = dict(vars(plain))
        monkeypatch.setattr(
            _Thread.__mro__[1], "_create_worker_consumer", lambda _self, _transport: plain
        )
        _Thread._create_worker_consumer(object.__new__(_Thread), None)
        changed = {name for name in before if before[name] != vars(plain)[name]}
        return changed, vars(plain).keys() - before.keys()

    # Names that aiokafka knows, for it has no others to set them by.
    own = {
        "_fetch_max_wait_ms", "_fetch_min_bytes", "_isolation_level", "_max_poll_interval_ms"
    }  # fmt: skip
    assert asyncio.run(made()) == (own, set())


class FakeFetchResult:
    """What aiokafka has fetched of a partition: all that is used of it."""

    def __init__(self, *sizes):
        self._partition_records = iter([SimpleNamespace(value=b"x" * size) for size in sizes])
        self._topic_partition, self.position = TP0, 0

    def check_assignment(self, _tp):
        return True

    def has_more(self):
        return self._partition_records is not None

    def _update_position(self):
        self.position += 1


def test_a_chunk_ends_when_it_has_enough_records_or_bytes_and_what_is_left_comes_next():
    patches.apply()
    assert fetcher.FetchResult.getall is read_chunk
    fetched, mega = FakeFetchResult(*[1 << 20] * 6, 1, 1, 1), 1 << 20
    chunks = []
    while fetched.has_more() and len(chunks) < 9:
        chunks.append([len(each.value) for each in read_chunk(fetched, max_records=4)])
    assert chunks == [[mega] * 4, [mega, mega, 1, 1], [1]]
    assert read_chunk(fetched) == []
    fetched = FakeFetchResult(*[1 << 20] * 6)
    assert [len(read_chunk(fetched)) for _ in range(2)] == [4, 2]
    assert fetched.position == 2


def test_undone_is_the_first_chunk_without_an_ack_or_where_reading_goes_on():
    made = consumer(9, 19)
    made._positions = {TP0: 20, TP1: 7}
    first, second = made._delivered[TP0]
    first.first, second.first = Undone(3, 1.0, 2.0), Undone(10, 3.0, 4.0)
    assert made.undone() == {TP0: Undone(3, 1.0, 2.0), TP1: Undone(7)}
    first.is_acked = True
    assert made.undone()[TP0] == Undone(10, 3.0, 4.0)
    second.is_acked = True
    assert made.undone()[TP0] == Undone(20)
    made._forget([TP0])
    assert made.undone() == {TP1: Undone(7)}
