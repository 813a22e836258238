"""Provider adapters: they turn what a provider pushed into message events.

An adapter is a module of this package with `PROVIDER`, `CHANNEL` and `events` (see `Adapter`); it
is found by walking the package. `decode` completes an adapter's events and never raises;
`normalise` does the same for people and tools, and returns `MessageEvent`s.
"""

from __future__ import annotations

import importlib
import pkgutil
from contextlib import suppress
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, cast

from pydantic import ValidationError
from pydantic_core import from_json

from schemas.addresses import normal_form
from schemas.bounces import Verdict, classify_bounce
from schemas.events import (
    EPOCH,
    KINDS_BY_CHANNEL,
    MAX_EVENT_TIME,
    MIN_EVENT_TIME,
    Channel,
    EventFields,
    MessageEvent,
    fingerprint,
    milliseconds,
)
from schemas.providers._common import EXPLANATION_PREFIX, Ignored
from schemas.providers._rejections import RejectedPart, UnreadableError, explain_validation
from schemas.providers._repair import (
    may_have_control_bytes,
    strip_control_bytes,
    without_lone_surrogates,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime

    from schemas.bounces import BounceRules, LabelClass
    from schemas.providers._tells import Tells

__all__ = [
    "DEFAULT_TENANT_HEADER", "TENANT_HEADER", "Adapter", "Decoded", "RejectedPart",
    "UnreadableError", "adapters", "decode", "explain_validation", "normalise", "verdict",
    "version_of",
]  # fmt: skip

#: The record header with the tenant of a payload, whatever the payload itself says.
TENANT_HEADER: Final = "sendlog-tenant"
#: The record header with the tenant of a payload that names none, of an account that several share.
DEFAULT_TENANT_HEADER: Final = "sendlog-default-tenant"
#: The longest text each field of a message event takes.
MAX_CHARACTERS: Final[Mapping[str, int]] = {
    name: constraint.max_length
    for name, field_info in MessageEvent.model_fields.items()
    if field_info.annotation is str
    for constraint in field_info.metadata
    if getattr(constraint, "max_length", None)
}
#: Texts for people, which are cut where they are too long. Any other field is then rejected.
TRUNCATED_FIELDS: Final = frozenset(
    {"subject", "text", "diagnostic", "user_agent", "url", "reason_code", "label", "campaign"}
)
_SMALLEST_LIMIT: Final = min(MAX_CHARACTERS.values())
_SHAPE_ERRORS: Final = (
    ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError,
)  # fmt: skip


class Adapter(Protocol):
    """What a module of this package offers."""

    PROVIDER: str
    CHANNEL: Channel
    TELLS: Tells

    def events(
        self, payload: bytes, headers: Mapping[str, str]
    ) -> Iterator[EventFields | RejectedPart]:
        """Yield the events of one payload, in its order; nothing for what is not about a message.

        An event holds `kind`, `recipient` ('' if the payload names none) and the other fields that
        the payload gives, without those that `decode` fills in: channel, provider, event_id,
        recorded_ms, and `tenant_id`, `message_id`, `occurred_at` where the payload has none. A
        broken element of a batch is yielded as `RejectedPart`, and the rest of the batch is still
        read. Header names are lower-case.

        Raises `UnreadableError` if nothing can be read, or a pydantic `ValidationError`.

        A module that yields bounces also offers `label_class(bounce) -> LabelClass | None`: the
        class that the provider's own label stands for. It reads `label` and `reason_code` only;
        `decode` decides what the class of the bounce is.

        A module whose provider also pushes what is about no message has `IGNORED`. It is asked of a
        JSON body whose layout is wrong: nothing of it is read then.

        A module that reads old payloads otherwise than it did states a `VERSION`, of 65,535 at
        most, above that of before (`version_of`).
        """
        ...


class Decoded(NamedTuple):
    """The outcome for one payload."""

    events: list[EventFields]
    rejected: list[RejectedPart]


@cache
def adapters() -> Mapping[str, Adapter]:
    """Return all adapters by provider name.

    Raises `RuntimeError` if two modules claim one name.
    """
    by_name: dict[str, Adapter] = {}
    for info in pkgutil.iter_modules(__path__, __name__ + "."):
        module = importlib.import_module(info.name)
        if not hasattr(module, "PROVIDER"):
            continue
        adapter = cast("Adapter", module)
        if adapter.PROVIDER in by_name:
            raise RuntimeError(f"two adapters are named {adapter.PROVIDER!r}; see {info.name}")
        by_name[adapter.PROVIDER] = adapter
    return by_name


def version_of(adapter: Adapter) -> int:
    """Return the version of an adapter, which its events are stored with; 1 if it states none."""
    version: int = getattr(adapter, "VERSION", 1)
    return version


def verdict(
    adapter: Adapter, bounce: Mapping[str, Any], rules: BounceRules | None = None
) -> Verdict:
    """Classify a bounce by its codes, its diagnostic, else the provider's label.

    It reads only what the event store keeps of the `bounce`, so that history can be classified
    again by other `rules`; without them, those that ship with the package apply.
    """
    label_class: Callable[[Mapping[str, Any]], LabelClass | None] | None
    label_class = getattr(adapter, "label_class", None)
    text = bounce.get("diagnostic") or ""
    return classify_bounce(
        bounce.get("enhanced_status") or "",
        bounce.get("smtp_code") or None,
        "" if text.startswith(EXPLANATION_PREFIX) else text,
        label_class(bounce) if label_class else None,
        rules,
    )


def decode(
    adapter: Adapter,
    payload: bytes,
    headers: Mapping[str, str],
    recorded_ms: int,
    tenant: str,
    rules: BounceRules | None = None,
) -> Decoded:
    """Turn one payload into complete event fields; whatever cannot be read is in `rejected`.

    `recorded_ms` is the Kafka record's timestamp, in milliseconds since 1970, and stands in for the
    time of events that carry none; `rules` classify bounces. Never raises.

    The tenant is that of the header `sendlog-tenant`, if there is one: whoever can have a payload
    sent must not be able to write another tenant's rows. Otherwise it comes from the sender's
    metadata in the payload, then from the header `sendlog-default-tenant`, then from `tenant`.
    """
    events: list[EventFields] = []
    rejected: list[RejectedPart] = []
    problems: list[str] = []
    fixed_tenant = headers.get(TENANT_HEADER)
    default_tenant = headers.get(DEFAULT_TENANT_HEADER) or tenant
    strip_controls = may_have_control_bytes(payload)
    try:
        for event in adapter.events(payload, headers):
            if isinstance(event, RejectedPart):
                rejected.append(event)
                continue
            if strip_controls:
                strip_control_bytes(event)
            event["tenant_id"] = fixed_tenant or event.get("tenant_id") or default_tenant
            problem = _complete(event, adapter, recorded_ms, rules)
            if problem:
                problems.append(problem)
            else:
                events.append(event)
    except (UnreadableError, *_SHAPE_ERRORS) as error:
        rejected += _rejections_of(error, adapter, payload)
    if problems:
        rejected.append(_rejected_events(problems, payload))
    if rejected and (repaired := without_lone_surrogates(payload)) != payload:
        return decode(adapter, repaired, headers, recorded_ms, tenant, rules)
    return Decoded(events, rejected)


def _rejected_events(problems: Sequence[str], payload: bytes) -> RejectedPart:
    """Return one rejection for all events that something is wrong with.

    A copy of the payload for each of them would multiply a large batch.
    """
    more = f" (and {len(problems) - 1} more of its events)" if len(problems) > 1 else ""
    return RejectedPart(reason=problems[0] + more, raw=payload)


def _rejections_of(error: Exception, adapter: Adapter, payload: bytes) -> list[RejectedPart]:
    """Return the rejection of a payload that an error has ended; none if it is about no message."""
    if isinstance(error, ValidationError):
        ignored: Ignored | None = getattr(adapter, "IGNORED", None)
        with suppress(ValueError):
            if ignored is not None and ignored.includes(from_json(payload)):
                return []
        reason = explain_validation(error)
    elif isinstance(error, UnreadableError):
        reason = str(error)
    else:
        # A shape that the adapter did not foresee is rejected like any other bad payload.
        # The error's own text is left out, for it may quote an address.
        reason = f"unexpected shape ({type(error).__name__})"
    return [RejectedPart(reason=reason, raw=payload)]


def _complete(
    event: EventFields, adapter: Adapter, recorded_ms: int, rules: BounceRules | None
) -> str:
    """Fill in what is common to all providers; return what is wrong with the event, or ''."""
    kind = event["kind"]
    if kind not in KINDS_BY_CHANNEL[adapter.CHANNEL]:
        return f"kind {kind!r} is not a kind of {adapter.CHANNEL}"
    event["message_id"] = event.get("message_id") or event.get("provider_message_id") or ""
    event["recipient"] = event["recipient"].strip().lower()
    for value in event.values():
        if value.__class__ is str and len(value) > _SMALLEST_LIMIT:
            if problem := _truncate(event):
                return problem
            break
    event["channel"] = adapter.CHANNEL
    event["provider"] = adapter.PROVIDER
    occurred_at = event.get("occurred_at")
    own_time = occurred_at is not None
    if occurred_at is None:
        event["occurred_at"] = EPOCH + timedelta(milliseconds=recorded_ms)
    elif not MIN_EVENT_TIME <= occurred_at < MAX_EVENT_TIME:
        return f"occurred_at {occurred_at} is outside 1990 to 2099: unit or clock wrong"
    event["recorded_ms"] = recorded_ms
    if kind == "bounce":
        bounce = verdict(adapter, event, rules)
        event["bounce_class"] = bounce.bounce_class
        event["classified_by"] = bounce.classified_by
    event["event_id"] = fingerprint(event, own_time=own_time)
    return ""


def _truncate(event: EventFields) -> str:
    """Cut texts that are too long for their field; return which field cannot be cut, or ''."""
    for name, limit in MAX_CHARACTERS.items():
        value = event.get(name)
        if isinstance(value, str) and len(value) > limit:
            if name not in TRUNCATED_FIELDS:
                return f"{name} is {len(value)} characters long; it takes {limit}"
            event[name] = value[:limit]  # type: ignore[literal-required]
    return ""


def normalise(
    provider: str,
    payload: bytes,
    headers: Mapping[str, str],
    recorded_at: datetime,
    tenant: str = "default",
    *,
    rules: BounceRules | None = None,
) -> list[MessageEvent]:
    """Return the events of one payload, in its order; `rules` classify bounces.

    `tenant` stands in where neither payload nor `headers` name one, as in `decode`.

    Raises `UnreadableError` for an unknown provider, or if the payload, or an element of it,
    cannot be read.
    """
    adapter = adapters().get(provider)
    if adapter is None:
        raise UnreadableError(
            f"no adapter for provider {provider!r}; there are: {', '.join(sorted(adapters()))}"
        )
    decoded = decode(adapter, payload, headers, milliseconds(recorded_at), tenant, rules)
    if decoded.rejected:
        raise UnreadableError("; ".join(part.reason for part in decoded.rejected))
    try:
        version = version_of(adapter)
        return [_as_logged(event, recorded_at, version) for event in decoded.events]
    except ValidationError as error:
        raise UnreadableError(explain_validation(error)) from error


def _as_logged(event: EventFields, recorded_at: datetime, version: int) -> MessageEvent:
    """Return an event with its recipient as the log has it."""
    recipient, error = normal_form(event["channel"], event["recipient"])
    logged = {
        "recipient": recipient, "recipient_error": error, "recorded_at": recorded_at,
        "adapter_version": version,
    }  # fmt: skip
    return MessageEvent.model_validate({**event, **logged})
