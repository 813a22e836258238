"""What several adapters need: our ids out of a sender's metadata, batches, times, forms."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, TypeVar, cast
from urllib.parse import unquote_plus

from msgspec import MsgspecError
from msgspec.json import Decoder
from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json, to_json

from schemas.events import EARLIEST, EPOCH, LATEST
from schemas.providers import Rejected, UnreadableError, explain_validation
from schemas.smtp_replies import codes_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from schemas.events import Fields

T = TypeVar("T")

_MILLISECONDS: Final = 100_000_000_000
_ZONE: Final = re.compile(r"(?:[Zz]|[+-]\d\d:?\d\d)$")
#: Attempts and parts are counted from 1 and have four digits at most: by how they are written.
_COUNTS: Final = {str(number): number for number in range(1, 10_000)}

#: The names under which a mailer hands its ids to a provider, which hands them back.
OURS: Final = frozenset(
    {"tenant_id", "message_id", "record_type", "record_id", "campaign", "attempt"}
)


def reader(kind: type[T]) -> Callable[[bytes | str], T]:
    """Return what reads JSON as a typed dict. What that raises is pydantic's `ValidationError`.

    Members it does not know are skipped by msgspec and not even built: half of pydantic's time (an
    SNS envelope and its event in 2.7, not 5.8 µs). What msgspec refuses is for pydantic to judge,
    which takes more and says what is wrong: so the type has to mean the same to both, and have none
    of pydantic's settings or validators.
    """
    read_fast = Decoder(kind).decode
    read = TypeAdapter(kind).validator.validate_json

    def read_either(payload: bytes | str) -> T:
        try:
            return read_fast(payload)
        except (MsgspecError, RecursionError, UnicodeError):
            return cast("T", read(payload))

    return read_either


def echo(metadata: Mapping[str, str]) -> Fields:
    """Return the fields that a sender's metadata gives back; whatever is not ours is left out."""
    fields: Fields = {name: value for name, value in metadata.items() if value and name in OURS}
    fields.pop("attempt", None)
    if attempt := _COUNTS.get(metadata.get("attempt", "")):
        fields["attempt"] = attempt
    return fields


def ours(metadata: Mapping[str, object] | None) -> Fields:
    """Return what `echo` finds in metadata whose values may be of any JSON type."""
    if not metadata:
        return {}
    return echo({name: in_words(metadata[name]) for name in OURS if name in metadata})


def ours_in(text: str | None) -> Fields:
    """Return our ids from the one text a sender may attach: a JSON object or a query string."""
    if not text:
        return {}
    if text.lstrip()[:1] != "{":
        return echo(form(text, OURS)) if "=" in text else {}
    try:
        return ours(from_json(text))
    except ValueError:
        return {}


def in_words(value: object) -> str:
    """Return a JSON value as a text: null as '', a list joined by commas, else compact JSON."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, list):
        return ",".join(in_words(part) for part in value)
    return to_json(value).decode()


def tags(labels: Iterable[str | None]) -> list[str]:
    """Return a sender's labels as far as an event can hold them."""
    return [label[:256] for label in labels if label][:100]


def called_back(headers: Mapping[str, str]) -> Fields:
    """Return our ids out of the callback address, whose query the record's headers keep."""
    query = headers.get("x-callback-query")
    return echo(form(query.removeprefix("?"), OURS)) if query else {}


def reference(text: str | None) -> Fields:
    """Return what a sender's one free reference gives back.

    Our ids where it is a JSON object or reads like a query string, else the reference as a tag.
    """
    if not text:
        return {}
    if text.startswith("{"):
        try:
            return ours(from_json(text))
        except (AttributeError, TypeError, ValueError):
            return {"tags": tags([text])}
    found = echo(form(text, OURS)) if "=" in text else {}
    return found or {"tags": tags([text])}


def international(number: str) -> str:
    """Return a number that is documented as international with its +, often left out or lost."""
    number = number.strip()
    return "+" + number if number.isdecimal() else number


