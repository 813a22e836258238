"""The traps that other systems fell into, from a provider's payload to the row people see.

Those that are about SES alone are with the examples, in `test_providers.py`.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from itertools import permutations
from urllib.parse import urlencode

import pytest

from projections.status import fold_message, read_row
from projections.tables import KEY, projections
from schemas.events import milliseconds
from schemas.providers import adapters, decode, normalise
from schemas.providers.twilio import ERROR_KINDS
from tests.paths import PAYLOADS

RECORDED_AT = datetime(2025, 6, 1, 12, tzinfo=UTC)
CAME = milliseconds(RECORDED_AT)
TIME = datetime(2025, 5, 6, 7, 0, tzinfo=UTC)
ADDRESS = "iris@example.org"


def named(name, recorded_at=RECORDED_AT):
    case = json.loads((PAYLOADS / f"{name}.json").read_text("utf-8"))
    headers = case.get("headers") or {}
    return normalise(case["provider"], case["payload"].encode(), headers, recorded_at)


def ses(kind, minute, **part):
    """Return what SES says of one message to one address at a minute."""
    member = {"timestamp": (TIME + timedelta(minutes=minute)).isoformat(), **part}
    body = {
        "eventType": kind,
        "mail": {
            "messageId": "ses-1", "timestamp": member["timestamp"], "destination": [ADDRESS],
        },
        kind.lower(): member,
    }  # fmt: skip
    return normalise("ses", json.dumps(body).encode(), {}, RECORDED_AT)


def bounced(minute, code="550 5.1.1 user unknown", kind="Permanent", subtype="General"):
    who = [{"emailAddress": ADDRESS, "diagnosticCode": f"smtp; {code}"}]
    part = {"bounceType": kind, "bounceSubType": subtype, "bouncedRecipients": who}
    return ses("Bounce", minute, **part)


def form(provider, minute=0, **fields):
    """Return what a provider of forms says; it carries no time, so the record's stands in."""
    recorded_at = RECORDED_AT + timedelta(minutes=minute)
    return normalise(provider, urlencode(fields).encode(), {}, recorded_at)


def row(log, *events):
    """Return the one row of some lists of events, the same for every order of them."""
    event_fields = [event.model_dump() for several in events for event in several]
    [key] = {tuple(fields[name] for name in KEY) for fields in event_fields}
    projection = projections()[log]
    rows = [
        read_row(projection, dict(zip(KEY, key, strict=True)), fold_message(projection, order))
        for order in permutations(event_fields)
    ]
    assert all(one == rows[0] for one in rows)
    return rows[0]


# 1 ----------------------------------------------------------------------------------------


def test_a_late_delivery_does_not_erase_a_bounce() -> None:
    assert row("email_log", ses("Send", 0), bounced(1), ses("Delivery", 9))["status"] == "Bounce"


@pytest.mark.parametrize("before", ["Delivery", "Open", "Click"])
def test_a_bounce_reported_after_a_delivery_an_open_or_a_click_is_shown(before) -> None:
    log_row = row("email_log", ses("Send", 0), ses(before, 1), bounced(5))
    assert (log_row["status"], log_row["bounce_class"]) == ("Bounce", "hard")


# 2: and see test_providers.py --------------------------------------------------------------


def test_a_bounce_is_about_the_addresses_it_names_not_the_first_one_mailed() -> None:
    body = {
        "notificationType": "Bounce",
        "mail": {"messageId": "m", "destination": ["first@example.org", ADDRESS]},
        "bounce": {
            "bounceType": "Transient", "bounceSubType": "General",
            "timestamp": TIME.isoformat(),
            "bouncedRecipients": [{"emailAddress": ADDRESS, "status": "5.4.4"}],
        },
    }  # fmt: skip
    (event,) = normalise("ses", json.dumps(body).encode(), {}, RECORDED_AT)
    assert (event.recipient, event.bounce_class) == (ADDRESS, "hard")
    assert event.occurred_at == TIME


# 3 ----------------------------------------------------------------------------------------


def test_ten_copies_of_a_soft_bounce_are_one() -> None:
    once = bounced(1, "452 4.2.2 mailbox full", "Transient", "MailboxFull")
    log_row = row("email_log", ses("Send", 0), *[once] * 5)
    assert log_row["soft_bounce_count"] == 1


