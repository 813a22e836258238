"""What providers really send beside what they document."""

from __future__ import annotations

import gzip
import json
from base64 import b64encode
from datetime import UTC, datetime
from urllib.parse import urlencode

import pytest

from schemas.events import milliseconds
from schemas.providers import UnreadableError, adapters, decode, normalise

NOW = datetime(2026, 7, 25, 12, 0, tzinfo=UTC)
ARRIVED_MS = milliseconds(NOW)
SMPP = {"smpp-source-addr": "447700900123", "smpp-source-addr-ton": "1"}


def read(provider, payload, headers=None):
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return normalise(provider, body, headers or {}, NOW)


def resend(to, replies):
    bounce = {"type": "Permanent", "subType": "General", "diagnosticCode": replies}
    return {
        "type": "email.bounced", "created_at": "2026-07-25T12:00:00Z",
        "data": {"email_id": "e1", "to": to, "bounce": bounce},
    }  # fmt: skip


def test_an_address_within_another_is_not_bounced():
    events = read("resend", resend(
        ["ann@example.org", "joann@example.org"], ["smtp; 550 5.1.1 <joann@example.org> unknown"],
    ))  # fmt: skip
    assert [event.recipient for event in events] == ["joann@example.org"]


def test_a_report_without_replies_says_by_its_text_whom_it_is_about():
    body = resend(["ann@example.org", "bob@example.net"], [])
    body["data"]["bounce"]["message"] = "the mailbox of bob@example.net is gone"
    [event] = read("resend", body)
    assert event.recipient == "bob@example.net"
    assert event.diagnostic == "the mailbox of bob@example.net is gone"


