"""What holds for every provider adapter, and the traps that other systems fell into.

A new adapter is covered as soon as it exists; its payloads go to `tests/data/payloads/<provider>/`.
There every member of an expected event has to agree, null meaning absent, except that null as
`occurred_at` means that the time of the record stands in, and members that are no fields of a
message event are not compared.
"""

from __future__ import annotations

import json
import pkgutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import schemas.providers
from schemas.events import KINDS_BY_CHANNEL, MessageEvent, milliseconds
from schemas.providers import (
    DEFAULT_TENANT_HEADER,
    TENANT_HEADER,
    Decoded,
    UnreadableError,
    adapters,
    decode,
    normalise,
)
from tests.paths import PAYLOADS

RECORDED_AT = datetime(2025, 6, 1, 12, 0, 0, 5_000, tzinfo=UTC)
CAME = milliseconds(RECORDED_AT)
CASES = {
    f"{path.parent.name}/{path.stem}": json.loads(path.read_text("utf-8"))
    for path in sorted(PAYLOADS.glob("*/*.json"))
}
ABSENT = (None, "", [], False)

for_adapters = pytest.mark.parametrize("adapter", adapters().values(), ids=adapters())
for_cases = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
thorough = settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def events_of(case: dict[str, Any], recorded_at: datetime = RECORDED_AT) -> list[MessageEvent]:
    return normalise(
        case["provider"], case["payload"].encode(), case.get("headers") or {}, recorded_at
    )


def named(name: str) -> list[MessageEvent]:
    return events_of(CASES[name])


# ---------------------------------------------------------------------- payloads


def test_there_are_adapters_and_each_has_payloads() -> None:
    assert adapters()
    assert {name.partition("/")[0] for name in CASES} == set(adapters())


@for_cases
def test_a_payload_gives_the_events_expected_of_it(case) -> None:
    got = [event.model_dump(mode="json") for event in events_of(case)]
    want = case["expected"]
    assert [event["kind"] for event in got] == [event["kind"] for event in want]
    for expected, actual in zip(want, got, strict=True):
        for name, value in expected.items():
            if name not in MessageEvent.model_fields:
                continue
            if name == "occurred_at":
                assert moment(actual[name]) == (moment(value) if value else RECORDED_AT), name
            elif value in ABSENT:
                assert actual[name] in ABSENT, name
            else:
                assert actual[name] == value, name


@for_cases
def test_an_event_survives_the_way_through_json(case) -> None:
    for event in events_of(case):
        assert MessageEvent.model_validate_json(event.model_dump_json()) == event


@for_cases
def test_a_notification_that_comes_twice_gives_the_same_events(case) -> None:
    first, again = events_of(case), events_of(case, RECORDED_AT + timedelta(hours=1))
    assert [event.event_id for event in first] == [event.event_id for event in again]
    assert len({event.event_id for event in first}) == len(first)


@for_cases
def test_times_are_utc_in_whole_milliseconds(case) -> None:
    for event in events_of(case):
        assert event.occurred_at.utcoffset() == timedelta(0)
        assert event.occurred_at.microsecond % 1000 == 0
        assert event.recorded_at == RECORDED_AT


@for_cases
def test_recipients_are_normalised(case) -> None:
    for event in events_of(case):
        address = event.recipient
        assert address == address.strip().lower()
        if event.channel == "email" and address:
            assert address.count("@") == 1
            assert not set('<>" ') & set(address)


@for_cases
def test_an_event_belongs_to_its_adapter_and_says_its_kind(case) -> None:
    adapter = adapters()[case["provider"]]
    for event in events_of(case):
        assert (event.channel, event.provider) == (adapter.CHANNEL, adapter.PROVIDER)
        assert event.kind in KINDS_BY_CHANNEL[event.channel]
        assert (event.bounce_class is not None) == (event.kind == "bounce")
        assert event.tenant_id


@for_cases
def test_the_tenant_of_the_record_is_that_of_every_event_whatever_the_payload_says(case) -> None:
    adapter, payload = adapters()[case["provider"]], case["payload"].encode()
    headers = {**(case.get("headers") or {}), TENANT_HEADER: "verified"}
    decoded = decode(adapter, payload, headers, CAME, "default")
    assert {event["tenant_id"] for event in decoded.events} <= {"verified"}
    free = events_of(case)
    assert len(decoded.events) == len(free)
    # Another tenant's event is another event.
    assert not {event["event_id"] for event in decoded.events} & {event.event_id for event in free}


