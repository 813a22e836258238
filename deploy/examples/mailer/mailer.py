"""A mailer with Sendlog: it sends what stands in its outbox, and again what it is asked for.

Reads a JSON object per line from standard input, as

    {"message_id": "invoice-7", "recipient": "jo@example.com", "subject": "Invoice 7"}

sends each unless its recipient is blacklisted, and then obeys requests to send again until it is
stopped. Handing over to a provider is simulated: put yours into `hand_over`.

    echo '{"message_id": "invoice-7", …}' | python mailer.py acme mailer.sqlite
"""

from __future__ import annotations

import json
import signal
import sqlite3
import sys
import uuid
from contextlib import closing
from datetime import UTC, datetime
from threading import Event
from typing import Any

from processor.client import (
    Address,
    MailerClient,
    MailerEvent,
    ResendRequested,
    RetryRequested,
    attempt_sent,
    mailer_client,
    not_sent,
    resend_refused,
    sent,
)
from processor.settings import load

TABLES = """
CREATE TABLE IF NOT EXISTS messages (id TEXT PRIMARY KEY, recipient TEXT, subject TEXT);
CREATE TABLE IF NOT EXISTS made_retries (id TEXT PRIMARY KEY);
"""


class Database:
    """The mailer's own: what it has sent, and which requests it has obeyed."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        connection.executescript(TABLES)

    def add_message(self, message: dict[str, Any]) -> bool:
        """Take a message; return whether it is new."""
        row = (message["message_id"], message["recipient"], message["subject"])
        with self._connection as connection:
            return connection.execute(
                "INSERT OR IGNORE INTO messages VALUES (?, ?, ?)", row
            ).rowcount > 0  # fmt: skip

    def subject_of(self, message_id: str) -> str | None:
        """Return a message's subject; None if this mailer has not sent it."""
        row = self._connection.execute(
            "SELECT subject FROM messages WHERE id = ?", (message_id,)
        ).fetchone()
        return str(row[0]) if row else None

    def __contains__(self, request_id: object) -> bool:
        found = self._connection.execute(
            "SELECT 1 FROM made_retries WHERE id = ?", (request_id,)
        ).fetchone()
        return found is not None

    def add(self, request_id: str) -> None:
        """Take the id of a request that was obeyed."""
        with self._connection as connection:
            connection.execute("INSERT OR IGNORE INTO made_retries VALUES (?)", (request_id,))


def hand_over(message_id: str, recipient: str, subject: str | None, attempt: int) -> str:
    """Give a message to the provider, and return the id that the provider gives it."""
    print("send", message_id, recipient, attempt, subject or "", flush=True)
    return f"provider-{uuid.uuid4().hex}"


def send_new(client: MailerClient, tenant: str, message: dict[str, Any]) -> None:
    """Send a message, unless it may not be sent; say which."""
    address = Address(tenant, "email", message["recipient"])
    about = {"subject": message["subject"]}
    if entry := client.read_blacklist().entry(*address):
        print("skip", message["message_id"], entry.rule, flush=True)
        client.publish(
            not_sent(
                address, message["message_id"], now(), why=f"blacklisted: {entry.rule}", **about
            )
        )
        return
    provider_id = hand_over(message["message_id"], address.address, message["subject"], 1)
    client.publish(
        sent(
            address, message["message_id"], now(), provider="acme-mail",
            provider_message_id=provider_id, **about,
        )
    )  # fmt: skip


def now() -> datetime:
    """Return the time."""
    return datetime.now(UTC)


def main(tenant: str, file: str) -> None:
    """Be the mailer of a tenant until SIGTERM or Ctrl-C."""
    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with (
        closing(sqlite3.connect(file)) as connection,
        mailer_client(
            load().kafka,
            group="acme-mailer",
            tenants={tenant},
            made=(database := Database(connection)),
        ) as client,
    ):
        for line in sys.stdin:
            message = json.loads(line)
            if database.add_message(message):
                send_new(client, tenant, message)
        client.flush()
        print("outbox done", flush=True)

        def make_attempt(request: RetryRequested) -> list[MailerEvent]:
            subject = database.subject_of(request.message_id)
            if subject is None:  # not a message of ours
                if isinstance(request, ResendRequested):
                    return [resend_refused(request, now(), why="its text is not kept any more")]
                return []
            provider_id = hand_over(request.message_id, request.recipient, subject, request.attempt)
            return [
                attempt_sent(
                    request, now(), provider="acme-mail", provider_message_id=provider_id,
                    subject=subject,
                )
            ]  # fmt: skip

        client.run(make_attempt, stop)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
