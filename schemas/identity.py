"""Which message an event is of that came under the provider's id alone.

An event that carries both ids is an edge: from the id that a provider gave an attempt to the id
that the mailer gave the message. By edges, an event under a provider's id alone finds its message,
and one without a recipient, under whichever id, finds that of a message that has just one.

Providers use an id again after some months. So of edges that contradict each other the earlier
stands, unless it is much earlier: then the id has a new use, and an event is of that of its time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import Any, Final, NamedTuple

from schemas.events import milliseconds

DAY_MS: Final = 86_400_000
#: An id that names another message after so long is used again; before, one of the two is wrong.
MIN_REUSE_MS: Final = 30 * DAY_MS
#: An edge may be published so long after the events that it explains.
MAX_EDGE_DELAY_MS: Final = 7 * DAY_MS


class Edge(NamedTuple):
    """Which message a provider's id means, as an event says; its time in milliseconds since 1970.

    `provider` is '' where a mailer says it and names none.
    """

    provider: str
    message_id: str
    recipient: str
    at_ms: int
    attempt: int = 1


class Identity(NamedTuple):
    """The message that an event is of, its recipient ('' if it has several, or none), its attempt.

    The attempt is the last that had begun, by the times of the edges, or else the first.
    """

    message_id: str
    recipient: str
    attempt: int = 1


def is_unmatched(event: Mapping[str, object]) -> bool:
    """Tell whether a provider's event lacks its message, by the mailer's id, or its recipient."""
    return not (_named_message(event) and event["recipient"])


def _named_message(event: Mapping[str, Any]) -> str:
    """Return the id by which an event names its message as the mailer does; '' if it does not."""
    message_id = str(event["message_id"])
    return "" if message_id == event.get("provider_message_id") else message_id


def identity_of_event(event: Mapping[str, Any], edges: Iterable[Edge]) -> Identity | None:
    """Return what an unmatched event is of, by the edges of its provider's id.

    None if they do not say it, or not to which recipient: it may be known later. A message that the
    event names is its message, whatever an edge says.
    """
    if named := _named_message(event):
        edges = [edge for edge in edges if edge.message_id == named]
    identity = identity_of(edges, event["provider"], milliseconds(event["occurred_at"]))
    if identity is None or not (recipient := event["recipient"] or identity.recipient):
        return None
    return identity._replace(recipient=recipient)


def identity_of(edges: Iterable[Edge], provider: str, at_ms: int) -> Identity | None:
    """Return what an event is of that came from a provider at a time; None if no edge says it.

    `edges` are those of its provider's id, in any order, with copies or without.
    """
    known = sorted(
        (edge for edge in edges if edge.provider in {"", provider}),
        key=lambda edge: (edge.at_ms, edge.message_id, edge.attempt),
    )
    if not known:
        return None
    uses: list[Edge] = []
    for edge in known:
        if not uses or (
            edge.at_ms > uses[-1].at_ms + MIN_REUSE_MS and edge.message_id != uses[-1].message_id
        ):
            uses.append(edge)
    begun = [edge for edge in uses if edge.at_ms <= at_ms + MAX_EDGE_DELAY_MS]
    message_id = (begun or uses[:1])[-1].message_id
    of_message = [edge for edge in known if edge.message_id == message_id]
    recipients = {edge.recipient for edge in of_message} - {""}
    attempts = [edge.attempt for edge in of_message if edge.at_ms <= at_ms]
    return Identity(
        message_id,
        recipients.pop() if len(recipients) == 1 else "",
        max(attempts, default=of_message[0].attempt),
    )


def contradicting(edges: Iterable[Edge]) -> list[Edge]:
    """Return the edges of one id that do not stand, for an earlier one names another message."""
    edges = sorted(edges, key=lambda edge: (edge.at_ms, edge.message_id))
    return [
        edge for edge in edges
        if (held := identity_of(edges, edge.provider, edge.at_ms))
        and held.message_id != edge.message_id
    ]  # fmt: skip


def joined_fields(event: Mapping[str, Any], identity: Identity) -> dict[str, Any]:
    """Return what an event has otherwise as one of its message, by `identity_of_event`."""
    return {
        "event_id": joined_event_id(event["event_id"], identity),
        "message_id": identity.message_id,
        "recipient": identity.recipient,
        "attempt": max(event.get("attempt", 1), identity.attempt),
        "other_id": event["provider_message_id"],
    }


def joined_event_id(event_id: str, identity: Identity) -> str:
    """Return the fingerprint of an event as one of its message: of both ids, 32 hex digits.

    Not that of its content: the event that came under the other id stays, and is another one.
    """
    content = f"{event_id}\x1f{identity.message_id}\x1f{identity.recipient}"
    return blake2b(content.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
