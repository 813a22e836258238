"""What the API does without a database: cursors, keys, rate limits, exports, row models."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from projections.queries import api_keys
from projections.queries.export import BrokenExportError, open_export
from projections.queries.listing import Filter
from projections.queries.search import SEARCHED_COLUMNS
from projections.status import fold_message, read_row
from projections.tables import KEY, log_of
from projections.web.cursor import _digest, decode_cursor, encode_cursor
from projections.web.log_query import check_filters
from projections.web.problems import ProblemError
from projections.web.rate_limit import RateLimiter
from projections.web.row_models import COLUMN_MEANINGS, EmailRow, SmsRow, json_row

ITEMS = st.one_of(st.none(), st.text(), st.integers(-(2**63), 2**63))


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@given(st.lists(ITEMS, max_size=6), st.text())
def test_a_cursor_comes_back_to_its_question_as_it_was(place, question):
    cursor = encode_cursor(question, place)
    assert cursor.replace("-", "").replace("_", "").isalnum()
    assert decode_cursor(question, cursor, [str | int | None] * len(place)) == place
    with pytest.raises(ProblemError) as refused:
        decode_cursor(question + "x", cursor, [str | int | None] * len(place))
    assert refused.value.errors[0].parameter == "cursor"


@pytest.mark.parametrize(
    "cursor",
    ["", "A", "!", "é", "AAAA", "x" * 4000, base64.urlsafe_b64encode(b"12345678[" * 900).decode()],
)
def test_what_is_no_cursor_is_refused(cursor):
    with pytest.raises(ProblemError):
        decode_cursor("question", cursor, [str])


def test_a_cursor_with_half_a_character_is_refused():
    content = rb'["\ud800"]'
    forged = base64.urlsafe_b64encode(_digest("question", content) + content).decode()
    with pytest.raises(ProblemError):
        decode_cursor("question", forged.rstrip("="), [str])


@pytest.mark.parametrize("place", [[], ["a", 1], [1], [None], {"a": 1}, "a", ["a"] * 2])
def test_a_cursor_of_another_shape_is_refused(place):
    with pytest.raises(ProblemError):
        decode_cursor("question", encode_cursor("question", place), [str])


def test_a_key_is_random_and_only_its_hash_is_kept():
    made = [api_keys.new_key("x", ["b", "a", "a"], ["admin", "read"]) for _ in range(50)]
    assert len({secret for _, secret in made}) == len({key.id for key, _ in made}) == 50
    key, secret = made[0]
    assert secret.startswith("sk_")
    assert len(base64.urlsafe_b64decode(secret[3:] + "=")) == 32
    assert (key.tenants, key.scopes) == (("a", "b"), ("read", "admin"))
    assert secret not in repr(key)
    assert key.hash == api_keys.hash_secret(secret)
    assert key.hash not in repr(key)


def test_a_key_for_all_tenants_is_for_all():
    key, _ = api_keys.new_key("x", ["a", "*"], ["read"])
    assert (key.tenants, key.for_all_tenants, key.may_access("anyone")) == (("*",), True, True)
    one, _ = api_keys.new_key("x", ["a"], ["read"])
    assert (one.for_all_tenants, one.may_access("a"), one.may_access("b"), one.may_access("*")) == (
        False, True, False, False,
    )  # fmt: skip


def test_keys_are_read_again_after_some_seconds_and_unknown_ones_do_not_read_every_time():
    clock, stored, reads = Clock(), [], []
    cache = api_keys.KeyCache(lambda: reads.append(1) or list(stored), clock)
    key, secret = api_keys.new_key("x", ["a"], ["read"])
    assert cache.find(secret) is None
    stored.append(key)
    for _ in range(100):
        assert cache.find(secret) is None
    assert len(reads) == 1
    clock.now += 1
    assert cache.find(secret) == cache.cached(secret) == key
    assert len(reads) == 2
    clock.now += api_keys.CACHE_SECONDS
    assert cache.find(secret) == key
    assert len(reads) == 2

    stored.clear()
    clock.now += 0.1
    assert cache.cached(secret) is None
    assert cache.find(secret) is None
    assert api_keys.CACHE_SECONDS + 0.1 < 5


def test_while_the_keys_cannot_be_read_none_is_taken_for_longer_than_they_are_kept():
    clock = Clock()
    key, secret = api_keys.new_key("x", ["a"], ["read"])
    answers = iter([[key]])
    cache = api_keys.KeyCache(lambda: next(answers), clock)
    assert cache.find(secret) == key
    clock.now += api_keys.CACHE_SECONDS + 1
    with pytest.raises(StopIteration):
        cache.find(secret)


def test_a_key_is_not_taken_for_revoked_because_reading_the_keys_took_long():
    clock = Clock()
    key, secret = api_keys.new_key("x", ["a"], ["read"])

    def load_slowly():
        clock.now += api_keys.CACHE_SECONDS + 1
        return [key]

    assert api_keys.KeyCache(load_slowly, clock).find(secret) == key


def test_a_bucket_lets_a_burst_through_and_then_the_rate():
    clock = Clock()
    limiter = RateLimiter(rate=10, burst=5, clock=clock)
    assert [limiter.take("a") for _ in range(5)] == [0] * 5
    assert limiter.take("a") == pytest.approx(0.1)
    assert limiter.take("b") == 0
    clock.now += 0.1
    assert limiter.take("a") == 0
    assert limiter.take("a") > 0
    clock.now += 3600
    assert [limiter.take("a") for _ in range(5)] == [0] * 5
    assert limiter.take("a") > 0


def test_buckets_that_are_full_again_are_forgotten():
    clock = Clock()
    limiter = RateLimiter(rate=1, burst=2, clock=clock)
    for number in range(10_001):
        limiter.take(str(number))
    clock.now += 60
    limiter.take("one more")
    assert len(limiter._buckets) < 10


class Source:
    """What ClickHouse sends, in pieces."""

    def __init__(self, body, tag="tag1234567890123"):
        self.body, self.closed = body, False
        self.headers = {"X-ClickHouse-Exception-Tag": tag} if tag else {}

    def raw_stream(self, *_, **__):
        return self

    def read(self, size):
        chunk, self.body = self.body[: min(size, 1000)], self.body[min(size, 1000) :]
        return chunk

    def close(self):
        self.closed = True

    release_conn = close


@pytest.mark.parametrize("size", [0, 1, 999, 65_536, 300_000])
def test_an_export_is_every_byte_of_the_answer(size):
    source = Source(bytes(number % 251 for number in range(size)))
    body = source.body
    assert b"".join(open_export(source, "", {}, "csv")) == body
    assert source.closed


@pytest.mark.parametrize("size", [0, 100_000])
def test_an_export_that_clickhouse_breaks_off_is_broken_off(size):
    mark = b"__exception__\r\ntag1234567890123\r\nCode: 241\r\n"
    source = Source(b"x" * size + mark)
    with pytest.raises(BrokenExportError):
        b"".join(open_export(source, "", {}, "csv"))
    assert source.closed


def test_an_export_that_nobody_takes_is_ended():
    source = Source(b"x" * 300_000)
    chunks = open_export(source, "", {}, "csv")
    assert next(chunks)
    chunks.close()
    assert source.closed


@pytest.mark.parametrize("channel", ["email", "sms"])
def test_every_column_is_explained_and_what_is_searched_is_one(channel):
    columns = log_of(channel).columns
    assert set(columns) <= set(COLUMN_MEANINGS)
    assert set(SEARCHED_COLUMNS[channel]) <= set(columns)
    assert json.dumps([COLUMN_MEANINGS[name] for name in columns])


def test_no_meaning_is_of_a_column_that_is_gone():
    assert set(COLUMN_MEANINGS) == {*log_of("email").columns, *log_of("sms").columns}


@pytest.mark.parametrize(
    ("filter_", "is_possible"),
    [
        ("smtp_code=65535", True), ("smtp_code=65536", False), ("smtp_code>=-1", False),
        ("open_count=0", True), ("date>=2026-11-01", True), ("date>=0001-01-01", False),
        ("date<9999-12-31T23:59:59-14:00", False), ("conflict=true", True), ("tags=x", True),
    ],
)  # fmt: skip
def test_a_value_that_no_column_of_its_type_has_is_refused(filter_, is_possible):
    filters = [Filter.parse("status=Sent"), Filter.parse(filter_)]
    if is_possible:
        check_filters("email", filters)
        return
    with pytest.raises(ProblemError, match="out of range") as refused:
        check_filters("email", filters)
    assert refused.value.errors[0].parameter == "filter"


@pytest.mark.parametrize(("channel", "model"), [("email", EmailRow), ("sms", SmsRow)])
def test_a_row_as_json_is_one_of_its_model(channel, model):
    at = datetime(2026, 11, 1, 9, tzinfo=UTC)
    sent = {"kind": "sent", "occurred_at": at, "recorded_at": at, "event_id": "f" * 32}
    log = log_of(channel)
    row = json_row(read_row(log, dict.fromkeys(KEY, "x"), fold_message(log, [sent])))
    assert (row["date"], row["delivered_at"]) == ("2026-11-01T09:00:00.000Z", None)
    assert json.loads(json.dumps(row)) == row
    assert model.model_validate(row).model_dump(mode="json") == row
    with pytest.raises(ValidationError):
        model.model_validate({**row, "status": None})