@for_cases
def test_the_default_of_the_record_is_for_what_names_no_tenant(case) -> None:
    headers = {**(case.get("headers") or {}), DEFAULT_TENANT_HEADER: "shared"}
    got = normalise(case["provider"], case["payload"].encode(), headers, RECORDED_AT)
    own = [event.tenant_id for event in events_of(case)]
    assert [event.tenant_id for event in got] == [
        "shared" if tenant == "default" else tenant for tenant in own
    ]


# ------------------------------------------------------------- whatever may come


def sound(decoded: Decoded) -> None:
    """Assert that each event is a message event, and that each rejection says why."""
    for fields in decoded.events:
        event = MessageEvent.model_validate(fields)
        assert MessageEvent.model_validate_json(event.model_dump_json()) == event
        assert event.occurred_at.microsecond % 1000 == 0
    for rejected in decoded.rejected:
        assert rejected.reason
        assert isinstance(rejected.raw, bytes)


#: What a provider may push without an event in it.
QUIET = {b"", b"[]", b"{}"}
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def says_something(adapter, payload: bytes, headers: dict[str, str]) -> None:
    """Assert that what nobody wrote an adapter for is not taken for a push without events."""
    decoded = decode(adapter, payload, headers, CAME, "default")
    sound(decoded)
    silent = not decoded.events and not decoded.rejected
    assert not silent or payload.strip() in QUIET, payload


@for_adapters
@thorough
@given(payload=st.binary(max_size=400))
def test_any_bytes_give_events_or_rejections(adapter, payload) -> None:
    says_something(adapter, payload, {})


@for_adapters
@thorough
@given(value=values)
def test_any_json_gives_events_or_rejections(adapter, value) -> None:
    says_something(adapter, json.dumps(value).encode(), {})


@for_adapters
@thorough
@given(fields=st.dictionaries(st.text(), st.text(), max_size=8), query=st.text())
def test_any_form_gives_events_or_rejections(adapter, fields, query) -> None:
    headers = {"x-callback-query": query}
    says_something(adapter, urlencode(fields).encode(), headers)


@pytest.mark.parametrize("provider", adapters())
@thorough
@given(data=st.data())
def test_a_real_payload_with_something_wrong_gives_events_or_rejections(provider, data) -> None:
    case = data.draw(st.sampled_from([c for c in CASES.values() if c["provider"] == provider]))
    spoiled = data.draw(st.sampled_from([spoil_bytes, spoil_members]))(case["payload"], data)
    headers = case.get("headers") or {}
    sound(decode(adapters()[provider], spoiled, headers, CAME, "default"))


def spoil_bytes(payload: str, data: st.DataObject) -> bytes:
    """Cut some bytes out, and put others in their place."""
    raw = payload.encode()
    start = data.draw(st.integers(0, len(raw)))
    end = data.draw(st.integers(start, min(len(raw), start + 20)))
    return raw[:start] + data.draw(st.binary(max_size=10)) + raw[end:]


def spoil_members(payload: str, data: st.DataObject) -> bytes:
    """Remove or replace a member somewhere, also in JSON held in a string or a form field."""
    try:
        value = json.loads(payload)
    except ValueError:
        fields = dict(parse_qsl(payload, keep_blank_values=True))
        if not fields:
            return payload.encode()
        name = data.draw(st.sampled_from(sorted(fields)))
        if data.draw(st.booleans()) and fields[name].startswith(("{", "[")):
            fields[name] = spoil_members(fields[name], data).decode()
        else:
            fields[name] = data.draw(st.text())
        return urlencode(fields).encode()
    return json.dumps(spoil_value(value, data)).encode()


def spoil_value(value: Any, data: st.DataObject) -> Any:
    match value:
        case dict() if value:
            name = data.draw(st.sampled_from(sorted(value)))
            if data.draw(st.integers(0, 9)) == 0:
                return {key: kept for key, kept in value.items() if key != name}
            return {**value, name: spoil_value(value[name], data)}
        case list() if value:
            place = data.draw(st.integers(0, len(value) - 1))
            return [*value[:place], spoil_value(value[place], data), *value[place + 1 :]]
        case str() if value.startswith("{"):
            return spoil_members(value, data).decode()
    return data.draw(values | st.just("x" * 70_000) | st.just("y" * 400))


def swollen(payload: str) -> Iterator[str]:
    """Yield a payload with one text of it far too long, each in turn."""
    try:
        yield from map(json.dumps, swollen_values(json.loads(payload)))
    except ValueError:
        fields = parse_qsl(payload, keep_blank_values=True)
        for place, (name, value) in enumerate(fields):
            for changed in swollen_values(value):
                yield urlencode([*fields[:place], (name, changed), *fields[place + 1 :]])


