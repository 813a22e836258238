"""The people who were forgotten: what is said of them later is kept under their pseudonyms.

An address cannot be told from a hash, so each recipient is hashed, once, while anybody is
forgotten at all. What a provider says of an old message then falls on its row, and a send to
whoever is blacklisted is refused; nothing brings the person back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, cast

from processor.clickhouse import retry_while_away
from processor.logging import get
from projections.clickhouse.client import FatalError, TransientError, classified_errors
from projections.clickhouse.sql import stream
from projections.tables.forgotten import TABLE
from schemas.addresses import Address, is_pseudonym
from schemas.decisions import DECISION_LABEL
from schemas.events import EventFields
from schemas.pseudonyms import Pseudonyms

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from schemas.decisions import Command

log = get(__name__)

#: Between two looks at who is forgotten.
POLL_INTERVAL_SECONDS: Final = 1.0
#: Distinct recipients whose hash is kept: a message has several events.
_CACHED_HASHES: Final = 65_536


class ForgottenPeople:
    """Who is forgotten, by pseudonym.

    `is_known` is set once all of them are known: nothing may be taken in before.
    """

    def __init__(self, secret: str) -> None:
        self._pseudonyms = Pseudonyms(secret)
        self._pseudonym_of = lru_cache(_CACHED_HASHES)(self._pseudonyms.of)
        self._forgotten: frozenset[str] = frozenset()
        self.is_known = asyncio.Event()

    def replace(self, pseudonyms: Iterable[str]) -> None:
        """Let these be all who are forgotten."""
        self._forgotten = frozenset(pseudonyms)
        self.is_known.set()

    def pseudonym_of(self, address: Address) -> str:
        """Return the pseudonym of an address that is forgotten, or is one; else ''."""
        if is_pseudonym(address.address):
            return address.address
        if not self._forgotten:
            return ""
        pseudonym = self._pseudonym_of(address)
        return pseudonym if pseudonym in self._forgotten else ""

    def hide(self, events: Iterable[EventFields]) -> frozenset[int]:
        """Put pseudonyms into events, and take out what tells of a person.

        Returns the offsets of their records, which must not be kept as they came.
        """
        if not self._forgotten:
            return frozenset()
        offsets: set[int] = set()
        for event in events:
            if event.get("label") == DECISION_LABEL and is_pseudonym(event["recipient"]):
                continue  # what is decided on a pseudonym tells of nobody
            address = Address(event["tenant_id"], event["channel"], event["recipient"])
            pseudonym = self.pseudonym_of(address)
            if pseudonym:
                hidden = self._pseudonyms.without_person(event, address, pseudonym)
                event.update(cast("EventFields", hidden))
                offsets.add(event["source_offset"])
        return frozenset(offsets)

    def hide_command(self, command: Command) -> Command:
        """Return a command about a forgotten address as one about its pseudonym."""
        pseudonym = self.pseudonym_of(command.target)
        return command.model_copy(update={"address": pseudonym}) if pseudonym else command

    async def follow(self, connect: Callable[[], Client], database: str) -> None:
        """Learn who is forgotten, for ever. Raises `FatalError` if the secret is another one."""
        fetch = _Fetch(connect, database, self._pseudonyms.check)
        is_away = False

        def wait(error: TransientError) -> None:
            nonlocal is_away
            if not is_away:
                log.warning("forgotten_people_not_read", error=str(error))
            is_away = True

        while True:
            self.replace(await retry_while_away(fetch, wait))
            is_away = False
            await asyncio.sleep(POLL_INTERVAL_SECONDS)


class _Fetch:
    """Asks the database who is forgotten; connects at the first question."""

    def __init__(self, connect: Callable[[], Client], database: str, check: str) -> None:
        self._connect, self._database, self._check = connect, database, check
        self._client: Any = None

    def __call__(self) -> list[str]:
        with classified_errors():
            self._client = self._client or self._connect()
            sql = f"SELECT DISTINCT pseudonym, secret_check FROM {self._database}.{TABLE.name}"
            rows = list(stream(self._client, sql, {}))
        if any(row["secret_check"] != self._check for row in rows):
            raise FatalError(
                "people were forgotten by another SENDLOG_PRIVACY__SECRET: without that one they "
                "would not be known, and be logged again"
            )
        return [row["pseudonym"] for row in rows]
