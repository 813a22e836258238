"""The identity of a fact: the same for each copy of it, another one for every other fact."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.events import KINDS_BY_CHANNEL, MessageEvent, fingerprint, fingerprints, milliseconds

EVENT = {
    "channel": "email",
    "kind": "click",
    "tenant_id": "harbour",
    "provider": "ses",
    "message_id": "msg-1",
    "recipient": "iris@example.org",
    "occurred_at": datetime(2025, 5, 6, 7, 8, 9, 120_000, tzinfo=UTC),
}
#: What tells two facts apart, with another value for each.
OTHER_VALUES = {
    "channel": "sms",
    "kind": "open",
    "tenant_id": "hill",
    "provider": "postal",
    "message_id": "msg-2",
    "recipient": "ben@example.org",
    "occurred_at": datetime(2025, 5, 6, 7, 8, 9, 121_000, tzinfo=UTC),
    "attempt": 2,
    "url": "https://school.example/",
    "smtp_code": 550,
    "enhanced_status": "5.1.1",
    "reason_code": "30003",
    "part": 2,
}


def test_a_fingerprint_is_32_hex_digits() -> None:
    assert re.fullmatch(r"[0-9a-f]{32}", fingerprint(EVENT))


def test_a_fingerprint_never_changes_between_releases() -> None:
    # Were it to change, a replay would count every fact of the log a second time.
    assert fingerprint(EVENT) == "30f659cb84609df2a070467e3841c698"


@pytest.mark.parametrize("name", OTHER_VALUES)
def test_facts_that_differ_in_one_telling_field_are_two(name: str) -> None:
    assert fingerprint({**EVENT, name: OTHER_VALUES[name]}) != fingerprint(EVENT)


def test_all_facts_that_differ_are_kept_apart() -> None:
    identities = {fingerprint({**EVENT, name: value}) for name, value in OTHER_VALUES.items()}
    assert len(identities) == len(OTHER_VALUES)


@pytest.mark.parametrize(
    "extra",
    [
        {"recorded_at": datetime(2026, 1, 1, tzinfo=UTC)},
        {"provider_event_id": "another id for the same push"},
        {"source": {"topic": "t", "partition": 3, "offset": 9}},
        {"subject": "Hello", "user_agent": "Mail/16.0", "ip": "198.51.100.1"},
        {"attempt": 1, "url": "", "smtp_code": None, "enhanced_status": "", "part": None},
    ],
    ids="+".join,
)
def test_what_does_not_belong_to_a_fact_does_not_count(extra: dict[str, object]) -> None:
    assert fingerprint({**EVENT, **extra}) == fingerprint(EVENT)


def test_the_arrival_time_of_a_fact_without_an_own_time_does_not_count() -> None:
    later = {**EVENT, "occurred_at": EVENT["occurred_at"] + timedelta(seconds=30)}
    assert fingerprint(EVENT, own_time=False) == fingerprint(later, own_time=False)
    assert fingerprint(EVENT, own_time=True) != fingerprint(later, own_time=True)
    assert fingerprint(EVENT, own_time=False) != fingerprint(EVENT, own_time=True)


def test_one_instant_in_two_zones_is_one_fact() -> None:
    there = EVENT["occurred_at"].astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert fingerprint({**EVENT, "occurred_at": there}) == fingerprint(EVENT)


def test_values_do_not_run_into_their_neighbours() -> None:
    one = {**EVENT, "message_id": "ab", "recipient": "c"}
    two = {**EVENT, "message_id": "a", "recipient": "bc"}
    assert fingerprint(one) != fingerprint(two)


@given(data=st.data(), names=st.sets(st.sampled_from(sorted(OTHER_VALUES.keys() - EVENT.keys()))))
def test_of_columns_fingerprints_are_those_of_the_facts_one_by_one(data, names) -> None:
    others = {
        name: data.draw(
            st.lists(st.sampled_from([None, type(other)(), other]), min_size=3, max_size=3)
        )
        for name in names
        for other in [OTHER_VALUES[name]]
    }
    columns = {name: [value, OTHER_VALUES[name], value] for name, value in EVENT.items()} | others
    events = [{name: values[at] for name, values in columns.items()} for at in range(3)]
    times = [milliseconds(event["occurred_at"]) for event in events]
    assert fingerprints(columns, times) == [fingerprint(event) for event in events]


@given(st.datetimes(min_value=datetime(1990, 1, 1), max_value=datetime(2099, 12, 31)))
def test_milliseconds_round_down(naive: datetime) -> None:
    time = naive.replace(tzinfo=UTC)
    whole = milliseconds(time)
    rest = time - (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=whole))
    assert timedelta(0) <= rest < timedelta(milliseconds=1)
    assert whole % 1000 == time.microsecond // 1000


def test_a_message_event_knows_every_kind_of_its_channels() -> None:
    for channel, kinds in KINDS_BY_CHANNEL.items():
        for kind in kinds:
            event = MessageEvent.model_validate({**EVENT, "channel": channel, "kind": kind})
            assert (event.channel, event.kind) == (channel, kind)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("kind", "vanished"),
        ("channel", "fax"),
        ("tenant_id", ""),
        ("occurred_at", "2025-05-06T07:08:09"),
        ("occurred_at", "1970-01-01T00:00:01Z"),
        ("occurred_at", "2100-01-01T00:00:00Z"),
        ("attempt", -1),
    ],
)
def test_a_message_event_refuses_what_would_spoil_the_log(name: str, value: object) -> None:
    with pytest.raises(ValidationError, match=name):
        MessageEvent.model_validate({**EVENT, name: value})


def test_a_message_event_ignores_what_it_does_not_know() -> None:
    assert MessageEvent.model_validate({**EVENT, "later_field": 1}).kind == "click"