def swollen_values(value: Any) -> Iterator[Any]:
    match value:
        case dict():
            for name, item in value.items():
                yield from ({**value, name: changed} for changed in swollen_values(item))
        case list():
            for place, item in enumerate(value):
                for changed in swollen_values(item):
                    yield [*value[:place], changed, *value[place + 1 :]]
        case str() if value.startswith(("{", "[{")):
            yield from swollen(value)
        case str():
            yield value + "x" * 70_000


@for_cases
def test_every_text_may_be_far_too_long(case) -> None:
    # A receipt is plain text, and some payloads have no text at all.
    payloads = list(swollen(case["payload"])) or [case["payload"] + "x" * 70_000]
    headers, adapter = case.get("headers") or {}, adapters()[case["provider"]]
    for payload in payloads:
        assert len(payload) >= 70_000
        sound(decode(adapter, payload.encode(), headers, CAME, "default"))


# ------------------------------------------------------------------ the registry


def test_two_adapters_with_one_name_are_an_error(monkeypatch) -> None:
    twice = [SimpleNamespace(name="schemas.providers.ses")] * 2
    monkeypatch.setattr(pkgutil, "iter_modules", lambda *_: iter(twice))
    adapters.cache_clear()
    with pytest.raises(RuntimeError, match="two adapters are named 'ses'"):
        adapters()
    monkeypatch.undo()
    adapters.cache_clear()
    assert "ses" in adapters()


def test_an_unknown_provider_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UnreadableError, match=r"no adapter for provider 'pigeon'.*ses"):
        normalise("pigeon", b"{}", {}, RECORDED_AT)


def test_helpers_beside_the_adapters_are_no_adapters() -> None:
    assert not [name for name in adapters() if name.startswith("_")]
    assert hasattr(schemas.providers, "_common")


# ------------------------------------------------------------------------- traps


def test_ses_a_bounce_names_every_recipient_and_only_those_bounced() -> None:
    events = named("ses/bounce_three_of_four_recipients")
    assert [(event.recipient, event.bounce_class) for event in events] == [
        ("ann.a@example.org", "hard"),
        ("ben@example.org", "soft"),
        ("cleo@example.org", "block"),
    ]


@pytest.mark.parametrize("kind", ["bounce", "complaint", "delivery"])
def test_ses_notification_type_is_read_like_event_type(kind) -> None:
    (event,) = named(f"ses/{kind}_notification_type")
    assert event.kind == kind


def test_ses_the_time_is_that_of_the_event_not_of_the_push() -> None:
    (event,) = named("ses/bounce_sns")
    assert event.occurred_at == moment("2025-05-06T07:10:11.345Z")


@pytest.mark.parametrize("kind", ["open", "click"])
def test_ses_an_open_or_click_is_not_copied_to_all_recipients(kind) -> None:
    (event,) = named(f"ses/{kind}_of_two_destinations")
    assert event.recipient == ""


@pytest.mark.parametrize(
    ("name", "kind"), [("delivery_delay_sns", "deferral"), ("subscription_sns", "unsubscribe")]
)
def test_ses_delivery_delay_and_subscription_are_known(name, kind) -> None:
    (event,) = named(f"ses/{name}")
    assert event.kind == kind


def test_ses_transient_with_an_unroutable_domain_is_hard() -> None:
    (event,) = named("ses/bounce_transient_unroutable")
    assert (event.label, event.bounce_class) == ("Transient/General", "hard")


def test_ses_a_block_of_the_sender_is_not_held_against_the_recipient() -> None:
    (event,) = named("ses/bounce_label_hard_code_block")
    assert event.bounce_class == "block"


@pytest.mark.parametrize(
    "name", ["bounce_suppressed_by_account", "complaint_suppressed_by_account"]
)
def test_ses_a_suppression_echo_is_no_new_bounce_or_complaint(name) -> None:
    (event,) = named(f"ses/{name}")
    assert (event.kind, event.bounce_class) == ("invalid", None)


def test_ses_a_push_under_another_id_is_the_same_fact() -> None:
    case = CASES["ses/bounce_sns"]
    again = {**case, "payload": case["payload"].replace('"MessageId": "0', '"MessageId": "9')}
    (first,), (second,) = events_of(case), events_of(again)
    assert first.provider_event_id != second.provider_event_id
    assert first.event_id == second.event_id


@pytest.mark.parametrize("kind", ["send", "delivery", "open", "click", "bounce", "complaint"])
def test_ses_an_event_is_one_fact_whatever_brought_it(kind) -> None:
    ids = {named(f"ses/{kind}_{via}")[0].event_id for via in ("sns", "raw", "eventbridge")}
    assert len(ids) == 1