def parts(total: int | str | None) -> Fields:
    """Return the number of segments of an SMS, where it is one."""
    number = _COUNTS.get(str(total))
    return {"parts": number} if number else {}


def elements(
    payload: bytes, read: Callable[[object], Iterator[Fields]]
) -> Iterator[Fields | Rejected]:
    """Yield the events of a JSON array, or of one object alone, as `read` gives them.

    An element that cannot be read is rejected on its own. Raises `UnreadableError` if the payload
    is neither.
    """
    try:
        body: object = from_json(payload)
    except ValueError as error:
        raise UnreadableError(f"the body is not JSON: {error}") from None
    if isinstance(body, dict):
        yield from read(body)
        return
    if not isinstance(body, list):
        raise UnreadableError("the body is neither a JSON array nor an object")
    for place, element in enumerate(body):
        try:
            yield from read(element)
        except UnreadableError as error:
            yield Rejected(reason=str(error), raw=to_json(element), element=place)
        except ValidationError as error:
            reason = explain_validation(error)
            yield Rejected(reason=reason, raw=to_json(element), element=place)


def reply(text: str | None) -> Fields:
    """Return a server's reply as the diagnostic, with the codes it quotes."""
    if not text:
        return {}
    smtp_code, enhanced = codes_in(text)
    fields: Fields = {"diagnostic": text}
    if smtp_code:
        fields["smtp_code"] = smtp_code
    if enhanced:
        fields["enhanced_status"] = enhanced
    return fields


def epoch(value: float | str) -> datetime:
    """Return a time counted since 1970 as UTC in whole milliseconds, rounded down.

    It is taken as seconds, or as milliseconds where seconds would lie beyond the year 5000.
    Raises `UnreadableError` for what is no number, or no time from 1990 to 2099.
    """
    try:
        count = float(value)
        # A float's error must not push a whole millisecond below itself.
        whole = int(count if count >= _MILLISECONDS else count * 1000 + 0.0005)
        time = EPOCH + timedelta(milliseconds=whole)
    except (OverflowError, ValueError):
        raise UnreadableError(f"time {str(value)[:40]!r} is not a count since 1970") from None
    if not EARLIEST <= time < LATEST:
        raise UnreadableError(f"time {str(value)[:40]!r} is outside 1990 to 2099")
    return time


def instant(text: str) -> datetime:
    """Return an ISO 8601 time as UTC in whole milliseconds, rounded down.

    Raises `UnreadableError` for anything else, and for a time without a zone: a provider that
    documents its times as UTC without writing so has to be read with the zone added.
    """
    try:
        time = datetime.fromisoformat(text)
        if time.tzinfo is not UTC and time.tzinfo is not None:
            time = time.astimezone(UTC)
    except (OverflowError, ValueError):
        raise UnreadableError(f"time {text[:40]!r} is not ISO 8601") from None
    if time.tzinfo is None:
        raise UnreadableError(f"time {text[:40]!r} has no zone")
    below = time.microsecond % 1000
    return time.replace(microsecond=time.microsecond - below) if below else time


def utc(text: str) -> datetime:
    """Return a time of a provider that documents its times as UTC; a zone counts where written."""
    return instant(text if _ZONE.search(text) else text.strip() + "Z")


def bare(address: str) -> str:
    """Return an address without a display name: `a@x.com` for `Ann <a@x.com>`."""
    if "<" in address:
        return address[address.rfind("<") + 1 :].partition(">")[0]
    return address


def form(body: str, wanted: frozenset[str] | None = None) -> dict[str, str]:
    """Return the fields of a form body or query string, or the `wanted` ones; the last of each.

    Several times as fast as `urllib.parse.parse_qsl`, since most values need no decoding.
    """
    fields: dict[str, str] = {}
    for pair in body.split("&"):
        name, _, value = pair.partition("=")
        if "%" in name or "+" in name:
            name = unquote_plus(name)
        if wanted is None or name in wanted:
            fields[name] = unquote_plus(value) if "%" in value or "+" in value else value
    return fields
