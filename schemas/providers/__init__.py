"""Provider adapters: what a provider pushed, turned into message events.

An adapter is one module here with `PROVIDER`, `CHANNEL` and `events` (see `Adapter`); it is found
by walking the package. `decode` completes what adapters give and never raises; `normalise` is the
same for people and tools, as `MessageEvent`s.
"""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, cast

from pydantic import ValidationError

from schemas.bounces import Verdict, classify
from schemas.errors import ExplainedError
from schemas.events import (
    EARLIEST,
    EPOCH,
    KINDS,
    LATEST,
    BounceClass,
    Channel,
    Fields,
    MessageEvent,
    fingerprint,
    milliseconds,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime

    from schemas.bounces import Rules

#: The record header that says whose a payload is, whatever the payload itself says.
TENANT_HEADER: Final = "sendlog-tenant"
#: The one that says whose it is where the payload does not, of an account that several share.
DEFAULT_TENANT_HEADER: Final = "sendlog-default-tenant"
#: The longest text each field of a message event takes.
LIMITS: Final[Mapping[str, int]] = {
    name: constraint.max_length
    for name, field_info in MessageEvent.model_fields.items()
    if field_info.annotation is str
    for constraint in field_info.metadata
    if getattr(constraint, "max_length", None)
}
#: Texts for people to read: one too long is cut. Anything else too long is no such thing.
CUT: Final = frozenset(
    {"subject", "text", "diagnostic", "user_agent", "url", "reason_code", "label", "campaign"}
)
_SHORTEST: Final = min(LIMITS.values())
#: What a diagnostic begins with that explains the provider's label, for people, and is no reply of
#: a server: it names what may have been, so nothing in it counts for the class of a bounce.
IN_GENERAL: Final = "in general: "
_BROKEN: Final = (
    ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError,
)  # fmt: skip


class UnreadableError(ExplainedError, ValueError):
    """A payload, or one element of it, that cannot become events; its text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """A part of a payload that gave no event: what becomes a dead letter.

    `element` is its place in a batch payload, from 0, or None for the whole payload; `raw` is
    what can be decoded again, on its own, once the cause is mended.
    """

    reason: str
    raw: bytes
    element: int | None = None


class Adapter(Protocol):
    """What a module of this package offers."""

    PROVIDER: str
    CHANNEL: Channel

    def events(self, payload: bytes, headers: Mapping[str, str]) -> Iterator[Fields | Rejected]:
        """Yield the events of one payload, in its order; nothing for what is not about a message.

        An event holds `kind`, `recipient` ('' if the payload names none) and what else is known,
        without the fields that `decode` fills in: channel, provider, event_id, recorded_at, and
        `tenant_id`, `message_id`, `occurred_at` where the payload does not say. A broken element
        of a batch is yielded as `Rejected`, and its neighbours go on. Header names are lower-case.

        Raises `UnreadableError` if nothing can be read, or a pydantic `ValidationError`.

        A module that yields bounces also offers `label_class(event) -> BounceClass | None`: what
        the provider's own verdict, of which `label` and `reason_code` are all there is, means in
        our words. The class itself is for `decode` to find.
        """
        ...


class Decoded(NamedTuple):
    """The outcome for one payload."""

    events: list[Fields]
    rejected: list[Rejected]


@cache
def adapters() -> Mapping[str, Adapter]:
    """Return all adapters by provider name.

    Raises `RuntimeError` if two modules claim one name.
    """
    found: dict[str, Adapter] = {}
    for info in pkgutil.iter_modules(__path__, __name__ + "."):
        module = importlib.import_module(info.name)
        if not hasattr(module, "PROVIDER"):
            continue
        adapter = cast("Adapter", module)
        if adapter.PROVIDER in found:
            raise RuntimeError(f"two adapters are named {adapter.PROVIDER!r}; see {info.name}")
        found[adapter.PROVIDER] = adapter
    return found


def explain_validation(error: ValidationError) -> str:
    """Return one line that names each wrong field and what it takes, without its value."""
    return "; ".join(
        f"{'.'.join(str(step) for step in problem['loc']) or 'payload'}: {problem['msg']}"
        for problem in error.errors(include_input=False, include_url=False)[:5]
    )


def verdict(adapter: Adapter, bounce: Mapping[str, object], rules: Rules | None = None) -> Verdict:
    """Judge a bounce by its codes, its diagnostic, else the provider's label.

    It rests on nothing but what the event store keeps of the `bounce`, so that history can be
    judged again by other rules. Without `rules`, those that ship with the package.
    """
    of_label: Callable[[Mapping[str, object]], BounceClass | None] | None
    of_label = getattr(adapter, "label_class", None)
    text = str(bounce.get("diagnostic") or "")
    return classify(
        str(bounce.get("enhanced_status") or ""),
        cast("int | None", bounce.get("smtp_code")) or None,
        "" if text.startswith(IN_GENERAL) else text,
        of_label(bounce) if of_label else None,
        rules,
    )


def decode(
    adapter: Adapter,
    payload: bytes,
    headers: Mapping[str, str],
    recorded_at: int,
    tenant: str,
    rules: Rules | None = None,
) -> Decoded:
    """Turn one payload into complete event fields; whatever cannot be read is in `rejected`.

    `recorded_at` is the Kafka record's timestamp, in milliseconds since 1970, and stands in for the
    time of events that carry none; `rules` classify bounces. Never raises.

    The tenant is that of the header `sendlog-tenant`, where there is one: who can have a payload
    sent must not be able to write another tenant's rows. Else it is that of the sender's metadata,
    in the payload; else that of the header `sendlog-default-tenant`; else `tenant`.
    """
    events: list[Fields] = []
    rejected: list[Rejected] = []
    problems: list[str] = []
    whose = headers.get(TENANT_HEADER)
    otherwise = headers.get(DEFAULT_TENANT_HEADER) or tenant
    try:
        for event in adapter.events(payload, headers):
            if isinstance(event, Rejected):
                rejected.append(event)
                continue
            event["tenant_id"] = whose or event.get("tenant_id") or otherwise
            problem = _complete(event, adapter, recorded_at, rules)
            if problem:
                problems.append(problem)
            else:
                events.append(event)
    except ValidationError as error:
        rejected.append(Rejected(reason=explain_validation(error), raw=payload))
    except UnreadableError as error:
        rejected.append(Rejected(reason=str(error), raw=payload))
    except _BROKEN as error:
        # A shape that the adapter did not foresee: kept and named, like any other bad payload.
        # The error's own text is left out, for it may quote an address.
        reason = f"unexpected shape ({type(error).__name__})"
        rejected.append(Rejected(reason=reason, raw=payload))
    if problems:
        # Once for the whole payload: a copy of it for each event would multiply a large batch.
        more = f" (and {len(problems) - 1} more of its events)" if len(problems) > 1 else ""
        rejected.append(Rejected(reason=problems[0] + more, raw=payload))
    return Decoded(events, rejected)


def _complete(
    event: dict[str, Any], adapter: Adapter, recorded_at: int, rules: Rules | None
) -> str:
    """Fill in what is common to all providers; return what is wrong with the event, or ''."""
    kind = event["kind"]
    if kind not in KINDS[adapter.CHANNEL]:
        return f"kind {kind!r} is not a kind of {adapter.CHANNEL}"
    event["message_id"] = event.get("message_id") or event.get("provider_message_id") or ""
    event["recipient"] = event["recipient"].strip().lower()
    for value in event.values():
        if value.__class__ is str and len(value) > _SHORTEST:
            if problem := _fit(event):
                return problem
            break
    event["channel"] = adapter.CHANNEL
    event["provider"] = adapter.PROVIDER
    occurred_at = event.get("occurred_at")
    own_time = occurred_at is not None
    if occurred_at is None:
        event["occurred_at"] = EPOCH + timedelta(milliseconds=recorded_at)
    elif not EARLIEST <= occurred_at < LATEST:
        return f"occurred_at {occurred_at} is outside 1990 to 2099: unit or clock wrong"
    event["recorded_at"] = recorded_at
    if kind == "bounce":
        judged = verdict(adapter, event, rules)
        event["bounce_class"] = judged.bounce_class
        event["classified_by"] = judged.classified_by
    event["event_id"] = fingerprint(event, own_time=own_time)
    return ""


def _fit(event: Fields) -> str:
    """Cut texts that are too long for their field; return what cannot be cut, or ''."""
    for name, limit in LIMITS.items():
        value = event.get(name)
        if isinstance(value, str) and len(value) > limit:
            if name not in CUT:
                return f"{name} is {len(value)} characters long; it takes {limit}"
            event[name] = value[:limit]
    return ""


def normalise(
    provider: str,
    payload: bytes,
    headers: Mapping[str, str],
    recorded_at: datetime,
    tenant: str = "default",
    *,
    rules: Rules | None = None,
) -> list[MessageEvent]:
    """Return the events of one payload, in its order; `rules` classify bounces.

    `tenant` stands in where neither payload nor `headers` name one, as `decode` says.

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
        return [
            MessageEvent.model_validate({**event, "recorded_at": recorded_at})
            for event in decoded.events
        ]
    except ValidationError as error:
        raise UnreadableError(explain_validation(error)) from error