def test_ses_an_unknown_event_type_is_rejected_by_name() -> None:
    payload = b'{"eventType": "Teleported", "mail": {"messageId": "m"}}'
    decoded = decode(adapters()["ses"], payload, {}, CAME, "default")
    assert not decoded.events
    assert "'Teleported'" in decoded.rejected[0].reason
    assert decoded.rejected[0].raw == payload


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b'{"eventType": "Bounce", "mail": {}}', "'mail' and 'bounce'"),
        (b'{"eventType": "Send", "send": {}}', "'mail' and 'send'"),
        (b'{"Type": "Notification", "Message": "good morning"}', "Invalid JSON"),
        (b"{}", "eventType or notificationType"),
        (
            b'{"eventType": "Open", "mail": {}, "open": {"timestamp": "2025-05-06T07:10:11"}}',
            "has no zone",
        ),
        (
            b'{"eventType": "Open", "mail": {}, "open": {"timestamp": "06/05/2025"}}',
            "not ISO 8601",
        ),
        (
            b'{"eventType": "Open", "mail": {}, "open": {"timestamp": "1970-01-01T00:00:00Z"}}',
            "1990 to 2099",
        ),
    ],
)
def test_ses_what_cannot_be_read_is_rejected_with_the_reason(payload, reason) -> None:
    decoded = decode(adapters()["ses"], payload, {}, CAME, "default")
    assert not decoded.events
    assert reason in decoded.rejected[0].reason


def test_twilio_read_is_read_and_not_a_failure() -> None:
    (event,) = named("twilio/status_read")
    assert event.kind == "read"


def test_twilio_two_statuses_of_one_message_are_two_facts() -> None:
    names = ["queued", "sent", "delivered", "read", "undelivered"]
    events = [named(f"twilio/status_{name}")[0] for name in names]
    assert len({event.provider_message_id for event in events}) == 1
    assert len({event.event_id for event in events}) == len(events)


def test_twilio_two_codes_with_one_status_are_two_facts() -> None:
    (one,), (two,) = named("twilio/code_30003"), named("twilio/code_30006")
    assert one.kind == two.kind
    assert one.event_id != two.event_id


def test_twilio_the_error_code_decides_before_the_status_word() -> None:
    (event,) = named("twilio/code_30007")
    assert (event.label, event.kind) == ("undelivered", "rejected")


def test_twilio_the_record_stands_in_for_a_time_without_a_zone() -> None:
    (event,) = named("twilio/done_date_without_zone_is_ignored")
    assert event.occurred_at == RECORDED_AT


def test_twilio_a_broken_element_leaves_its_neighbours_alone() -> None:
    batch = json.loads(CASES["twilio/stream_batch"]["payload"])
    batch[1]["data"]["messageStatus"] = "TELEPORTED"
    del batch[1]["data"]["errorCode"]
    batch.insert(0, "not an event")
    decoded = decode(adapters()["twilio"], json.dumps(batch).encode(), {}, CAME, "default")
    assert [event["kind"] for event in decoded.events] == ["sent", "opt_out"]
    assert [part.element for part in decoded.rejected] == [0, 2]
    assert "'teleported'" in decoded.rejected[1].reason
    assert json.loads(decoded.rejected[1].raw) == batch[2]


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "MessageSid"),
        (b"MessageStatus=sent&To=%2B447700900123", "MessageSid"),
        (b"MessageSid=SM1&To=%2B447700900123", "MessageStatus"),
        (b"MessageSid=SM1&MessageStatus=teleported", "'teleported'"),
        (b"[{", "not JSON"),
    ],
)
def test_twilio_what_cannot_be_read_is_rejected_with_the_reason(payload, reason) -> None:
    decoded = decode(adapters()["twilio"], payload, {}, CAME, "default")
    assert not decoded.events
    assert reason in decoded.rejected[0].reason


def test_a_text_that_is_too_long_is_cut_and_an_id_that_is_too_long_is_rejected() -> None:
    case = CASES["ses/click_raw"]
    adapter = adapters()["ses"]
    long_url = case["payload"].replace("fair?day=6", "x" * 70_000).encode()
    (event,) = decode(adapter, long_url, {}, CAME, "default").events
    assert len(str(event["url"])) == 65_536
    long_id = case["payload"].replace("msg-2025-0001", "m" * 600).encode()
    (rejected,) = decode(adapter, long_id, {}, CAME, "default").rejected
    assert rejected.reason == "message_id is 600 characters long; it takes 512"


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
