"""Mailgun: one event in each push, as JSON (`event-data`) or as a form (the legacy webhooks).

`delivery-status.code` also holds codes that Mailgun invents (498, 499, 6xx): they say why Mailgun
gave up and are no SMTP codes. Sources: Mailgun's docs, "Webhooks", "Event structure" and, for the
forms, "Tracking messages: legacy webhooks".
"""

from __future__ import annotations

import re
from email.utils import getaddresses
from typing import TYPE_CHECKING, Any, Final

from pydantic_core import from_json
from typing_extensions import TypedDict

from schemas.providers._common import (
    METADATA_FIELDS,
    echoed_metadata,
    echoed_texts,
    form_fields,
    limited_tags,
    non_empty,
    reader,
    reply_fields,
)
from schemas.providers._multipart import multipart_fields
from schemas.providers._rejections import UnreadableError
from schemas.providers._tells import Tells
from schemas.providers._times import epoch_time
from schemas.smtp_replies import leading_status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from schemas.bounces import LabelClass
    from schemas.events import Channel, EventFields

PROVIDER: Final = "mailgun"
CHANNEL: Final[Channel] = "email"
TELLS: Final = Tells(ids="`v:…` variables", deferrals=True, opens="marked", batches=True)

EVENT_KINDS: Final = {
    "accepted": "queued",
    "delivered": "delivery",
    "opened": "open",
    "clicked": "click",
    "unsubscribed": "unsubscribe",
    "complained": "complaint",
    "rejected": "failure",
    "failed": "bounce",
    "bounced": "bounce",  # legacy
    "dropped": "bounce",  # legacy: given up
}
#: Incoming mail, and uploads of mailing lists.
IGNORED_EVENTS: Final = frozenset(
    {"stored", "list_member_uploaded", "list_member_upload_error", "list_uploaded"}
)
#: Mailgun's own refusals, by reason or code: because of what it knows about the address, or (625)
#: of the poor quality of the sender's list.
PROVIDER_REFUSALS: Final = {
    "suppress-bounce": "invalid",
    "suppress-complaint": "invalid",
    "suppress-unsubscribe": "skipped",
    "605": "invalid",
    "606": "skipped",
    "607": "invalid",
    "625": "failure",
}
#: The reason of the last retry, whose severity may still be temporary.
LAST_RETRY_REASON: Final = "old"
#: A reason that says nothing: the `bounce-type` counts.
GENERIC_REASON: Final = "generic"
#: The class of a permanent failure by its reason or bounce type.
LABEL_CLASSES: Final[Mapping[str, LabelClass]] = {
    "bounce": "refused",
    "hardfail": "refused",
    "old": "soft",
    "greylisted": "soft",
    "espblock": "block",
    "blacklisted": "block",
    "generic": "undetermined",
    "hard": "hard",
    "soft": "soft",
    "bounced": "refused",  # the legacy event, which may give no reason
}

_REPLY_CODE: Final = re.compile(r"[245][0-5]\d")
_VARIABLES_HEADER: Final = "x-mailgun-variables"


_Status = TypedDict(
    "_Status",
    {
        "code": int | str | None,
        "enhanced-code": str | None,
        "bounce-code": str | None,
        "bounce-type": str | None,
        "message": str | None,
        "description": str | None,
    },
    total=False,
)
_Flags = TypedDict(
    "_Flags", {"is-routed": bool | None, "is-delayed-bounce": bool | None}, total=False
)
_Headers = TypedDict(
    "_Headers", {"message-id": str | None, "to": str | None, "subject": str | None}, total=False
)
_Client = TypedDict("_Client", {"user-agent": str | None, "bot": str | None}, total=False)


class _Message(TypedDict, total=False):
    headers: _Headers | None


class _Reject(TypedDict, total=False):
    reason: str | None
    description: str | None


_Event = TypedDict(
    "_Event",
    {
        "event": str,
        "id": str | None,
        "timestamp": int | float | str | None,
        "severity": str | None,
        "reason": str | None,
        "recipient": str | None,
        "message": _Message | None,
        "delivery-status": _Status | None,
        "reject": _Reject | None,
        "flags": _Flags | None,
        "client-info": _Client | None,
        "ip": str | None,
        "url": str | None,
        "tags": list[str] | None,
        "user-variables": dict[str, object] | list[object] | None,  # an empty one comes as a list
        "routes": object,  # of mail that came in
    },
    total=False,
)