def test_each_recipient_has_its_own_reply():
    replies = ["550 5.1.1 <ann@example.org> unknown", "552 5.2.2 <bob@example.net> mailbox full"]
    events = read("resend", resend(["ann@example.org", "bob@example.net"], replies))
    assert [(e.recipient, e.enhanced_status, e.bounce_class) for e in events] == [
        ("ann@example.org", "5.1.1", "hard"), ("bob@example.net", "5.2.2", "soft"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("provider", "body"),
    [
        ("azure", {"type": "Microsoft.Communication.CallStarted", "id": [1], "data": "text"}),
        ("azure", [{"eventType": "Microsoft.EventGrid.SubscriptionValidationEvent", "id": {}}]),
        ("azure_sms", [{"eventType": "Microsoft.Communication.SMSReceived", "data": [1]}]),
        ("brevo", {"event": "contact_deleted", "email": ["ann@example.org"]}),
        ("kumomta", {"type": "Rejection", "recipient": {}}),
        ("kumomta", [{"type": "XferOut", "meta": []}]),
        ("mailersend", {"type": "webhook.test", "data": 7}),
        ("mailersend", {"type": "recipient.on_hold_added", "data": [{"email": "ann@x.example"}]}),
        ("mailtrap", {"events": [{"event": "inbound.message_received", "email": [1]}]}),
        ("resend", {"type": "contact.created", "data": [1], "created_at": 5}),
        ("postal", {"event": "DomainDNSError", "payload": "text"}),
        ("postmark", {"RecordType": "Inbound", "MessageID": [1], "Tag": {}}),
        ("mandrill", [{"type": "blacklist", "action": "add", "msg": []}]),
        ("mandrill", [{"event": "inbound", "msg": []}]),
        ("scaleway", {"type": "blocklist_created", "email_to": ["ann@example.org"]}),
        ("sinch", {"app_id": "a", "conversation_start_notification": {"conversation": {}}}),
        ("sinch", {"app_id": "a", "opt_out_notification": {"contact_id": "c"}}),
    ],
)
def test_what_is_about_no_message_is_nothing_whatever_its_layout(provider, body):
    assert read(provider, body) == []


@pytest.mark.parametrize(
    ("provider", "body"),
    [
        ("elasticemail", b"status=Teleported&to=ann@example.org"),
        ("elasticemail", b""),
        ("elasticemail", b'[{"status": "Sent"}]'),
        ("kumomta", {"type": "Teleported"}),
        ("mailersend", {"type": "activity.teleported", "data": {}}),
        ("mailtrap", {"events": [{"event": "teleported"}]}),
        ("scaleway", {"type": "unknown_type"}),
        ("smtp2go", b"event=teleported&rcpt=ann@example.org"),
        ("zeptomail", {"event_name": ["softbounce", "open"], "event_message": [{}]}),
        ("zeptomail", {"event_name": "delivered"}),
    ],
)
def test_a_word_that_nobody_documents_is_an_error(provider, body):
    with pytest.raises(UnreadableError, match=r"is not known|name its|not a JSON|event_message"):
        read(provider, body)


def test_a_form_of_smtp2go_may_name_its_fields_twice_in_either_case():
    form = b"event=processed&recipients=a@x.example&recipients=b@x.example&Subject=Hi&subject=Hi"
    assert [(e.recipient, e.subject) for e in read("smtp2go", form)] == [
        ("a@x.example", "Hi"), ("b@x.example", "Hi"),
    ]  # fmt: skip


def test_a_complaint_to_kumomta_is_not_of_the_mailbox_that_takes_complaints():
    report = {"feedback_type": "abuse", "original_rcpto_to": ["<ann@example.org>"]}
    [event] = read("kumomta", {
        "type": "Feedback", "id": "1d98", "recipient": "fbl@school.example",
        "feedback_report": report, "headers": {"X-Message-Id": "of the report"},
    })  # fmt: skip
    assert (event.kind, event.recipient, event.message_id) == ("complaint", "ann@example.org", "")


def test_a_broken_line_leaves_its_neighbours_alone():
    line = '{"event": "delivery", "email": "ann@example.org", "message_id": "m1"}'
    ignored = '{"event": "activity_log.user.login", "email": [1]}'
    payload = "\r\n".join([line, "{", "", ignored, '{"event": 7}', line.replace("m1", "m2")])
    decoded = decode(adapters()["mailtrap"], payload.encode(), {}, 1_785_000_000_000, "default")
    assert [event["provider_message_id"] for event in decoded.events] == ["m1", "m2"]
    rejected = [(part.element, part.raw) for part in decoded.rejected]
    assert rejected == [(1, b"{"), (3, b'{"event": 7}')]


def test_a_message_held_at_the_provider_has_not_failed():
    held = {
        "event": "MessageHeld", "timestamp": 1785000000.5,
        "payload": {"message": {"id": 1, "to": "ann@example.org"}, "status": "Held",
                    "details": "Server is in development mode"},
    }  # fmt: skip
    assert [event.kind for event in read("postal", held)] == ["note"]


def receipt(text, **headers):
    return read("smpp", text.encode(), SMPP | {f"smpp-{k}": v for k, v in headers.items()})


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("id: sub:001 dlvrd:000 submit date:2607251200 stat:UNDELIV err:001", "undelivered", ""),
        ("id:7 submit date:2607251200 done date: stat:ACCEPTD err:000", "sent", "7"),
        ("id: 7 sub: 001 done date: 2607251201 stat: DELIVRD err: 000 text: hi", "delivery", "7"),
        ("id:7 done date:ND stat:DELIVRD err:ND", "delivery", "7"),
        ("id:7 done date:7001010000 stat:ENROUTE err:000", "sent", "7"),
        ("id:7 done date:2026-07-25 12:00:05 stat:DELIVRD err:000", "delivery", "7"),
        ("\0id:7 done date:2607251201 stat:DELIVERD err:000", "delivery", "7"),
        ("id:7 done date:2607251201 stat:FAILED err:051", "undelivered", "7"),
    ],
)
def test_a_field_that_is_odd_costs_neither_its_neighbours_nor_the_receipt(text, kind, message):
    [event] = receipt(text, **{"esm-class": "4"})
    assert (event.kind, event.provider_message_id) == (kind, message)
    assert event.occurred_at.year == 2026
    assert event.reason_code in ("", "001", "051")


def test_a_receipts_own_parameters_make_a_receipt():
    parameters = {"esm-class": "0", "message-state": "2", "receipted-message-id": "77"}
    assert [event.kind for event in receipt("", **parameters)] == ["delivery"]


def test_what_is_not_known_hides_nothing_that_is():
    [event] = receipt("id:7 stat:UNDELIV err:1", **{"esm-class": "4", "message-state": "11"})
    assert event.kind == "undelivered"
    push = b"dlr=2&reply=id%3A77+stat%3AODDWORD+err%3A051&to=%2B447700900123&id=m1"
    assert [event.kind for event in read("smpp", push)] == ["undelivered"]


def sns_log(message_id):
    return json.dumps({
        "notification": {"messageId": message_id, "timestamp": "2026-07-25 12:00:00.123"},
        "delivery": {"destination": "+447700900123", "providerResponse":
                     "Message has been accepted by phone"}, "status": "SUCCESS",
    })  # fmt: skip


