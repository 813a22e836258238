"""What several adapters need: echoed metadata, JSON readers, batches, times, numbers, forms."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar, cast
from urllib.parse import unquote_plus

from msgspec import MsgspecError
from msgspec.json import Decoder
from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json, to_json

from schemas.providers._rejections import RejectedPart, UnreadableError, explain_validation
from schemas.smtp_replies import find_codes

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator, Mapping

    from schemas.events import EventFields

T = TypeVar("T")
#: The kind of a status, or None if its word is not known.
K = TypeVar("K", str, str | None)

#: The names under which a mailer hands its ids to a provider, which echoes them.
METADATA_FIELDS: Final = frozenset(
    {"tenant_id", "message_id", "record_type", "record_id", "campaign", "attempt"}
)
#: Mail headers with the metadata of a mailer, in lower case, for providers that echo headers.
METADATA_HEADERS: Final = {f"x-{name.replace('_', '-')}": name for name in METADATA_FIELDS}
#: SNS messages about a subscription itself.
SNS_ADMINISTRATION: Final = frozenset({"SubscriptionConfirmation", "UnsubscribeConfirmation"})
#: Marks a diagnostic that only explains the provider's label and is no server's reply: it lists
#: possible causes, so it is not searched when a bounce is classified.
EXPLANATION_PREFIX: Final = "in general: "
#: Channels whose recipients are phone numbers, beside the SMS.
PHONE_CHANNELS: Final = frozenset({"whatsapp", "rcs"})
#: Channels that an SMS log need not name.
SMS_CHANNELS: Final = frozenset({"", "sms", "mms"})
#: Kinds of an SMS that failed.
FAILURE_KINDS: Final = frozenset({"undelivered", "rejected", "failed", "expired", "opt_out"})
_REPLY_CODE: Final = re.compile(r"[245][0-9][0-9]")
#: Attempts and parts by how they are written: from 1, with four digits at most.
_COUNTS_BY_TEXT: Final = {str(number): number for number in range(1, 10_000)}


# --------------------------------------------------------------------- JSON readers


def reader(layout: type[T]) -> Callable[[bytes | str], T]:
    """Return a function that reads JSON as a typed dict, or raises pydantic's `ValidationError`.

    msgspec skips unknown members without building them, which is faster (E-013). What it refuses
    is read again by pydantic, whose errors say what is wrong: so the type has to mean the same to
    both, without pydantic settings or validators.
    """
    read_fast = Decoder(layout).decode
    read_strict: Callable[[bytes | str], T] = TypeAdapter(layout).validator.validate_json

    def read(payload: bytes | str) -> T:
        try:
            return read_fast(payload)
        except (MsgspecError, RecursionError, UnicodeError):
            return read_strict(payload)

    return read


def validator(layout: type[T]) -> Callable[[object], T]:
    """Return a function that takes a parsed JSON value as a `layout`, else `ValidationError`."""
    validate: Callable[[object], T] = TypeAdapter(layout).validator.validate_python
    return validate


class Ignored(NamedTuple):
    """What is about no message: where a JSON object names its event, and by which words.

    `prefixes` are what such words begin with.
    """

    members: tuple[str, ...]
    words: Container[str] = ()
    prefixes: tuple[str, ...] = ()

    def includes(self, body: object) -> bool:
        """Return whether a parsed JSON body is about no message."""
        if not isinstance(body, dict):
            return False
        words = [word for name in self.members if isinstance(word := body.get(name), str)]
        return any(word in self.words or word.startswith(self.prefixes) for word in words)


def read_elements(
    payload: bytes,
    read: Callable[[object], Iterator[EventFields]],
    ignored: Ignored | None = None,
    *,
    path: tuple[str, ...] = (),
) -> Iterator[EventFields | RejectedPart]:
    """Yield the events of a JSON array, or of a single object, as `read` gives them.

    The array may be in a member of an object, or of its member: `path` has their names. An element
    that cannot be read is rejected on its own, unless it is about no message at all. Raises
    `UnreadableError` if the payload is neither array nor object.
    """
    body = parsed_json(payload)
    for member in path:
        if isinstance(body, dict) and member in body:
            body = body[member]
    if isinstance(body, dict):
        yield from read(body)
        return
    if not isinstance(body, list):
        raise UnreadableError("the body is neither a JSON array nor an object")
    yield from read_batch(body, read, to_json, ignored)


def read_lines(
    payload: bytes,
    read: Callable[[object], Iterator[EventFields]],
    ignored: Ignored | None = None,
) -> Iterator[EventFields | RejectedPart]:
    """Yield the events of JSON Lines, or of one object, as `read_elements` does of an array."""

    def read_line(line: object) -> Iterator[EventFields]:
        assert isinstance(line, bytes)
        element = parsed_json(line)
        if ignored is None or not ignored.includes(element):
            yield from read(element)

    lines = [line for line in payload.splitlines() if line.strip()]
    if len(lines) <= 1:
        yield from read_line(payload)
        return
    yield from read_batch(lines, read_line, bytes)


def read_batch(
    elements: Iterable[object],
    read: Callable[[object], Iterator[EventFields]],
    raw: Callable[[Any], bytes],
    ignored: Ignored | None = None,
) -> Iterator[EventFields | RejectedPart]:
    """Yield the events of elements; `raw` gives one as a payload that can be decoded alone."""
    for index, element in enumerate(elements):
        try:
            yield from read(element)
        except UnreadableError as error:
            yield RejectedPart(reason=str(error), raw=raw(element), element=index)
        except ValidationError as error:
            if ignored is None or not ignored.includes(element):
                reason = explain_validation(error)
                yield RejectedPart(reason=reason, raw=raw(element), element=index)


def parsed_json(payload: bytes) -> object:
    """Return a JSON value. Raises `UnreadableError` if it is none."""
    try:
        value: object = from_json(payload)
    except ValueError as error:
        raise UnreadableError(f"the body is not JSON: {error}") from None
    return value


def unknown_event(provider: str, word: str, member: str) -> UnreadableError:
    """Return the error of an event word that is in no table, or that a `member` should hold."""
    return UnreadableError(
        f"{provider} event {word[:60]!r} is not known"
        if word
        else f"a {provider} event has to name its {member!r}"
    )


def as_text(value: object) -> str:
    """Return a JSON value as a text: null as '', a list joined by commas, else compact JSON."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, list):
        return ",".join(as_text(part) for part in value)
    return to_json(value).decode()