def test_a_soft_bounce_does_not_count_any_more_once_it_was_delivered() -> None:
    soft = bounced(1, "452 4.2.2 mailbox full", "Transient", "MailboxFull")
    log_row = row("email_log", ses("Send", 0), soft, ses("Delivery", 2))
    assert log_row["status"] == "Delivery"
    assert not log_row["conflict"]


# 4 ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["ses/bounce_label_hard_code_block", "mandrill/hard_bounce_code_block", "postal/failed_policy",
     "brevo/hard_bounce_policy"],
)  # fmt: skip
def test_a_refusal_of_the_sender_is_never_held_against_the_address(name) -> None:
    assert {event.bounce_class for event in named(name)} == {"block"}


def test_a_bounce_of_one_recipient_says_nothing_about_the_others() -> None:
    bounced_ones = {event.recipient for event in named("ses/bounce_three_of_four_recipients")}
    case = json.loads((PAYLOADS / "ses/bounce_three_of_four_recipients.json").read_text("utf-8"))
    body = json.loads(case["payload"])
    mailed = json.loads(body["Message"]) if "Message" in body else body
    assert len(bounced_ones) == 3 < len(mailed["mail"]["destination"])


# 5 ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("mailjet/sent_means_delivered", "delivery"),
        ("postal/sent_means_delivered", "delivery"),
        ("mandrill/delivered", "delivery"),
        ("mandrill/send", "sent"),
        ("sendgrid/processed", "queued"),
        ("clickatell/rest_delivered_to_gateway", "sent"),
        ("bandwidth/code_9902", "unknown"),
    ],
)
def test_a_providers_word_for_a_step_is_read_as_the_provider_means_it(name, kind) -> None:
    assert {event.kind for event in named(name)} == {kind}


# 6 ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind", "status"),
    [
        ("plivo/status_undelivered", "undelivered", "Undelivered"),
        ("sinch/status_expired", "expired", "Undelivered"),
        ("telnyx/status_expired", "expired", "Undelivered"),
        ("vonage/receipt_expired", "expired", "Undelivered"),
    ],
)
def test_an_sms_undelivered_or_expired_is_not_shown_as_sent(name, kind, status) -> None:
    events = named(name)
    assert {event.kind for event in events} == {kind}
    assert row("sms_log", events)["status"] == status


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("infobip/status_delivered_to_operator", "Sent"),
        ("infobip/status_delivered_to_handset", "Delivered"),
        ("bandwidth/message_delivered_to_carrier", "Sent"),
        ("bandwidth/message_delivered", "Delivered"),
    ],
)
def test_an_sms_that_the_operator_has_is_not_shown_as_delivered(name, status) -> None:
    assert row("sms_log", named(name))["status"] == status


def test_an_sms_delivered_does_not_go_back_to_sent() -> None:
    sms = {"MessageSid": "SM1", "To": "+447700900123"}
    delivered = form("twilio", 1, MessageStatus="delivered", **sms)
    sent = form("twilio", 9, MessageStatus="sent", **sms)
    assert row("sms_log", delivered, sent)["status"] == "Delivered"


def test_an_sms_read_is_received() -> None:
    sms = {"MessageSid": "SM1", "To": "+447700900123"}
    log_row = row("sms_log", *(form("twilio", 1, MessageStatus=s, **sms) for s in ("sent", "read")))
    assert log_row["status"] == "Received"


def test_vonage_to_is_the_sender_and_never_the_recipient() -> None:
    receipt = {"to": "447700900001", "msisdn": "447700900123", "messageId": "1", "status": "failed"}
    (event,) = form("vonage", **receipt)
    assert event.recipient == "+447700900123"


# 7 ----------------------------------------------------------------------------------------


def test_brevo_two_events_with_the_id_of_their_webhook_are_two_facts() -> None:
    shared = {"id": 7, "email": ADDRESS, "message-id": "<1@x>", "ts_epoch": 1_746_515_411_345}
    both = json.dumps([{**shared, "event": word} for word in ("delivered", "opened")]).encode()
    first, second = normalise("brevo", both, {}, RECORDED_AT)
    assert first.event_id != second.event_id
    assert first.provider_event_id == second.provider_event_id == ""


