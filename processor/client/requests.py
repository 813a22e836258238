"""Requests to send again: which of them a mailer has to obey, and how each is answered."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Container, Iterable
from datetime import datetime
from typing import Final, Protocol, TypeAlias

from pydantic import TypeAdapter, ValidationError

from processor.client.blacklist import Blacklist
from processor.client.events import MailerEvent, resend_refused
from processor.logging import get
from schemas.decisions import ResendRequested, RetryRequested

log = get(__name__)

#: Ids of requests that are kept in memory, each about 100 bytes.
MAX_RECENT_IDS: Final = 100_000
BLACKLISTED_WORDS: Final = "not sent again: the address is blacklisted"

#: Makes the attempt that a request is for, and returns the events of it.
MakeAttempt: TypeAlias = Callable[[RetryRequested], Iterable[MailerEvent]]
_read_request: Final = TypeAdapter(ResendRequested | RetryRequested).validator.validate_json


class MadeRetries(Protocol):
    """Ids of the requests that were obeyed: in earnest a unique column of the mailer's database."""

    def __contains__(self, request_id: object, /) -> bool:
        """Tell whether a request was obeyed."""
        ...

    def add(self, request_id: str, /) -> None:
        """Take the id of a request that was obeyed."""
        ...


class RecentIds:
    """The last ids, in memory: a process that is started again has none."""

    def __init__(self, limit: int = MAX_RECENT_IDS) -> None:
        self._ids, self._limit = OrderedDict[str, None](), limit

    def __contains__(self, request_id: object) -> bool:
        return request_id in self._ids

    def add(self, request_id: str) -> None:
        """Take an id, in place of the oldest if there are too many."""
        self._ids[request_id] = None
        if len(self._ids) > self._limit:
            self._ids.popitem(last=False)


class RequestInbox:
    """Reads records of `delivery.retries` for a mailer."""

    def __init__(
        self, blacklist: Blacklist, made: MadeRetries, tenants: Container[str] | None = None
    ) -> None:
        """Take the tenants whose mailer this is; None: of all."""
        self._blacklist, self._made, self._tenants = blacklist, made, tenants

    def open(self, value: bytes | None) -> RetryRequested | None:
        """Return the request of a record, a `ResendRequested` if a person asks.

        None if it was obeyed before, is another mailer's or cannot be read, which is logged.
        """
        try:
            request = _read_request(value or b"")
        except ValidationError as error:
            log.warning("retry_unreadable", error=error.errors()[0]["type"])
            return None
        is_ours = self._tenants is None or request.tenant_id in self._tenants
        return request if is_ours and request.id not in self._made else None

    def is_refused(self, request: RetryRequested) -> bool:
        """Tell whether nothing may be sent to a request's address.

        Such a request stays open: once the address is off the blacklist the same attempt may be
        asked for again, with the same id. Raises `BlacklistNotReadError`.
        """
        place = request.tenant_id, request.channel, request.recipient
        return self._blacklist.is_blacklisted(*place)

    def close(self, request: RetryRequested) -> None:
        """Keep in mind that a request was obeyed and answered."""
        self._made.add(request.id)


def refusal_events(request: RetryRequested, at: datetime) -> list[MailerEvent]:
    """Return the answer to a request that is not obeyed: only a person who asks is told why."""
    if isinstance(request, ResendRequested):
        return [resend_refused(request, at, why=BLACKLISTED_WORDS)]
    return []