# ----------------------------------------------------------------- echoed metadata


def echoed_texts(metadata: Mapping[str, str]) -> EventFields:
    """Return the `METADATA_FIELDS` in a sender's metadata; everything else is left out."""
    echoed = {name: value for name, value in metadata.items() if value and name in METADATA_FIELDS}
    echoed.pop("attempt", None)
    fields = cast("EventFields", echoed)
    if attempt := _COUNTS_BY_TEXT.get(metadata.get("attempt", "")):
        fields["attempt"] = attempt
    return fields


def echoed_metadata(metadata: Mapping[str, object] | None) -> EventFields:
    """Return the `METADATA_FIELDS` in metadata whose values may be of any JSON type."""
    if not metadata:
        return {}
    return echoed_texts(
        {name: as_text(metadata[name]) for name in METADATA_FIELDS if name in metadata}
    )


def header_metadata(headers: Mapping[str, str]) -> EventFields:
    """Return the metadata in a mail's headers, whose names are in lower case."""
    return echoed_texts(
        {
            field: headers[name].strip()
            for name, field in METADATA_HEADERS.items()
            if name in headers
        }
    )


def parsed_metadata(text: str | None) -> EventFields:
    """Return the metadata in the one text a sender may attach: JSON object or query string."""
    if not text:
        return {}
    if text.lstrip()[:1] != "{":
        return echoed_texts(form_fields(text, METADATA_FIELDS)) if "=" in text else {}
    try:
        return echoed_metadata(from_json(text))
    except ValueError:
        return {}


def callback_metadata(headers: Mapping[str, str]) -> EventFields:
    """Return the metadata in the query of the callback's address, which a record header keeps."""
    query = headers.get("x-callback-query")
    return echoed_texts(form_fields(query.removeprefix("?"), METADATA_FIELDS)) if query else {}