@pytest.mark.parametrize("pack", [lambda data: data, gzip.compress])
def test_log_events_come_several_in_a_record_and_compressed(pack):
    group = {"messageType": "DATA_MESSAGE",
             "logEvents": [{"message": sns_log("m1")}, {"message": sns_log("m2")}]}  # fmt: skip
    control = {"messageType": "CONTROL_MESSAGE", "logEvents": [{"message": "CWL CONTROL"}]}
    records = [{"data": b64encode(pack(json.dumps(each).encode())).decode()}
               for each in (control, group)]  # fmt: skip
    events = read("aws_sms", {"requestId": "r", "timestamp": 1785000001123, "records": records})
    assert [event.provider_message_id for event in events] == ["m1", "m2"]


def test_what_unpacks_to_too_much_is_refused():
    record = {"data": b64encode(gzip.compress(b" " * (9 << 20))).decode()}
    with pytest.raises(ValueError, match="takes up to"):
        read("aws_sms", {"records": [record]})


def sms(provider, word, code):
    """Return what a provider says of one SMS: a status word, and an error code beside it."""
    if provider == "telnyx":
        message = {"id": "m1", "to": [{"phone_number": "+447700900123", "status": word}],
                   "errors": [{"code": code}]}  # fmt: skip
        return {"event_type": "message.finalized", "payload": message}
    if provider == "vonage messages":
        return {"message_uuid": "m1", "to": "447700900123", "status": word, "error": {"code": code}}
    names = {
        "twilio": ("MessageSid", "MessageStatus", "ErrorCode", "To"),
        "plivo": ("MessageUUID", "Status", "ErrorCode", "To"),
        "vonage": ("messageId", "status", "err-code", "msisdn"),
    }[provider]
    values = ("m1", word, code, "+447700900123")
    return urlencode(dict(zip(names, values, strict=True))).encode()


@pytest.mark.parametrize(
    ("provider", "code", "kind"),
    [("twilio", "30006", "undelivered"), ("plivo", "50", "undelivered"),
     ("vonage", "2", "undelivered"), ("vonage messages", "1170", "undelivered"),
     ("telnyx", "40300", "opt_out")],
)  # fmt: skip
def test_a_code_makes_a_failure_only_of_a_word_that_is_one(provider, code, kind):
    words = {"failed": kind, "delivered": "delivery", "read": "read", "sent": "sent"}
    if provider.startswith("vonage"):
        words = {"failed": kind, "rejected": kind, "delivered": "delivery", "accepted": "sent",
                 "buffered": "sent", "unknown": "unknown"}  # fmt: skip
    if provider == "telnyx":
        words = {"sending_failed": kind, "delivery_failed": kind, "delivered": "delivery",
                 "sent": "sent", "delivery_unconfirmed": "unknown"}  # fmt: skip
    for word, expected in words.items():
        [event] = read(provider.partition(" ")[0], sms(provider, word, code))
        assert (event.kind, event.recipient) == (expected, "+447700900123"), word


@pytest.mark.parametrize("provider", ["twilio", "plivo", "vonage", "vonage messages", "telnyx"])
def test_a_code_that_is_known_makes_no_word_known(provider):
    code = {"twilio": "30006", "plivo": "50", "vonage": "2", "telnyx": "40300"}.get(
        provider, "1170"
    )
    with pytest.raises(UnreadableError, match="'teleported' is not known"):
        read(provider.partition(" ")[0], sms(provider, "teleported", code))


def test_a_message_that_vonage_tries_again_is_not_lost():
    kinds = [read("vonage", sms("vonage", word, code))[0].kind
             for word, code in (("buffered", "2"), ("delivered", "0"))]  # fmt: skip
    assert kinds == ["sent", "delivery"]


def test_a_group_s_error_is_not_that_of_who_was_not_refused():
    body = sms("telnyx", "delivery_failed", "40300")
    body["payload"]["to"].append({"phone_number": "+447700900124", "status": "sent"})
    assert [event.kind for event in read("telnyx", body)] == ["opt_out", "sent"]


@pytest.mark.parametrize(
    ("to", "recipient", "label"),
    [
        ("whatsapp:+447700900123", "+447700900123", "delivered (whatsapp)"),
        ("WhatsApp: 447700900123", "+447700900123", "delivered (whatsapp)"),
        ("rcs:+447700900123", "+447700900123", "delivered (rcs)"),
        ("+447700900123", "+447700900123", "delivered"),
        ("messenger:447700900123", "messenger:447700900123", "delivered (messenger)"),
        ("", "", "delivered"),
    ],
)
def test_a_number_is_one_number_by_whichever_channel_it_was_reached(to, recipient, label):
    form = {"MessageSid": "SM1", "MessageStatus": "delivered", "To": to}
    stream = {"type": "com.twilio.messaging.message.delivered",
              "data": {"messageSid": "SM1", "to": to}}  # fmt: skip
    for body in (urlencode(form).encode(), stream):
        [event] = read("twilio", body)
        assert (event.recipient, event.label) == (recipient, label)


