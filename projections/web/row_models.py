"""The models of the logs' rows, made from the tables and the meaning of each column."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, WithJsonSchema, create_model

from projections.column_types import base_type
from projections.tables import log_of
from schemas.events import Channel, iso_milliseconds

#: A time, in JSON as ISO 8601 with milliseconds.
JsonTime = Annotated[
    datetime,
    PlainSerializer(iso_milliseconds, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}, mode="serialization"),
]

#: The meaning of each column, and an example of its value.
COLUMN_MEANINGS: Final[Mapping[str, tuple[str, object]]] = {
    "tenant_id": ("The business the message belongs to", "acme"),
    "date": ("Time of the message's first fact, by which a log is sorted", "2026-11-20T09:00:00Z"),
    "recipient": ("Address, lower-cased; or number in E.164", "parent@example.com"),
    "subject": ("Subject of the email", "Invoice for November"),
    "text": ("Text of the SMS", "Pickup is at 3 pm today"),
    "status": ("Where the message stands, by the rules of its log", "Bounce"),
    "status_reason": ("Why, in plain words", "550 5.1.1 mailbox does not exist"),
    "message_id": ("The id that mailer and provider both know", "m-2041"),
    "record_type": ("Whose record the message belongs to", "family"),
    "record_id": ("Which record", "42"),
    "campaign": ("The campaign it was part of", "autumn"),
    "tags": ("Tags, in order", ["invoice"]),
    "provider": ("Who delivered it", "ses"),
    "provider_message_id": ("The provider's own id", "0100018c-7e"),
    "sent_at": ("When the provider, or carrier, took it", "2026-11-20T09:00:01Z"),
    "delivered_at": ("When it arrived, or the first sign that it had", "2026-11-20T09:00:03Z"),
    "delivered_inferred": ("Nobody said delivered: a later sign implies it", False),
    "opened_at": ("First open, or click, by a person", None),
    "opened_inferred": ("There was a click without an open", False),
    "clicked_at": ("First click by a person", None),
    "machine_opened_at": ("First open or click by a machine", None),
    "complained_at": ("When its recipient reported it as spam", None),
    "unsubscribed_at": ("When its recipient unsubscribed by it", None),
    "bounced_at": ("When it bounced for good", "2026-11-20T09:00:04Z"),
    "bounce_class": ("hard, soft, block, undetermined, or empty", "hard"),
    "smtp_code": ("SMTP code of the failure, 0 if none", 550),
    "enhanced_status": ("Enhanced status code (RFC 3463)", "5.1.1"),
    "reason_code": ("The provider's own code", "bounce"),
    "diagnostic": ("The provider's text", "550 5.1.1 user unknown"),
    "open_count": ("Opens by people", 0),
    "click_count": ("Clicks by people", 0),
    "soft_bounce_count": ("Attempts that bounced softly", 0),
    "attempts": ("Attempts to send it", 1),
    "next_retry_at": ("When it is to be sent again", None),
    "read_at": ("When the SMS was read", None),
    "handset": ("Whether the handset confirmed it, not only the operator", None),
    "parts": ("Segments of the SMS", 1),
    "conflict": ("Its facts contradict each other", False),
    "last_event_at": ("Time of its last fact", "2026-11-20T09:00:04Z"),
    "first_recorded_at": ("When Sendlog first heard of it", "2026-11-20T09:00:01.250Z"),
}
_PYTHON_TYPES: Final[Mapping[str, type]] = {
    "String": str, "Bool": bool, "Array(String)": list[str],
}  # fmt: skip


def _python_type(column_type: str) -> Any:
    base = base_type(column_type)
    python_type: Any = _PYTHON_TYPES.get(base, int)
    if base.startswith("DateTime"):
        python_type = JsonTime
    return python_type | None if column_type.startswith("Nullable(") else python_type


def _row_model(name: str, channel: Channel) -> type[BaseModel]:
    fields: dict[str, Any] = {}
    for column, expression in log_of(channel).columns.items():
        meaning, example = COLUMN_MEANINGS[column]
        fields[column] = (
            _python_type(expression.kind), Field(description=meaning, examples=[example])
        )  # fmt: skip
    return create_model(name, __config__=ConfigDict(extra="forbid"), **fields)


EmailRow: Final = _row_model("EmailRow", "email")
SmsRow: Final = _row_model("SmsRow", "sms")


def json_value(value: Any) -> Any:
    """Return a value of a row as JSON has it: times as text."""
    return iso_milliseconds(value) if isinstance(value, datetime) else value


def json_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row with its values as JSON has them."""
    return {name: json_value(value) for name, value in row.items()}
