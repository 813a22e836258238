"""A broken element of a large batch costs that element, and nothing of its neighbours."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any
from urllib.parse import parse_qs, urlencode

import pytest

from schemas.providers import Decoded, adapters, decode
from tests.paths import PAYLOADS

ARRIVED_MS = 1_748_779_200_005  # in June 2025
BATCH_ELEMENTS = 1_000
PLACES = (0, 500, 999)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """How a provider batches."""

    split: Callable[[str], list[Any]]  # the elements of an example; none if it is no batch
    join: Callable[[list[Any]], str]  # the payload of some elements
    unknown: Any  # an element that is well-formed and says what nobody knows


def array(payload: str) -> list[Any]:
    """Split a JSON array; an object alone is an element as well."""
    if payload.lstrip()[:1] not in ("[", "{"):
        return []
    body = json.loads(payload)
    return body if isinstance(body, list) else [body]


def mandrill_form(payload: str) -> list[Any]:
    return array(parse_qs(payload).get("mandrill_events", [payload])[0])


def telnyx_recipients(payload: str) -> list[Any]:
    body = json.loads(payload)
    return body.get("data", body)["payload"]["to"]


def telnyx_webhook(recipients: list[Any]) -> str:
    # One without an error, which would be about all recipients.
    case = json.loads((PAYLOADS / "telnyx" / "status_sent.json").read_text("utf-8"))
    body = json.loads(case["payload"])
    body["data"]["payload"]["to"] = recipients
    return json.dumps(body)


def sinch_statuses(payload: str) -> list[Any]:
    return json.loads(payload).get("statuses", [])


def sinch_report(statuses: list[Any]) -> str:
    report = {"type": "delivery_report_sms", "batch_id": "01JTEXAMPLE", "statuses": statuses}
    return json.dumps(report)


def aws_records(payload: str) -> list[Any]:
    """Split a log group's push; an event that comes as it is may be a record's text as well."""
    body = json.loads(payload)
    if "logEvents" in body:
        return body["logEvents"]
    return [] if {"Message", "detail", "records"} & set(body) else [{"message": payload}]


def aws_log_group(records: list[Any]) -> str:
    return json.dumps({"messageType": "DATA_MESSAGE", "logEvents": records})


def infobip_results(payload: str) -> list[Any]:
    """Split a push of reports; a notification that comes alone is as good as one of them."""
    body = json.loads(payload)
    return body.get("results", [body])


def infobip_push(results: list[Any]) -> str:
    return json.dumps({"results": results})


def clickatell_statuses(payload: str) -> list[Any]:
    if not payload.startswith("{"):
        return []
    return json.loads(payload).get("event", {}).get("messageStatusUpdate", [])


def clickatell_push(statuses: list[Any]) -> str:
    return json.dumps({"integrationId": "1", "event": {"messageStatusUpdate": statuses}})


def mailtrap_events(payload: str) -> list[Any]:
    return json.loads(payload)["events"] if payload.startswith('{"events"') else []


def kumomta_lines(payload: str) -> list[Any]:
    lines = [payload] if payload.startswith("[") else payload.splitlines()
    return [record for line in lines for record in array(line)]


def zeptomail_messages(payload: str) -> list[Any]:
    """Return the messages of a push of deliveries, as those of another event would say."""
    body = json.loads(payload) if payload.startswith("{") else {"event_name": ""}
    return body["event_message"] if body["event_name"] == ["delivered"] else []


BATCHES = {
    "aws_sms": Batch(
        split=aws_records,
        join=aws_log_group,
        unknown={"message": '{"eventType": "TEXT_TELEPORTED", "messageStatus": "TELEPORTED"}'},
    ),
    "azure": Batch(
        split=array,
        join=json.dumps,
        unknown={"eventType": "Microsoft.Communication.EmailTeleported", "data": {}},
    ),
    "azure_sms": Batch(
        split=array,
        join=json.dumps,
        unknown={"type": "Microsoft.Communication.SMSDeliveryTeleported", "data": {}},
    ),
    "bandwidth": Batch(
        split=array,
        join=json.dumps,
        unknown={"type": "message-teleported", "message": {"id": "m-1"}},
    ),
    "brevo": Batch(split=array, join=json.dumps, unknown={"event": "teleported"}),
    "clickatell": Batch(
        split=clickatell_statuses,
        join=clickatell_push,
        unknown={"channel": "sms", "messageId": "m-1", "status": "TELEPORTED", "statusCode": 4},
    ),
    "infobip": Batch(
        split=infobip_results,
        join=infobip_push,
        unknown={"messageId": "m-1", "status": {"groupName": "TELEPORTED", "name": "TELEPORTED"}},
    ),
    "infobip_email": Batch(
        split=infobip_results,
        join=infobip_push,
        unknown={"messageId": "m-1", "notificationType": "TELEPORTED"},
    ),
    "kumomta": Batch(
        split=kumomta_lines,
        join=lambda elements: "\n".join(map(json.dumps, elements)),
        unknown={"type": "Teleported"},
    ),
    "mailjet": Batch(split=array, join=json.dumps, unknown={"event": "teleported"}),
    "mailtrap": Batch(
        split=mailtrap_events,
        join=lambda elements: json.dumps({"events": elements}),
        unknown={"event": "teleported"},
    ),
    "mandrill": Batch(
        split=mandrill_form,
        join=lambda elements: urlencode({"mandrill_events": json.dumps(elements)}),
        unknown={"event": "teleported"},
    ),
    "sendgrid": Batch(split=array, join=json.dumps, unknown={"event": "teleported"}),
    "sinch": Batch(
        split=sinch_statuses,
        join=sinch_report,
        unknown={"status": "Teleported", "recipients": ["447700900311"]},
    ),
    "sparkpost": Batch(
        split=array,
        join=json.dumps,
        unknown={"msys": {"message_event": {"type": "teleported"}}},
    ),
    "telnyx": Batch(
        split=telnyx_recipients,
        join=telnyx_webhook,
        unknown={"phone_number": "+447700900311", "status": "teleported"},
    ),
    "twilio": Batch(
        split=array,
        join=json.dumps,
        unknown={"data": {"messageSid": "SM1", "messageStatus": "teleported"}},
    ),
    "zeptomail": Batch(
        split=zeptomail_messages,
        join=lambda messages: json.dumps({"event_name": ["delivered"], "event_message": messages}),
        unknown=["teleported"],
    ),
}


def examples(provider: str) -> Iterator[Any]:
    """Yield the elements of every example that is about a message of ours."""
    for path in sorted((PAYLOADS / provider).glob("*.json")):
        case = json.loads(path.read_text("utf-8"))
        if case["expected"]:
            yield from BATCHES[provider].split(case["payload"])


def decoded(provider: str, payload: bytes) -> Decoded:
    return decode(adapters()[provider], payload, {}, ARRIVED_MS, "default")


@pytest.mark.parametrize("provider", BATCHES)
def test_three_broken_elements_of_a_thousand_cost_three_elements(provider) -> None:
    batch = BATCHES[provider]
    sound = list(examples(provider))
    alone = [decoded(provider, batch.join([element]).encode()) for element in sound]
    assert sound
    assert not [one.rejected for one in alone if one.rejected]

    elements = list(islice(cycle(sound), BATCH_ELEMENTS - len(PLACES)))
    expected = [event for one in islice(cycle(alone), len(elements)) for event in one.events]
    broken = dict(zip(PLACES, ["not an element", batch.unknown, 7], strict=True))
    for place, element in broken.items():
        elements.insert(place, element)
    assert len(elements) == BATCH_ELEMENTS

    whole = decoded(provider, batch.join(elements).encode())

    assert whole.events == expected
    assert [part.element for part in whole.rejected] == list(PLACES)
    for part in whole.rejected:
        assert part.reason
        again = decoded(provider, part.raw)
        assert not again.events
        assert [rejected.reason for rejected in again.rejected], part.reason
        assert len(again.rejected) == 1
