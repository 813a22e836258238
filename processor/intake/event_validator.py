"""What reads a mailer's event: the fields of `MessageEvent`, as a dict of those that are set."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from operator import or_
from typing import Annotated, Any, Literal

from pydantic import Discriminator, TypeAdapter
from typing_extensions import NotRequired, TypedDict

from schemas.events import (
    COMPUTED_FIELDS,
    KINDS_BY_CHANNEL,
    Channel,
    Identifier,
    MessageEvent,
    Recipient,
)


def event_validator(*channels: Channel, message_id_required: bool = True) -> Callable[[bytes], Any]:
    """Return what reads an event of some channel as a dict of what is set, as `MessageEvent` would.

    A typed dict made of the model's fields validates in less than half of the model's time (E-025).
    Raises `ValidationError`.
    """
    kinds = (_event_type(each, message_id_required=message_id_required) for each in channels)
    event: Any = reduce(or_, kinds)
    if len(channels) > 1:
        event = Annotated[event, Discriminator("channel")]
    return TypeAdapter(event).validator.validate_json


def _event_type(channel: Channel, *, message_id_required: bool) -> Any:
    """Return the type of a channel's events as they are published."""
    fields: dict[str, Any] = {}
    for name, about in MessageEvent.model_fields.items():
        if name not in COMPUTED_FIELDS:
            kind: Any = about.annotation
            if about.metadata:
                kind = Annotated[(kind, *about.metadata)]
            if not about.is_required():
                kind = NotRequired[kind | None]
            fields[name] = kind
    fields["channel"] = Literal[channel]
    fields["kind"] = Literal[tuple(sorted(KINDS_BY_CHANNEL[channel]))]
    fields["recipient"] = Recipient
    if message_id_required:
        fields["message_id"] = Identifier
    return TypedDict("Event", fields)  # type: ignore[operator]