class _Signature(TypedDict, total=False):
    token: str | None


_Signed = TypedDict("_Signed", {"signature": _Signature | None, "event-data": _Event}, total=False)


class _Push(_Event, _Signed, total=False):
    """A payload: a signed event, or the event itself, as Mailgun's log has it."""


_read_push: Final = reader(_Push)


def events(payload: bytes, headers: Mapping[str, str]) -> Iterator[EventFields]:
    """Yield the event of one push; see `schemas.providers.Adapter`."""
    del headers
    start = payload.lstrip()[:2]
    if start.startswith(b"{"):
        yield from _json_events(_read_push(payload))
    elif start == b"--":
        yield from _form_events(multipart_fields(payload))
    else:
        yield from _form_events(form_fields(payload.decode("utf-8", "replace")))


def _kind(word: str) -> str | None:
    """Return the kind of an event by its name, or None if it is not about a message sent."""
    if word in IGNORED_EVENTS:
        return None
    if word not in EVENT_KINDS:
        raise UnreadableError(
            f"Mailgun event {word[:60]!r} is not known"
            if word
            else "a Mailgun push has to name its event"
        )
    return EVENT_KINDS[word]


# ------------------------------------------------------------------------- JSON


def _json_events(push: _Push) -> Iterator[EventFields]:
    event: _Event = push.get("event-data", push)
    flags = event.get("flags") or _Flags()
    kind = _kind(event.get("event") or "")
    # Only incoming mail matches routes, or is passed on by one.
    if kind is None or event.get("routes") or flags.get("is-routed"):
        return
    message = (event.get("message") or _Message()).get("headers") or _Headers()
    fields = _shared_fields(event, message)
    if event_id := event.get("id") or (push.get("signature") or _Signature()).get("token"):
        fields["provider_event_id"] = event_id
    fields["kind"] = kind
    match kind:
        case "bounce":
            _add_failure(event, fields)
        case "delivery":
            fields.update(_reply(event.get("delivery-status") or _Status()))
        case "failure":
            reject = event.get("reject") or _Reject()
            if text := _join_texts(reject.get("reason"), reject.get("description")):
                fields["diagnostic"] = text
        case "open" | "click" | "unsubscribe":
            _add_engagement(event, fields)
    for recipient in _recipients(event.get("recipient"), message.get("to")):
        yield {**fields, "recipient": recipient}


def _shared_fields(event: _Event, message: _Headers) -> EventFields:
    """Return the fields that events of all kinds have."""
    variables = event.get("user-variables")
    fields = echoed_metadata(variables) if isinstance(variables, dict) else {}
    timestamp = event.get("timestamp")
    if timestamp is not None and timestamp != "":
        fields["occurred_at"] = epoch_time(timestamp)
    if message_id := (message.get("message-id") or "").strip("<> "):
        fields["provider_message_id"] = message_id
    if subject := message.get("subject"):
        fields["subject"] = subject
    if labels := event.get("tags"):
        fields["tags"] = limited_tags(labels)
    return fields


def _add_failure(event: _Event, fields: EventFields) -> None:
    """Add the reply, and set the kind: a deferral, a refusal by Mailgun itself or a bounce."""
    status = event.get("delivery-status") or _Status()
    reason = event.get("reason") or ""
    fields.update(_reply(status))
    if reason:
        fields["reason_code"] = reason
    code = str(status.get("code") or "")
    if refusal_kind := PROVIDER_REFUSALS.get(reason) or PROVIDER_REFUSALS.get(code):
        fields["kind"] = refusal_kind
    elif event.get("severity") == "temporary" and reason != LAST_RETRY_REASON:
        fields["kind"] = "deferral"
    else:
        bounce_type = status.get("bounce-type") if reason in ("", GENERIC_REASON) else None
        if label := bounce_type or reason:
            fields["label"] = label
        if (event.get("flags") or _Flags()).get("is-delayed-bounce"):
            fields["late"] = True


def label_class(bounce: Mapping[str, Any]) -> LabelClass | None:
    """Return the class that the provider's label stands for; see `schemas.providers.Adapter`."""
    return LABEL_CLASSES.get(bounce.get("label", ""))