def test_sendgrid_a_push_that_is_repeated_under_another_id_is_the_same_fact() -> None:
    event = {"event": "delivered", "email": ADDRESS, "timestamp": 1_746_515_411}
    event["sg_message_id"] = "abc.filter0001.1.2-3"
    (one,), (two,) = (
        normalise("sendgrid", json.dumps([{**event, "sg_event_id": i}]).encode(), {}, RECORDED_AT)
        for i in ("first", "second")
    )
    assert one.provider_event_id != two.provider_event_id
    assert one.event_id == two.event_id


def test_twilio_statuses_of_one_message_are_several_facts_though_all_have_one_id() -> None:
    sms = {"MessageSid": "SM1", "To": "+447700900123"}
    words = ("queued", "sent", "delivered", "read")
    events = [form("twilio", MessageStatus=word, **sms)[0] for word in words]
    assert len({event.event_id for event in events}) == len(words)


# 8 ----------------------------------------------------------------------------------------


def test_a_recipient_after_a_bad_one_of_a_report_is_not_lost() -> None:
    case = json.loads((PAYLOADS / "telnyx/two_recipients_one_failed.json").read_text("utf-8"))
    body = json.loads(case["payload"])
    good = body["data"]["payload"]["to"]
    for bad in ("nobody", 7, None, []):
        body["data"]["payload"]["to"] = [bad, *good]
        payload = json.dumps(body).encode()
        decoded = decode(adapters()["telnyx"], payload, {}, CAME, "default")
        assert len(decoded.events) == len(good)
        assert [part.element for part in decoded.rejected] == [0]


def test_every_recipient_of_a_bounce_is_read_whatever_the_first_one_is() -> None:
    who = [{"emailAddress": "", "diagnosticCode": "\0"}, {}, {"emailAddress": ADDRESS}]
    body = {
        "eventType": "Bounce",
        "mail": {"messageId": "m"},
        "bounce": {"bounceType": "Permanent", "bouncedRecipients": who},
    }
    events = normalise("ses", json.dumps(body).encode(), {}, RECORDED_AT)
    assert [event.recipient for event in events] == ["", "", ADDRESS]


def test_a_reject_reason_that_nobody_documents_lists_no_address():
    case = json.loads((PAYLOADS / "mandrill" / "reject_hard_bounce.json").read_text("utf-8"))
    odd = case["payload"].replace("hard-bounce", "payment-required")
    assert odd != case["payload"]
    headers = case.get("headers") or {}
    decoded = decode(adapters()["mandrill"], odd.encode(), headers, CAME, "t")
    assert not decoded.events
    assert "payment-required" in decoded.rejected[0].reason


# What a code or a missing member means, word for word: examples have only some of them.


@pytest.mark.parametrize(
    ("kind", "codes"),
    [
        ("opt_out", "21610 63014"),
        ("undelivered", "21211 21217 21265 21268 21614 21635 30003 30005 30006 30011"),
        ("rejected", ("30004 30007 30038 30450 30453 30022 30023 30027 30024 30032 30033 30034 "
                     "30035 30040 30041 30042")),
        ("expired", "30036"),
        ("failed", ("21408 21612 21617 30001 30002 30010 30012 30013 30017 30019 30020 30021 30037 "
                   "30410 30454 30500")),
    ],
)  # fmt: skip
def test_twilio_each_code_that_says_more_than_undelivered_decides(kind, codes) -> None:
    assert {code for code, of in ERROR_KINDS.items() if of == kind} == set(codes.split())
    for code in codes.split():
        for word, expected in (("undelivered", kind), ("delivered", "delivery"), ("sent", "sent")):
            payload = f"MessageSid=SM1&To=%2B12015550123&MessageStatus={word}&ErrorCode={code}"
            [event] = normalise("twilio", payload.encode(), {}, RECORDED_AT)
            assert (event.kind, event.reason_code) == (expected, code)


@pytest.mark.parametrize("suppresses", [False, None, "absent"])
def test_postmark_a_subscription_that_does_not_say_it_suppresses_is_a_new_one(suppresses) -> None:
    case = json.loads((PAYLOADS / "postmark/subscription_reactivated.json").read_text("utf-8"))
    payload = json.loads(case["payload"]) | {"SuppressSending": suppresses}
    if suppresses == "absent":
        del payload["SuppressSending"]
    [event] = normalise("postmark", json.dumps(payload).encode(), {}, RECORDED_AT)
    assert event.kind == "resubscribe"
