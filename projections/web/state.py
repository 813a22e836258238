"""The state of the application: what all endpoints share, put together by `app.build_api`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Protocol, TypeVar

from anyio import CapacityLimiter, to_thread
from starlette.requests import Request

from projections.queries.api_keys import KeyCache
from projections.queries.ended_sessions import EndedSessions
from projections.queries.saved_views import SavedView, ViewOwner
from projections.web.audit_trail import AuditTrail
from projections.web.database import ReadOnlyDatabase
from projections.web.embed_tokens import EmbedTokens
from projections.web.key_slots import (
    MAX_KEY_EXPORTS,
    MAX_KEY_REQUESTS,
    WAIT_SECONDS,
    KeySlots,
)
from projections.web.open_id import OpenIdSignIn
from projections.web.rate_limit import RateLimiter
from projections.web.readiness import Readiness
from projections.web.sessions import BrowserSession, Sessions
from schemas.addresses import Address, NumberRegions
from schemas.decisions import Command
from schemas.resets import ProviderRemoval
from schemas.words import Words

#: The path of this version of the API.
API_PATH: Final = "/api/v1"
#: Beginnings of paths that only programs request; what they get is in English.
PROGRAM_PATHS: Final = ("/api/", "/healthz", "/readyz")
#: For keys and health.
OWN_THREADS: Final = 4
_Result = TypeVar("_Result")


class CommandNotPublishedError(Exception):
    """Kafka did not confirm a command in time. It may be there nevertheless."""


class ProviderLists(Protocol):
    """The lists that providers keep; see `processor.provider_lists`."""

    def names(self, tenant: str) -> list[str]:
        """Return the names for people of the providers where a tenant has an account."""
        ...

    def remove(self, address: Address) -> list[ProviderRemoval]:
        """Take an address off the lists of its tenant's providers; blocks, and raises nothing."""
        ...


class NoProviderLists:
    """No accounts."""

    def names(self, tenant: str) -> list[str]:  # noqa: ARG002
        """Return none."""
        return []

    def remove(self, address: Address) -> list[ProviderRemoval]:  # noqa: ARG002
        """Do nothing."""
        return []


@dataclass(frozen=True, slots=True, kw_only=True)
class AppState:
    """What endpoints share.

    `publish_command` returns when Kafka has the command, or raises `CommandNotPublishedError`. It
    may block, so call it in a thread. `keep_session_end` stores what `ended_sessions` reads.
    `store_view` stores an owner's view, or that it is deleted; it raises a 503 problem.
    `outcome_seconds` is how long to wait for the outcome of a command. `is_https` says that
    browsers use https, so that a cookie goes no other way. `public_url` is how browsers call the
    start page, without a slash at its end; empty: as a request has it. `time_zone` is that of pages
    where a browser names none. `provider_lists` are those that tenants' providers keep.
    With `open_id` people sign in at a provider, too.
    """

    database: ReadOnlyDatabase
    regions: NumberRegions = field(default_factory=NumberRegions)
    keys: KeyCache
    rate_limiter: RateLimiter
    key_slots: KeySlots = field(default_factory=lambda: KeySlots(MAX_KEY_REQUESTS, WAIT_SECONDS))
    export_slots: KeySlots = field(
        default_factory=lambda: KeySlots(MAX_KEY_EXPORTS, WAIT_SECONDS, Words("exports"))
    )
    publish_command: Callable[[Command], None]
    outcome_seconds: float = 10.0
    sessions: Sessions = field(default_factory=Sessions)
    ended_sessions: EndedSessions
    keep_session_end: Callable[[BrowserSession], None]
    store_view: Callable[[ViewOwner, SavedView], None]
    is_https: bool = False
    embed_tokens: EmbedTokens = field(default_factory=EmbedTokens)
    public_url: str = ""
    time_zone: str = "UTC"
    provider_lists: ProviderLists = field(default_factory=NoProviderLists)
    open_id: OpenIdSignIn | None = None
    readiness: Readiness
    audit_trail: AuditTrail
    #: For what may not wait behind queries.
    own_threads: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(OWN_THREADS))

    async def on_own_threads(self, function: Callable[..., _Result], *arguments: object) -> _Result:
        """Call what blocks, on a thread that no query of a page or endpoint has."""
        return await to_thread.run_sync(partial(function, *arguments), limiter=self.own_threads)


def app_state(request: Request) -> AppState:
    """Return the state of the application that a request came to."""
    state = request.app.state.app_state
    assert isinstance(state, AppState)
    return state
