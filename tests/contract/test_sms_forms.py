"""The forms an SMS provider's reports come in: what is not known is rejected, and named."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any
from urllib.parse import urlencode

import pytest

from schemas.providers import Decoded, adapters, decode
from tests.paths import PAYLOADS

CAME = 1_748_779_200_005  # in June 2025

#: Provider, push, and what the reason has to name.
UNKNOWN: list[tuple[str, Any, str]] = [
    ("smpp", "id=k-1&message_status=TELEPORTED&level=2", "TELEPORTED"),
    ("smpp", "id=k-1&message_status=ESME_RTELEPORTED&level=1", "ESME_RTELEPORTED"),
    ("smpp", "dlr=3&id=k-1", "report '3'"),
    ("smpp", "dlr=1&ts=1746515411", "names its message"),
    ("smpp", "dlr=1&id=k-1&ts=yesterday", "yesterday"),
    ("smpp", "id=k-1&level=2&connector=example", "message_status or dlr"),
    ("smpp", {"source_addr": "447700900511", "message_state": "TELEPORTED"}, "teleported"),
    ("smpp", {"message_status": ["DELIVRD", "UNDELIV"], "id": 7}, "DELIVRD,UNDELIV"),
    ("twilio", {"type": "com.twilio.messaging.message.teleported", "data": {}}, "MessageSid"),
    ("vonage", {"message_uuid": "m-1", "status": "teleported", "error": {"code": 1}}, "teleported"),
    ("telnyx", {"event_type": "message.sent", "payload": {"id": "m-1", "to": []}}, "'to'"),
    ("telnyx", {"meta": {"attempt": 1}}, "event_type"),
    ("sinch", {"message_delivery_report": {"message_id": "m-1"}}, "status ''"),
    ("sinch", {"message_delivery_report": {"status": "DELIVERED"}}, "message_id"),
    ("sinch", {"message_delivery_report": "DELIVERED"}, "message_delivery_report"),
    ("messagebird", {"type": "message.teleported"}, "message.teleported"),
    ("messagebird", {"type": "message.updated"}, "dictionary"),
    ("messagebird", {"type": "message.updated", "message": {"id": "m-1", "status": 7}}, "status"),
    ("messagebird", {"type": "message.updated", "message": {"status": "sent"}}, "id"),
    ("messagebird", {"id": "m-1", "status": "teleported"}, "teleported"),
    ("messagebird", {"id": "m-1", "status": None}, "id and status"),
    ("infobip", {"results": [{"messageId": "m-1", "status": {"name": "X_TELEP"}}]}, "X_TELEP"),
    ("infobip", {"messageId": "m-1", "notificationType": "TELEPORTED"}, "TELEPORTED"),
    ("infobip", {"status": {"groupName": "DELIVERED"}}, "messageId"),
    ("infobip", {"results": 7}, "neither a JSON array nor an object"),
    ("infobip", {"messageId": "m-1"}, "status ''"),
    ("bandwidth", [{"type": "message-teleported", "message": {"id": "m-1"}}], "teleported"),
    ("bandwidth", [{"type": "message-delivered", "message": {}}], "id of its message"),
    ("bandwidth", {"type": "message-delivered"}, "id of its message"),
    ("clickatell", {"event": {"messageStatusUpdate": [{"messageId": "m-1"}]}}, "statusCode"),
    ("clickatell", {"event": {"teleported": []}}, "messageId"),
    (
        "clickatell",
        {"channel": "sms", "messageId": "m-1", "status": "TELEPORTED", "statusCode": 4},
        "TELEPORTED",
    ),
    ("clickatell", "apiMsgId=m-1&status=099", "99"),
    ("clickatell", "to=447700900411", "messageId"),
    ("46elks", "id=s1&status=teleported", "teleported"),
    ("46elks", "id=s1", "id and status"),
    ("46elks", "status=sent", "id and status"),
    ("aws_sms", {"eventType": "RCS_TELEPORTED"}, "TELEPORTED"),
    ("aws_sms", {"records": [{"data": "no base64!"}]}, "base64"),
    ("aws_sms", {"records": [{"data": "bm8ganNvbg=="}]}, "JSON"),
    ("aws_sms", {"records": [{"text": ""}]}, "data"),
    ("aws_sms", {"Type": "Notification", "Message": "{}"}, "eventType"),
]


def decoded(provider: str, payload: Any) -> Decoded:
    body = payload if isinstance(payload, str) else json.dumps(payload)
    return decode(adapters()[provider], body.encode(), {}, CAME, "default")


@pytest.mark.parametrize(("provider", "payload", "named"), UNKNOWN)
def test_what_is_not_known_is_rejected_with_what_it_said(provider, payload, named) -> None:
    outcome = decoded(provider, payload)
    assert not outcome.events
    (rejected,) = outcome.rejected
    assert named in rejected.reason
    assert "unexpected shape" not in rejected.reason
    again = decoded(provider, rejected.raw.decode())
    assert [part.reason for part in again.rejected] == [rejected.reason]


def test_a_broken_record_of_a_stream_costs_that_record() -> None:
    case = json.loads((PAYLOADS / "aws_sms/firehose_records.json").read_text("utf-8"))
    body = json.loads(case["payload"])
    unknown = b64encode(b'{"eventType": "TEXT_TELEPORTED"}').decode()
    first, last = body["records"]
    outcome = decoded("aws_sms", {**body, "records": [first, {"data": unknown}, 7, last]})
    assert outcome.events == decoded("aws_sms", body).events
    assert [part.element for part in outcome.rejected] == [1, 2]
    for part in outcome.rejected:
        again = decoded("aws_sms", part.raw.decode())
        assert [one.reason for one in again.rejected] == [part.reason]


def test_a_receipt_is_no_push_whatever_its_text_says() -> None:
    text = "id:3a5f9c01 sub:001 dlvrd:001 stat:DELIVRD err:000 text:dlr=2&id=k-1"
    (event,) = decoded("smpp", text).events
    assert (event["kind"], event["provider_message_id"]) == ("delivery", "3a5f9c01")


def test_the_receipt_that_kannel_hands_on_says_more_than_its_report() -> None:
    receipt = "id:3a5f9c01 stat:REJECTD err:064 text:x"
    (event,) = decoded("smpp", urlencode({"dlr": "2", "id": "k-1", "reply": receipt})).events
    assert (event["kind"], event["reason_code"]) == ("rejected", "064")
    assert event["provider_message_id"] == "k-1"


def test_the_end_of_the_line_of_a_form_is_none_of_its_last_value():
    for end in (b"", b"\n", b"\r\n"):
        body = b"MessageStatus=sent&MessageSid=SM1" + end
        [event] = decode(adapters()["twilio"], body, {}, CAME, "default").events
        assert event["message_id"] == "SM1"
