"""46elks: SMS delivery reports (a form), one event for each status of a message.

A report has the message's id and its status, and no number: the id joins an event with its row. The
sender's metadata comes back as parameters of the callback's address. Source: 46elks's docs, "SMS
delivery reports".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from schemas.providers._common import (
    METADATA_FIELDS,
    as_text,
    callback_metadata,
    echoed_texts,
    form_fields,
    international_number,
)
from schemas.providers._rejections import UnreadableError
from schemas.providers._tells import Tells
from schemas.providers._times import reported_time, utc_time

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from schemas.events import Channel, EventFields

#: The module is not named so, because no module's name may begin with a digit.
PROVIDER: Final = "46elks"
CHANNEL: Final[Channel] = "sms"
TELLS: Final = Tells(ids="query", recipient="no")

STATUS_KINDS: Final = {
    "sent": "sent",
    "delivered": "delivery",
    "failed": "failed",
}
#: The direction of a message of ours; what comes in has another, or a text without a status.
OUTGOING: Final = "outgoing"
FORM_FIELDS: Final = METADATA_FIELDS | {
    "id", "status", "delivered", "to", "direction", "message", "from",
}  # fmt: skip


def events(payload: bytes, headers: Mapping[str, str]) -> Iterator[EventFields]:
    """Yield the event of one report; see `schemas.providers.Adapter`."""
    report = form_fields(payload.decode("utf-8", "replace"), FORM_FIELDS)
    get = report.get
    word, message_id = get("status", "").lower(), get("id", "")
    is_message = not word and "from" in report and "message" in report
    if get("direction", OUTGOING) != OUTGOING or (message_id and is_message):
        return
    if not word or not message_id:
        raise UnreadableError("a 46elks report names id and status")
    if word not in STATUS_KINDS:
        raise UnreadableError(f"46elks status {word[:60]!r} is not known")
    event: EventFields = {
        **callback_metadata(headers),
        **echoed_texts(report),
        **reported_time(as_text(get("delivered")), utc_time),
        "kind": STATUS_KINDS[word],
        "recipient": international_number(get("to", "")),
        "provider_message_id": message_id,
        "label": word,
    }
    yield event