def reference_metadata(text: str | None) -> EventFields:
    """Return what a sender's one free reference gives back.

    That is its metadata if it is a JSON object or a query string, else the reference as a tag.
    """
    if not text:
        return {}
    if text.startswith("{"):
        try:
            return echoed_metadata(from_json(text))
        except (AttributeError, TypeError, ValueError):
            return {"tags": limited_tags([text])}
    metadata = echoed_texts(form_fields(text, METADATA_FIELDS)) if "=" in text else {}
    return metadata or {"tags": limited_tags([text])}


def tag_metadata(labels: Iterable[str | None]) -> EventFields:
    """Return the metadata in a sender's tags that are a query string or JSON; the rest as tags."""
    fields: EventFields = {}
    tags = []
    for label in labels:
        metadata = parsed_metadata(label)
        fields |= metadata
        tags += [] if metadata else [label]
    return {**fields, **non_empty({"tags": limited_tags(tags)})}


# --------------------------------------------------------------------------- fields


def non_empty(fields: EventFields) -> EventFields:
    """Return the fields that are not empty."""
    return cast("EventFields", {name: value for name, value in fields.items() if value})


def limited_tags(labels: Iterable[str | None]) -> list[str]:
    """Return a sender's labels, cut to what an event can hold."""
    return [label[:256] for label in labels if label][:100]


def explained_kind(kind: K, code: str, error_kinds: Mapping[str, str]) -> K | str:
    """Return the kind of an SMS status, of a failure that which its error code stands for.

    A code makes no failure of a status that is none: it may be about an attempt that the provider
    repeats, or a note beside a delivery.
    """
    return error_kinds.get(code, kind) if kind in FAILURE_KINDS else kind


def part_count(total: int | str | None) -> EventFields:
    """Return the number of segments of an SMS, if it is one."""
    number = _COUNTS_BY_TEXT.get(str(total))
    return {"parts": number} if number else {}


def reply_fields(text: str | None) -> EventFields:
    """Return a server's reply as the diagnostic, with the codes it quotes."""
    if not text:
        return {}
    smtp_code, enhanced = find_codes(text)
    fields: EventFields = {"diagnostic": text}
    if smtp_code:
        fields["smtp_code"] = smtp_code
    if enhanced:
        fields["enhanced_status"] = enhanced
    return fields


def code_field(code: int | str | None) -> EventFields:
    """Return a provider's field for the reply code, if it holds one."""
    text = str(code or "").strip()
    return {"smtp_code": int(text)} if _REPLY_CODE.fullmatch(text) else {}


def international_number(number: str) -> str:
    """Return an international number with its +, which is often left out or lost."""
    number = number.strip()
    return "+" + number if number.isdecimal() else number


class ChannelAddress(NamedTuple):
    """A recipient, and the channel by which it was reached; '' if that is not named."""

    address: str
    channel: str


def channel_address(text: str) -> ChannelAddress:
    """Return the recipient that a text like `whatsapp:+447700900123` names.

    A number is a number by any channel: it is blacklisted once. An id of a channel without numbers
    keeps its prefix, for its digits must not be taken for a number.
    """
    channel, colon, address = text.partition(":")
    if not colon:
        return ChannelAddress(text, "")
    channel = channel.strip().lower()
    return ChannelAddress(address if channel in PHONE_CHANNELS else text, channel)


def channel_label(word: str, channel: str) -> str:
    """Return a provider's word, with the channel that it is about if that is no SMS."""
    return word if channel.lower() in SMS_CHANNELS else f"{word} ({channel.lower()})"


# ---------------------------------------------------------------------------- forms


def form_fields(body: str, names: frozenset[str] | None = None) -> dict[str, str]:
    """Return the fields of a form body or query string, or those in `names`; the last of each.

    It decodes only values that need it, which makes it faster than `urllib.parse.parse_qsl`. The
    end of a line is none of a value: whoever pipes a form has one at its end.
    """
    fields: dict[str, str] = {}
    for pair in body.rstrip("\r\n").split("&"):
        name, _, value = pair.partition("=")
        if "%" in name or "+" in name:
            name = unquote_plus(name)
        if names is None or name in names:
            fields[name] = unquote_plus(value) if "%" in value or "+" in value else value
    return fields