def _add_engagement(event: _Event, fields: EventFields) -> None:
    client = event.get("client-info") or _Client()
    if agent := client.get("user-agent"):
        fields["user_agent"] = agent
    if address := event.get("ip"):
        fields["ip"] = address
    if fields["kind"] == "click" and (url := event.get("url")):
        fields["url"] = url
    if fields["kind"] != "unsubscribe" and (bot := client.get("bot")) is not None:
        fields["machine"] = bool(bot)


def _reply(status: _Status) -> EventFields:
    """Return the reply with its codes; those in fields of their own count before the text's."""
    fields = reply_fields(_join_texts(status.get("message"), status.get("description")))
    fields.update(_code_fields(str(status.get("code") or "")))
    for name in (status.get("enhanced-code"), status.get("bounce-code")):
        if enhanced := leading_status(name or ""):
            fields["enhanced_status"] = enhanced
            break
    return fields


def _code_fields(code: str) -> EventFields:
    """Return a code as a reply code or an enhanced status, if it is one."""
    if _REPLY_CODE.fullmatch(code):
        return {"smtp_code": int(code)}
    if enhanced := leading_status(code):
        return {"enhanced_status": enhanced}
    return {}


def _join_texts(*texts: str | None) -> str:
    return " ".join(text for text in texts if text)


def _recipients(recipient: str | None, to: str | None) -> list[str]:
    """Return the recipient, else all of the `to` header; [''] if the event names none."""
    if recipient:
        return [recipient]
    return [address for _, address in getaddresses([to or ""]) if address] or [""]


# ------------------------------------------------------------------ legacy forms


def _form_events(body: Mapping[str, str]) -> Iterator[EventFields]:
    get: Callable[[str, str], str] = body.get
    word = get("event", "").lower()
    kind = _kind(word)
    if kind is None:
        return
    headers = _message_headers(get("message-headers", ""))
    fields = _variable_metadata(headers.get(_VARIABLES_HEADER, ""))
    fields.update(echoed_texts({name: body[name] for name in METADATA_FIELDS if name in body}))
    message_id = get("Message-Id", "") or get("message-id", "") or headers.get("message-id", "")
    ids: EventFields = {
        "provider_message_id": message_id.strip("<> "),
        "provider_event_id": get("token", ""),
        "subject": headers.get("subject", ""),
    }
    fields |= non_empty(ids)
    if timestamp := get("timestamp", ""):
        fields["occurred_at"] = epoch_time(timestamp)
    fields["kind"] = kind
    fields["recipient"] = get("recipient", "")
    match kind:
        case "bounce":
            _add_form_failure(word, body, fields)
        case "open" | "click" | "unsubscribe":
            engagement: EventFields = {"user_agent": get("user-agent", ""), "ip": get("ip", "")}
            if kind == "click":
                engagement["url"] = get("url", "")
            fields |= non_empty(engagement)
    yield fields


def _add_form_failure(word: str, body: Mapping[str, str], fields: EventFields) -> None:
    code = body.get("code", "")
    reason = body.get("reason", "")
    fields |= reply_fields(body.get("error") or body.get("description"))
    fields |= _code_fields(code)
    if code or reason:
        fields["reason_code"] = code or reason
    fields["kind"] = PROVIDER_REFUSALS.get(code) or PROVIDER_REFUSALS.get(reason) or "bounce"
    if fields["kind"] == "bounce":
        fields["label"] = reason or word


def _message_headers(text: str) -> dict[str, str]:
    """Return the mail's headers, a JSON list of pairs, by lower-case name."""
    try:
        pairs: object = from_json(text) if text else []
    except ValueError:
        raise UnreadableError("message-headers is not JSON") from None
    return {
        str(pair[0]).lower(): str(pair[1])
        for pair in (pairs if isinstance(pairs, list) else ())
        if isinstance(pair, list) and len(pair) == 2
    }


def _variable_metadata(text: str) -> EventFields:
    """Return the metadata in the header with a mail's variables, often form fields as well."""
    try:
        variables = from_json(text) if text else {}
    except ValueError:  # an encoded word, as mail headers may be
        return {}
    return echoed_metadata(variables) if isinstance(variables, dict) else {}