@pytest.mark.parametrize(
    ("to", "channel", "recipient"),
    [
        ("447700900123", "whatsapp", "+447700900123"),
        ("447700900123", "messenger", "messenger:447700900123"),
        ({"type": "messenger", "id": "447700900123"}, None, "messenger:447700900123"),
        ({"type": "sms", "number": "447700900123"}, None, "+447700900123"),
        (None, "messenger", ""),
    ],
)
def test_an_id_of_vonage_s_messenger_is_no_number(to, channel, recipient):
    body = {"message_uuid": "m1", "to": to, "status": "read", "channel": channel}
    assert [event.recipient for event in read("vonage", body)] == [recipient]


# ---- Characters that no text may have ----


def test_half_of_a_surrogate_pair_costs_no_event_of_a_batch():
    payload = (
        rb'[{"email":"a@x.org","timestamp":1746515411,"event":"bounce","reason":"550 cut \ud83d",'
        rb'"sg_event_id":"1","sg_message_id":"m1"},{"email":"b@x.org","timestamp":1746515411,'
        rb'"event":"delivered","sg_event_id":"2","sg_message_id":"m2",'
        rb'"category":"\ude00 \ud83d\ude00"}]'
    )
    decoded = decode(adapters()["sendgrid"], payload, {}, ARRIVED_MS, "acme")
    assert [event["recipient"] for event in decoded.events] == ["a@x.org", "b@x.org"]
    assert decoded.events[0]["diagnostic"] == "550 cut \ufffd"
    assert not decoded.rejected


@pytest.mark.parametrize(
    ("provider", "payload"),
    [
        (
            "postmark",
            (
                rb'{"RecordType":"Bounce","MessageID":"m","Email":"a@x.org","Type":"HardBounce",'
                rb'"Details":"550 \uD83D","BouncedAt":"2025-05-06T07:10:11Z"}'
            ),
        ),
        (
            "mandrill",
            (
                b"mandrill_events=%5B%7B%22event%22%3A%22send%22%2C%22ts%22%3A1746515411%2C%22_id%22"
                b"%3A%22x%22%2C%22msg%22%3A%7B%22email%22%3A%22a%40x.org%22%2C%22_id%22%3A%22x%22%2C"
                b"%22subject%22%3A%22%5Cud83d%22%7D%7D%5D"
            ),
        ),
        (
            "ses",
            (
                rb'{"Type":"Notification","Message":"{\"eventType\":\"Delivery\",'
                rb"\"mail\":{\"messageId\":\"m\",\"destination\":[\"a@x.org\"],"
                rb"\"commonHeaders\":{\"subject\":\"x \\ud83d\"}},"
                rb"\"delivery\":{\"timestamp\":\"2025-05-06T07:10:11.345Z\",\"recipients\":"
                rb'[\"a@x.org\"]}}"}'
            ),
        ),
    ],
)
def test_half_of_a_surrogate_pair_is_repaired_in_every_layout(provider, payload):
    decoded = decode(adapters()[provider], payload, {}, ARRIVED_MS, "acme")
    assert [event["recipient"] for event in decoded.events] == ["a@x.org"]


def test_what_is_no_json_for_another_reason_is_rejected_as_it_came():
    payload = rb'{"event":"x","text":"\ud83d'
    (part,) = decode(adapters()["sendgrid"], payload, {}, ARRIVED_MS, "acme").rejected
    assert "not JSON" in part.reason


@pytest.mark.parametrize(
    ("provider", "payload"),
    [
        ("twilio", b"MessageSid=SM1%00&To=%2B44770%010900123%00&MessageStatus=delivered"),
        (
            "telnyx",
            (
                rb'{"data":{"event_type":"message.finalized","id":"e","occurred_at":'
                rb'"2025-05-06T07:10:11Z","payload":{"id":"SM1\u0000","to":[{"phone_number":'
                rb'"+44770\u00010900123\u007f\u0000","status":"delivered"}]}}}'
            ),
        ),
    ],
)
def test_control_bytes_are_no_part_of_an_id_or_a_number(provider, payload):
    (event,) = decode(adapters()[provider], payload, {}, ARRIVED_MS, "acme").events
    assert (event["message_id"], event["recipient"]) == ("SM1", "+447700900123")
