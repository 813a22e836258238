"""Mailgun: one event in each push, as JSON (`event-data`) or as a form (the legacy webhooks).

`delivery-status.code` also holds codes that Mailgun invents (498, 499, 6xx): they say why Mailgun
gave up and are no SMTP codes. Sources: Mailgun's docs, "Webhooks", "Event structure" and, for the
forms, "Tracking messages: legacy webhooks".
"""

from __future__ import annotations

import re
from email.parser import BytesParser
from email.utils import getaddresses
from typing import TYPE_CHECKING, Final, cast

from pydantic_core import from_json
from typing_extensions import TypedDict

from schemas.bounces import status_in
from schemas.providers import UnreadableError
from schemas.providers._common import OURS, echo, epoch, form, ours, reader, reply, tags

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from schemas.events import BounceClass, Channel, Fields

PROVIDER: Final = "mailgun"
CHANNEL: Final[Channel] = "email"

KINDS: Final = {
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
#: Mail that came in, and uploads of mailing lists.
NOT_OURS: Final = frozenset(
    {"stored", "list_member_uploaded", "list_member_upload_error", "list_uploaded"}
)
#: Mailgun's own refusals, by reason or code: not sent for what it knows about the address, or
#: (625) for the poor quality of the sender's list.
ECHOES: Final = {
    "suppress-bounce": "invalid",
    "suppress-complaint": "invalid",
    "suppress-unsubscribe": "skipped",
    "605": "invalid",
    "606": "skipped",
    "607": "invalid",
    "625": "failure",
}
#: The reason of the last retry, which may be said to be temporary as those before it.
GIVEN_UP: Final = "old"
#: A reason that says nothing, and leaves it to the `bounce-type`.
UNSAID: Final = "generic"
#: Reasons and bounce types of a permanent failure in our words.
LABELS: Final[Mapping[str, BounceClass]] = {
    "bounce": "hard",
    "hardfail": "hard",
    "old": "soft",
    "greylisted": "soft",
    "espblock": "block",
    "blacklisted": "block",
    "generic": "undetermined",
    "hard": "hard",
    "soft": "soft",
    "bounced": "hard",  # the legacy event, which may give no reason
}

_REPLY_CODE: Final = re.compile(r"[245][0-5]\d")
_VARIABLES: Final = "x-mailgun-variables"

Maybe = str | None

_Status = TypedDict(
    "_Status",
    {
        "code": int | str | None,
        "enhanced-code": Maybe,
        "bounce-code": Maybe,
        "bounce-type": Maybe,
        "message": Maybe,
        "description": Maybe,
    },
    total=False,
)
_Flags = TypedDict(
    "_Flags", {"is-routed": bool | None, "is-delayed-bounce": bool | None}, total=False
)
_Headers = TypedDict("_Headers", {"message-id": Maybe, "to": Maybe, "subject": Maybe}, total=False)
_Client = TypedDict("_Client", {"user-agent": Maybe, "bot": Maybe}, total=False)


class _Message(TypedDict, total=False):
    headers: _Headers | None


class _Reject(TypedDict, total=False):
    reason: Maybe
    description: Maybe


_Event = TypedDict(
    "_Event",
    {
        "event": str,
        "id": Maybe,
        "timestamp": int | float | str | None,
        "severity": Maybe,
        "reason": Maybe,
        "recipient": Maybe,
        "message": _Message | None,
        "delivery-status": _Status | None,
        "reject": _Reject | None,
        "flags": _Flags | None,
        "client-info": _Client | None,
        "ip": Maybe,
        "url": Maybe,
        "tags": list[str] | None,
        "user-variables": dict[str, object] | list[object] | None,  # an empty one comes as a list
        "routes": object,  # of mail that came in
    },
    total=False,
)


class _Signature(TypedDict, total=False):
    token: Maybe


_Signed = TypedDict("_Signed", {"signature": _Signature | None, "event-data": _Event}, total=False)


class _Push(_Event, _Signed, total=False):
    """What arrives: a signed event, or the event itself, as Mailgun's log has it."""


_push: Final = reader(_Push)


def events(payload: bytes, headers: Mapping[str, str]) -> Iterator[Fields]:
    """Yield the event of one push; see `schemas.providers.Adapter`."""
    start = payload.lstrip()[:2]
    if start.startswith(b"{"):
        yield from _structured(_push(payload))
    elif start == b"--":
        yield from _legacy(multipart(payload, headers))
    else:
        yield from _legacy(form(payload.decode("utf-8", "replace")))


def _kind(word: str) -> str | None:
    """Return the kind of an event by its name, or None for what is not about a message of ours."""
    if word in NOT_OURS:
        return None
    if word not in KINDS:
        raise UnreadableError(
            f"Mailgun event {word[:60]!r} is not known"
            if word
            else "a Mailgun push has to name its event"
        )
    return KINDS[word]


# ------------------------------------------------------------------------- JSON


def _structured(push: _Push) -> Iterator[Fields]:
    event: _Event = push.get("event-data", push)
    flags = event.get("flags") or _Flags()
    kind = _kind(event.get("event") or "")
    # Only mail that came in matches routes, or is passed on by one.
    if kind is None or event.get("routes") or flags.get("is-routed"):
        return
    message = (event.get("message") or _Message()).get("headers") or _Headers()
    fields = _shared(event, message)
    if event_id := event.get("id") or (push.get("signature") or _Signature()).get("token"):
        fields["provider_event_id"] = event_id
    fields["kind"] = kind
    match kind:
        case "bounce":
            _failed(event, fields)
        case "delivery":
            fields.update(_reply(event.get("delivery-status") or _Status()))
        case "failure":
            reject = event.get("reject") or _Reject()
            if text := _joined(reject.get("reason"), reject.get("description")):
                fields["diagnostic"] = text
        case "open" | "click" | "unsubscribe":
            _engagement(event, fields)
    for recipient in _recipients(event.get("recipient"), message.get("to")):
        yield {**fields, "recipient": recipient}


def _shared(event: _Event, message: _Headers) -> Fields:
    """Return what every event says about its message."""
    variables = event.get("user-variables")
    fields = ours(variables) if isinstance(variables, dict) else {}
    timestamp = event.get("timestamp")
    if timestamp is not None and timestamp != "":
        fields["occurred_at"] = epoch(timestamp)
    if message_id := (message.get("message-id") or "").strip("<> "):
        fields["provider_message_id"] = message_id
    if subject := message.get("subject"):
        fields["subject"] = subject
    if labels := event.get("tags"):
        fields["tags"] = tags(labels)
    return fields


def _failed(event: _Event, fields: Fields) -> None:
    """Tell retries, refusals by Mailgun itself and bounces apart."""
    status = event.get("delivery-status") or _Status()
    reason = event.get("reason") or ""
    fields.update(_reply(status))
    if reason:
        fields["reason_code"] = reason
    if (echoed := ECHOES.get(reason) or ECHOES.get(str(status.get("code") or ""))) is not None:
        fields["kind"] = echoed
    elif event.get("severity") == "temporary" and reason != GIVEN_UP:
        fields["kind"] = "deferral"
    else:
        bounce_type = status.get("bounce-type") if reason in ("", UNSAID) else None
        if label := bounce_type or reason:
            fields["label"] = label
        if (event.get("flags") or _Flags()).get("is-delayed-bounce"):
            fields["late"] = True


def label_class(bounce: Mapping[str, object]) -> BounceClass | None:
    """Return what the provider's verdict means in our words; see `schemas.providers.Adapter`."""
    return LABELS.get(str(bounce.get("label", "")))


def _engagement(event: _Event, fields: Fields) -> None:
    client = event.get("client-info") or _Client()
    if agent := client.get("user-agent"):
        fields["user_agent"] = agent
    if address := event.get("ip"):
        fields["ip"] = address
    if fields["kind"] == "click" and (url := event.get("url")):
        fields["url"] = url
    if fields["kind"] != "unsubscribe" and (bot := client.get("bot")) is not None:
        fields["machine"] = bool(bot)


def _reply(status: _Status) -> Fields:
    """Return the reply with its codes: those in fields of their own before those of the text."""
    fields = reply(_joined(status.get("message"), status.get("description")))
    fields.update(_code(str(status.get("code") or "")))
    for name in (status.get("enhanced-code"), status.get("bounce-code")):
        if enhanced := status_in(name or ""):
            fields["enhanced_status"] = enhanced
            break
    return fields


def _code(code: str) -> Fields:
    """Return a code as what it is: of SMTP, an enhanced status, or neither."""
    if _REPLY_CODE.fullmatch(code):
        return {"smtp_code": int(code)}
    if enhanced := status_in(code):
        return {"enhanced_status": enhanced}
    return {}


def _joined(*texts: Maybe) -> str:
    return " ".join(text for text in texts if text)


def _recipients(recipient: Maybe, to: Maybe) -> list[str]:
    """Return the recipient, else all of the `to` header; [''] if the event names none."""
    if recipient:
        return [recipient]
    return [address for _, address in getaddresses([to or ""]) if address] or [""]


# ------------------------------------------------------------------ legacy forms


def _legacy(body: Mapping[str, str]) -> Iterator[Fields]:
    get: Callable[[str, str], str] = body.get
    word = get("event", "").lower()
    kind = _kind(word)
    if kind is None:
        return
    headers = _message_headers(get("message-headers", ""))
    fields = _variables(headers.get(_VARIABLES, ""))
    fields.update(echo({name: body[name] for name in OURS if name in body}))
    message_id = get("Message-Id", "") or get("message-id", "") or headers.get("message-id", "")
    named: Fields = {
        "provider_message_id": message_id.strip("<> "),
        "provider_event_id": get("token", ""),
        "subject": headers.get("subject", ""),
    }
    fields.update({name: value for name, value in named.items() if value})
    if timestamp := get("timestamp", ""):
        fields["occurred_at"] = epoch(timestamp)
    fields["kind"] = kind
    fields["recipient"] = get("recipient", "")
    match kind:
        case "bounce":
            _given_up(word, body, fields)
        case "open" | "click" | "unsubscribe":
            seen: Fields = {"user_agent": get("user-agent", ""), "ip": get("ip", "")}
            if kind == "click":
                seen["url"] = get("url", "")
            fields.update({name: value for name, value in seen.items() if value})
    yield fields


def _given_up(word: str, body: Mapping[str, str], fields: Fields) -> None:
    code = body.get("code", "")
    reason = body.get("reason", "")
    fields.update(reply(body.get("error") or body.get("description")), **_code(code))
    if code or reason:
        fields["reason_code"] = code or reason
    fields["kind"] = ECHOES.get(code) or ECHOES.get(reason) or "bounce"
    if fields["kind"] == "bounce":
        fields["label"] = reason or word


def _message_headers(text: str) -> dict[str, str]:
    """Return the mail's headers by lower-case name, which come as a JSON list of pairs."""
    try:
        pairs: object = from_json(text) if text else []
    except ValueError:
        raise UnreadableError("message-headers is not JSON") from None
    return {
        str(pair[0]).lower(): str(pair[1])
        for pair in (pairs if isinstance(pairs, list) else ())
        if isinstance(pair, list) and len(pair) == 2
    }


def _variables(text: str) -> Fields:
    """Return our ids from the header that carries a mail's variables, often also form fields."""
    try:
        variables: object = from_json(text) if text else {}
    except ValueError:  # an encoded word, as mail headers may be
        return {}
    return ours(cast("dict[str, object]", variables)) if isinstance(variables, dict) else {}


def multipart(payload: bytes, headers: Mapping[str, str]) -> dict[str, str]:
    """Return the text fields of a form with attachments, as bounces and complaints have them."""
    boundary = payload.lstrip().partition(b"\n")[0].strip()[2:]
    stated = headers.get("content-type", "").encode() or (
        b'multipart/form-data; boundary="' + boundary + b'"'
    )
    parsed = BytesParser().parsebytes(b"Content-Type: " + stated + b"\r\n\r\n" + payload)
    fields: dict[str, str] = {}
    for part in parsed.walk():
        name = part.get_param("name", header="content-disposition")
        value = part.get_payload(decode=True)
        if isinstance(name, str) and part.get_filename() is None and isinstance(value, bytes):
            fields[name] = value.decode("utf-8", "replace")
    return fields
